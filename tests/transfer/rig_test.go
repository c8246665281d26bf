// Package transfer runs `holdfast transfer` as a whole, with real servers.
package transfer

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/base/fits"
	"holdfast/connector"
	"holdfast/tests/testenv"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, append(testenv.ProcessLeaks(), testenv.ProxyLeaks()...)...)
}

// soon is how long anything may take here.
const soon = 2 * time.Minute

// observatory is a directory of frames, a data centre with sshd, and a database.
type observatory struct {
	t    *testing.T
	dir  string
	from string // frames are written here
	to   string // and go here
	data string
	sshd *testenv.SSHServer
	pg   *testenv.PostgresServer
	args []string // behind `holdfast transfer`
	p    *testenv.Process
	said []string                     // by former processes
	sums map[string][sha256.Size]byte // of what was written, by name
}

// newObservatory starts the servers. The command line is rawtransfer's.
func newObservatory(t *testing.T, sshd testenv.SSHDOptions) *observatory {
	t.Helper()
	o := &observatory{t: t, dir: t.TempDir(), from: t.TempDir(), to: t.TempDir(), sums: map[string][sha256.Size]byte{}}
	o.data = filepath.Join(o.dir, "data")
	o.sshd, o.pg = testenv.SSHD(t, sshd), testenv.Postgres(t)
	home := filepath.Join(o.dir, "home")
	if err := os.MkdirAll(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(o.sshd.Addr())
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("Host gateway\n  HostName 127.0.0.1\n  Port %s\n  IdentityFile %s\n  UserKnownHostsFile %s\n", port,
		o.sshd.Key(), o.sshd.KnownHosts())
	if err := os.WriteFile(filepath.Join(home, ".ssh/config"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	o.pg.Query(t, `create table goto (sha1_hash varchar(40) primary key, source_filepath text,
		file_created_at timestamp without time zone, file_transferred_at timestamp without time zone, filepath text,
		tel smallint, run int, ut smallint, created_at timestamp without time zone default now() not null)`)
	host, dbPort, err := net.SplitHostPort(o.pg.Addr())
	if err != nil {
		t.Fatal(err)
	}
	o.args = []string{o.from, o.sshd.User() + "@gateway:" + o.to, "--patterns", "t?_r*_ut?.fits", "*.dat",
		"--metadata-regex", `t(?P<tel>\d)_r(?P<run>\d+)_ut(?P<ut>\d).fits`, "--header-card", "DATE-OBS", "--db-host", host,
		"--db-user", "postgres", "--db-name", "postgres", "--db-port", dbPort, "--db-table", "goto", "--copy-timeout", "60",
		"--workers", "4", "--ssh-controlmaster", "--canary-interval", "15", "--verbose", "--data-dir", o.data}
	t.Cleanup(o.keep)
	return o
}

// start starts Holdfast.
func (o *observatory) start(more ...string) {
	o.t.Helper()
	if o.p != nil {
		o.said = append(o.said, o.p.Output())
	}
	home := filepath.Join(o.dir, "home")
	o.p = testenv.Start(o.t, testenv.Command{Path: testenv.Binary(o.t), Args: append(append([]string{"transfer"}, o.args...), more...),
		Env: []string{"HOME=" + home, "XDG_STATE_HOME=", "HOLDFAST_DATA_DIR=", "SSH_AUTH_SOCK=", "PGSSLMODE=disable", "NOTIFY_SOCKET=",
			"INVOCATION_ID=", "TZ=UTC", "GORACE=halt_on_error=1 " + os.Getenv("GORACE")}})
}

// keep saves what was said if the test failed.
func (o *observatory) keep() {
	if !o.t.Failed() || o.p == nil {
		return
	}
	text := strings.Join(append(o.said, o.p.Output()), "--- started again ---\n")
	file, err := os.CreateTemp("", "holdfast-transfer-failed-*.log")
	if err != nil {
		o.t.Log(err)
		return
	}
	defer file.Close()
	fmt.Fprint(file, text)
	o.t.Logf("what it said is in %s", file.Name())
}

// write makes a file as an instrument does: under another name, and renamed.
func (o *observatory) write(name string, content []byte) {
	o.t.Helper()
	full := filepath.Join(o.from, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		o.t.Fatal(err)
	}
	if err := os.WriteFile(full+".tmp", content, 0o644); err != nil {
		o.t.Fatal(err)
	}
	if err := os.Rename(full+".tmp", full); err != nil {
		o.t.Fatal(err)
	}
	o.sums[name] = o.sum(content)
}

// sum is the hash of a file; of a frame that of its data: who packs a frame adds cards to its header.
func (o *observatory) sum(content []byte) [sha256.Size]byte {
	o.t.Helper()
	report, err := fits.Skim(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		o.t.Fatal(err)
	}
	if report.Verdict == fits.NotFITS {
		return sha256.Sum256(content)
	}
	h := report.HDUs[0]
	return sha256.Sum256(content[h.Offset+h.Header : h.Offset+h.Header+h.Data])
}

// frame is an image of a night.
func frame(rnd *rand.Rand, night string, side int) []byte {
	var b bytes.Buffer
	card := func(format string, args ...any) { fmt.Fprintf(&b, "%-80s", fmt.Sprintf(format, args...)) }
	card("SIMPLE  = %20s", "T")
	card("BITPIX  = %20d", 16)
	card("NAXIS   = %20d", 2)
	card("NAXIS1  = %20d", side)
	card("NAXIS2  = %20d", side)
	card("DATE-OBS= '%sT01:02:03'", night)
	card("END")
	fill := func(with string) {
		b.WriteString(strings.Repeat(with, (fits.BlockSize-b.Len()%fits.BlockSize)%fits.BlockSize))
	}
	fill(" ")
	for range side * side {
		v := 1000 + rnd.IntN(50)
		b.Write([]byte{byte(v >> 8), byte(v)})
	}
	fill("\x00")
	return b.Bytes()
}

// noise is content that no packer makes smaller.
func noise(rnd *rand.Rand, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// recorded is how many files the ledger has as transferred.
func (o *observatory) recorded() string {
	o.t.Helper()
	return strings.TrimSpace(o.pg.Query(o.t, "select count(*) from goto where file_transferred_at is not null"))
}

// await waits until the ledger has as many files, and nothing is left to be done.
func (o *observatory) await(files int) {
	o.t.Helper()
	for deadline := time.Now().Add(soon); o.recorded() != fmt.Sprint(files); time.Sleep(100 * time.Millisecond) {
		if !o.p.Running() {
			o.t.Fatalf("it ended:\n%s", o.p.Output())
		}
		if time.Now().After(deadline) {
			o.t.Fatalf("%s of %d files are recorded after %v:\n%s", o.recorded(), files, soon, o.p.Output())
		}
	}
}

// there is what stands at the data centre, by name.
func (o *observatory) there() map[string][]byte {
	o.t.Helper()
	all := map[string][]byte{}
	err := filepath.WalkDir(o.to, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(o.to, name)
		all[rel], err = os.ReadFile(name)
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return all
}

// check compares the data centre, the ledger and the books with what was written: each file once, at its place, whole.
func (o *observatory) check() {
	o.t.Helper()
	there := o.there()
	if len(there) != len(o.sums) {
		o.t.Errorf("%d files are there, want %d", len(there), len(o.sums))
	}
	names := map[string]string{} // by the last element of the path
	for name := range there {
		if connector.UnderWay(name) {
			o.t.Errorf("%s is left", name)
		}
		names[filepath.Base(name)] = name
	}
	rows := map[string]string{}
	for row := range strings.Lines(o.pg.Query(o.t, "select source_filepath, filepath from goto where file_transferred_at is not null")) {
		source, path, _ := strings.Cut(strings.TrimSpace(row), "\t")
		rows[source] = path
	}
	for name, sum := range o.sums {
		want := filepath.Base(name)
		packed := strings.HasSuffix(name, ".fits")
		if packed {
			want += ".fz"
		}
		at := names[want]
		if at == "" {
			o.t.Errorf("%s is not there", want)
			continue
		}
		if got := rows[filepath.Join(o.from, name)]; got != filepath.Join(o.to, at) {
			o.t.Errorf("the ledger has %q for %s, want %s", got, name, at)
		}
		if packed {
			o.unpacksTo(at, sum)
		} else if got := sha256.Sum256(there[at]); got != sum {
			o.t.Errorf("%s is another one there", name)
		}
	}
	audit := testenv.Start(o.t, testenv.Command{Path: testenv.Binary(o.t), Args: []string{"audit", "--data-dir", o.data}})
	if code := audit.Wait(o.t, soon); code != 0 {
		o.t.Errorf("audit ended with %d:\n%s", code, audit.Output())
	}
}

// unpacksTo unpacks a frame at the data centre, and compares it.
func (o *observatory) unpacksTo(name string, sum [sha256.Size]byte) {
	o.t.Helper()
	out := filepath.Join(o.t.TempDir(), "out.fits")
	if said, err := exec.Command("funpack", "-O", out, filepath.Join(o.to, name)).CombinedOutput(); err != nil {
		o.t.Errorf("funpack %s: %v: %s", name, err, said)
		return
	}
	content, err := os.ReadFile(out)
	if err != nil {
		o.t.Error(err)
		return
	}
	if got := o.sum(content); got != sum {
		o.t.Errorf("%s unpacks to another file", name)
	}
}
