// Package transfer runs `holdfast transfer` as a whole, with real servers.
package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/app/desk"
	"holdfast/base/fits"
	"holdfast/connector"
	"holdfast/face/api"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/tests/testenv"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, append(testenv.ProcessLeaks(), testenv.ProxyLeaks()...)...)
}

// soon is how long anything may take here.
const soon = 2 * time.Minute

// sum is what tells one file from another.
type sum = [sha256.Size]byte

// observatory is a directory of frames, and one Holdfast that brings them elsewhere.
type observatory struct {
	t    testing.TB
	dir  string
	from string // frames are written here
	to   string // and go here
	data string // of Holdfast
	sshd *testenv.SSHServer
	pg   *testenv.PostgresServer
	args []string            // behind `holdfast`
	user *syscall.Credential // whom it runs as; nil: who runs the test
	path string              // of the binary
	p    *testenv.Process
	said []string // by former processes

	mu   sync.Mutex
	sums map[string]sum // of what was written, by name; guarded by mu
}

// newPlace is an observatory without servers, whose Holdfast has no command yet.
func newPlace(t testing.TB, dir string) *observatory {
	t.Helper()
	o := &observatory{t: t, dir: dir, path: testenv.Binary(t), sums: map[string]sum{}}
	for name, at := range map[string]*string{"from": &o.from, "to": &o.to, "home/.ssh": nil} {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(full, 0o755); err != nil {
			t.Fatal(err)
		}
		if at != nil {
			*at = full
		}
	}
	o.data = filepath.Join(dir, "data")
	t.Cleanup(o.keep)
	return o
}

// newObservatory has a data centre with sshd, and a database. The command line is rawtransfer's.
func newObservatory(t testing.TB, sshd testenv.SSHDOptions) *observatory {
	t.Helper()
	o := newPlace(t, t.TempDir())
	o.sshd = testenv.SSHD(t, sshd)
	o.gateway(o.sshd.Addr())
	o.database()
	o.args = append([]string{"transfer", o.from, o.remote(), "--patterns", "t?_r*_ut?.fits", "*.dat",
		"--metadata-regex", `t(?P<tel>\d)_r(?P<run>\d+)_ut(?P<ut>\d).fits`, "--header-card", "DATE-OBS", "--copy-timeout", "60",
		"--workers", "4", "--ssh-controlmaster", "--canary-interval", "15", "--verbose"}, o.ledger()...)
	return o
}

// remote is the data centre, as scp has it.
func (o *observatory) remote() string { return o.sshd.User() + "@gateway:" + o.to }

// gateway writes the configuration of SSH: which address stands behind the name, and more.
func (o *observatory) gateway(addr string, more ...string) {
	o.t.Helper()
	known := o.sshd.KnownHosts()
	if addr != o.sshd.Addr() { // something that stands in front of it
		known = filepath.Join(o.dir, "known_hosts")
		o.file(known, o.sshd.KnownAs("127.0.0.1", portOf(o.t, addr)))
	}
	o.file(filepath.Join(o.dir, "home/.ssh/config"), fmt.Sprintf("Host gateway\n  HostName 127.0.0.1\n  Port %d\n  IdentityFile %s\n"+
		"  UserKnownHostsFile %s\n%s", portOf(o.t, addr), o.sshd.Key(), known, strings.Join(more, "")))
}

// file writes a file of the observatory's own.
func (o *observatory) file(name, text string) {
	o.t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
}

func portOf(t testing.TB, addr string) (port int) {
	t.Helper()
	_, text, err := net.SplitHostPort(addr)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// database starts a database with the table of rawtransfer.
func (o *observatory) database() {
	o.t.Helper()
	o.pg = testenv.Postgres(o.t)
	o.pg.Query(o.t, `create table goto (sha1_hash varchar(40) primary key, source_filepath text,
		file_created_at timestamp without time zone, file_transferred_at timestamp without time zone, filepath text,
		tel smallint, run int, ut smallint, created_at timestamp without time zone default now() not null)`)
}

// ledger are the flags of the database.
func (o *observatory) ledger() []string {
	o.t.Helper()
	return []string{"--db-host", "127.0.0.1", "--db-user", "postgres", "--db-name", "postgres", "--db-port",
		strconv.Itoa(portOf(o.t, o.pg.Addr())), "--db-table", "goto"}
}

func (o *observatory) env() []string {
	return []string{"HOME=" + filepath.Join(o.dir, "home"), "XDG_STATE_HOME=", "HOLDFAST_DATA_DIR=", "SSH_AUTH_SOCK=",
		"PGSSLMODE=disable", "NOTIFY_SOCKET=", "INVOCATION_ID=", "TZ=UTC", "GORACE=halt_on_error=1 " + os.Getenv("GORACE")}
}

// command is Holdfast with arguments, and the data directory.
func (o *observatory) command(args ...string) testenv.Command {
	return testenv.Command{Path: o.path, Args: append(args, "--data-dir", o.data), Env: o.env(), User: o.user}
}

// start starts Holdfast.
func (o *observatory) start(more ...string) {
	o.t.Helper()
	if o.p != nil {
		o.said = append(o.said, o.p.Output())
	}
	o.p = testenv.Start(o.t, o.command(append(o.args[:len(o.args):len(o.args)], more...)...))
}

// stop ends Holdfast in good order.
func (o *observatory) stop() {
	o.t.Helper()
	o.p.Term()
	if code := o.p.Wait(o.t, soon); code != 0 {
		o.t.Errorf("it ended with %d:\n%s", code, o.p.Output())
	}
}

// run runs a command of Holdfast to its end, and returns what it said.
func (o *observatory) run(want int, args ...string) string {
	o.t.Helper()
	p := testenv.Start(o.t, o.command(args...))
	if code := p.Wait(o.t, soon); code != want {
		o.t.Errorf("%v ended with %d, want %d:\n%s", args, code, want, p.Output())
	}
	return p.Output()
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
	err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full+".tmp", content, 0o644),
		os.Rename(full+".tmp", full))
	if err != nil {
		o.t.Error(err)
	}
	o.expect(name, content)
}

// expect remembers a file that is to be everywhere.
func (o *observatory) expect(name string, content []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sums[name] = o.sum(bytes.NewReader(content), int64(len(content)))
}

// sum is the hash of a file; of a frame that of its data: who packs a frame adds cards to its header.
func (o *observatory) sum(in io.ReaderAt, size int64) (s sum) {
	o.t.Helper()
	report, err := fits.Skim(in, size)
	h, from := sha256.New(), io.NewSectionReader(in, 0, size)
	if err == nil && report.Verdict != fits.NotFITS && len(report.HDUs) > 0 {
		first := report.HDUs[0]
		from = io.NewSectionReader(in, first.Offset+first.Header, first.Data)
	}
	if err == nil {
		_, err = io.Copy(h, from)
	}
	if err != nil {
		o.t.Error(err)
	}
	return sum(h.Sum(nil))
}

// sumOf is the sum of a file on the disk.
func (o *observatory) sumOf(name string) sum {
	o.t.Helper()
	in, err := os.Open(name)
	if err != nil {
		o.t.Error(err)
		return sum{}
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		o.t.Error(err)
		return sum{}
	}
	return o.sum(in, info.Size())
}

// status is what `holdfast status --json` says of the job; ok is false while nobody answers.
func (o *observatory) status() (s engine.Status, letters int64, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := api.Dial(o.data)
	if err != nil {
		return s, 0, false
	}
	var rep desk.Report
	if err := c.Do(ctx, api.Request{Method: http.MethodGet, Path: "/api/v1/jobs", Result: &rep}); err != nil || len(rep.Jobs) != 1 {
		return s, 0, false
	}
	return rep.Jobs[0], rep.Letters[rep.Jobs[0].Name], true
}

// until waits until the running Holdfast is as done wants it.
func (o *observatory) until(what string, done func(engine.Status) bool) engine.Status {
	o.t.Helper()
	return o.untilWithin(soon, what, done)
}

func (o *observatory) untilWithin(within time.Duration, what string, done func(engine.Status) bool) (s engine.Status) {
	o.t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		last, _, ok := o.status()
		if ok && done(last) {
			return last
		}
		if ok {
			s = last
		}
		if !o.p.Running() {
			o.t.Fatalf("it ended before %s:\n%s", what, o.p.Output())
		}
		if time.Now().After(deadline) {
			o.t.Fatalf("%s: not within %v; status: %+v\n%s", what, within, s, o.p.Output())
		}
	}
}

// await waits until so many files were found, and nothing is left to be done.
func (o *observatory) await(files int) engine.Status {
	o.t.Helper()
	return o.awaitWithin(soon, files)
}

func (o *observatory) awaitWithin(within time.Duration, files int) engine.Status {
	o.t.Helper()
	return o.untilWithin(within, fmt.Sprintf("%d files are done", files), func(s engine.Status) bool {
		put, open := int64(0), int64(0)
		for _, q := range s.Balance.Queues {
			if open += q.Open(); q.Queue == "prepare" {
				put = q.Put
			}
		}
		return put >= int64(files) && open == 0
	})
}

// closed waits until a gate is closed by a fault of a kind, and says why.
func (o *observatory) closed(name, kind string) {
	o.t.Helper()
	o.until(fmt.Sprintf("the gate %s is closed: %s", name, kind), func(s engine.Status) bool {
		return slices.ContainsFunc(s.Gates, func(g gate.Status) bool {
			return g.Name == name && !g.Open && g.Kind == kind && g.Cause != ""
		})
	})
}

// noneDead fails the test if a file is a dead letter.
func (o *observatory) noneDead() {
	o.t.Helper()
	if _, letters, ok := o.status(); !ok || letters > 0 {
		o.t.Errorf("%d dead letters (it answers: %v):\n%s", letters, ok, o.run(0, "dead", "ls"))
	}
}

// below are the files below a directory, by name.
func below(t testing.TB, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it went while we walked
		}
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		names = append(names, rel)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return names
}

// whole are the files below a directory that have their names.
func whole(t testing.TB, dir string) (names []string) {
	t.Helper()
	for _, name := range below(t, dir) {
		if !connector.UnderWay(name) {
			names = append(names, name)
		}
	}
	return names
}

// unpacked is the sum of what a packed frame unpacks to.
func (o *observatory) unpacked(name string) sum {
	o.t.Helper()
	out := filepath.Join(o.t.TempDir(), "out.fits")
	if said, err := exec.Command("funpack", "-O", out, name).CombinedOutput(); err != nil {
		o.t.Errorf("funpack %s: %v: %s", name, err, said)
		return sum{}
	}
	defer os.Remove(out)
	return o.sumOf(out)
}
