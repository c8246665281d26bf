package transfer

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/app/desk"
	"holdfast/tests/testenv"
	"holdfast/tests/testenv/frames"
)

// bookkeeper asks Holdfast about what it did, and makes its ledger anew.
type bookkeeper struct {
	*testing.T
	dir, from, to, data string
	pg                  *testenv.PostgresServer
	job                 []string // SOURCE, DEST and flags
}

// newBookkeeper has an observatory whose data centre is written as a directory below the home of a user.
func newBookkeeper(t *testing.T) *bookkeeper {
	b := &bookkeeper{T: t, dir: t.TempDir(), from: t.TempDir(), to: t.TempDir()}
	b.data = filepath.Join(b.dir, "data")
	sshd := testenv.SSHD(t, testenv.SSHDOptions{})
	b.pg = testenv.Postgres(t)
	b.newTable()
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	below, err := filepath.Rel(home, b.to)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("Host gateway\n  HostName 127.0.0.1\n  Port %d\n  IdentityFile %s\n  UserKnownHostsFile %s\n", sshd.Port(),
		sshd.Key(), sshd.KnownHosts())
	err = errors.Join(os.MkdirAll(filepath.Join(b.dir, ".ssh"), 0o700),
		os.WriteFile(filepath.Join(b.dir, ".ssh/config"), []byte(config), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(b.pg.Addr())
	if err != nil {
		t.Fatal(err)
	}
	b.job = []string{b.from, sshd.User() + "@gateway:" + below, "--metadata-regex", `t(?P<tel>\d)_r(?P<run>\d+)_ut(?P<ut>\d).fits`,
		"--header-card", "DATE-OBS", "--db-host", host, "--db-user", "postgres", "--db-name", "postgres", "--db-port", port,
		"--db-table", "goto"}
	return b
}

// newTable makes the table of the ledger, as after a loss of all that was there.
func (b *bookkeeper) newTable() {
	b.Helper()
	b.pg.Query(b, `drop table if exists goto, goto_holdfast_files, goto_holdfast_locks, goto_holdfast_owners`)
	b.pg.Query(b, `create table goto (sha1_hash varchar(40) primary key, source_filepath text, file_created_at timestamp,
		file_transferred_at timestamp, filepath text, tel smallint, run int, ut smallint, created_at timestamp default now() not null)`)
}

// rows are what the ledger says, but when.
func (b *bookkeeper) rows(columns string) string {
	b.Helper()
	return b.pg.Query(b, "select "+columns+` from goto join goto_holdfast_files on sha1_hash = sha1 and source_filepath = source
		order by source_filepath`)
}

// holdfast is a command, with the environment that it runs in.
func (b *bookkeeper) holdfast(args ...string) testenv.Command {
	return testenv.Command{Path: testenv.Binary(b), Args: append(args, "--data-dir", b.data), Env: []string{"HOME=" + b.dir,
		"XDG_STATE_HOME=", "HOLDFAST_DATA_DIR=", "SSH_AUTH_SOCK=", "PGSSLMODE=disable", "NOTIFY_SOCKET=", "INVOCATION_ID=", "TZ=UTC"}}
}

// says runs a command to its end, and returns what it said.
func (b *bookkeeper) says(code int, c testenv.Command, want ...string) string {
	b.Helper()
	p := testenv.Start(b, c)
	if got := p.Wait(b, soon); got != code {
		b.Errorf("%v ended with %d, want %d:\n%s", c.Args, got, code, p.Output())
	}
	for _, w := range want {
		if !strings.Contains(p.Output(), w) {
			b.Errorf("%v does not say %q:\n%s", c.Args, w, p.Output())
		}
	}
	return p.Stdout()
}

// about is a command about the job.
func (b *bookkeeper) about(what string, more ...string) testenv.Command {
	return b.holdfast(append(append([]string{"transfer", what}, b.job...), more...)...)
}

func (b *bookkeeper) write(name string, content []byte) {
	b.Helper()
	full := filepath.Join(b.from, name)
	err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full+".tmp", content, 0o644), os.Rename(full+".tmp", full))
	if err != nil {
		b.Fatal(err)
	}
}

// files are those that the job's records list.
func (b *bookkeeper) files(args ...string) []desk.FileRecord {
	b.Helper()
	var out desk.Files
	text := b.says(0, b.holdfast(append([]string{"transfer", "files", "transfer", "--json"}, args...)...))
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		b.Fatalf("%v: %s", err, text)
	}
	return out.Files
}

// TestRecords: what was done is found again, file by file, while Holdfast runs and while it does not; the ledger is compared with
// the data centre; and when the ledger is lost it is made anew: by the job's records, and without them by what stands here.
func TestRecords(t *testing.T) {
	t.Parallel()
	b := newBookkeeper(t)
	const hostile = "night/\x1b]0;it's\n$(touch x)\xff.dat"
	rnd := rand.New(rand.NewPCG(1, 7))
	for i := range 3 {
		b.write(fmt.Sprintf("night/t%d_r000123%d_ut1.fits", i, i), frames.New(rnd, "2023-09-19", 40))
	}
	b.write(hostile, []byte("hostile"))
	work := testenv.Start(t, b.holdfast(append([]string{"transfer"}, append(b.job, "--patience", "0.1")...)...))
	work.WaitFor(t, "with its state in", soon)
	for deadline := time.Now().Add(soon); len(b.files("--state", "done")) < 4; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) || !work.Running() {
			t.Fatalf("four files are not done after %v:\n%s", soon, work.Output())
		}
	}
	b.says(1, b.about("rebuild"), "stop it first")
	asked := func() {
		t.Helper()
		if got := b.files("t1_r"); len(got) != 1 || got[0].To[0].Verified != "remote-hash" ||
			!strings.HasPrefix(got[0].To[0].Path, b.to+"/2023/09/19/") {
			t.Errorf("got %+v", got)
		}
		if got := b.files(filepath.Join(b.from, "night/t")); len(got) < 3 {
			t.Errorf("of an absolute path there are %d", len(got))
		}
		list := b.says(0, b.holdfast("transfer", "files", "transfer"))
		one := b.says(0, b.holdfast("transfer", "file", "transfer", "night/t1_r0001231_ut1.fits"), "found", "read", "FITS: ",
			"claimed", "packed", "by fpack", "named", "2023/09/19/t1_r0001231_ut1.fits.fz", "shipped to remote",
			"verified by remote-hash", "recorded", "replaced", "tel = 1")
		bad := b.says(0, b.holdfast("transfer", "file", "transfer", hostile), "$(touch x)")
		if strings.Contains(list+one+bad, "\x1b") {
			t.Error("a terminal is given commands of a file's name")
		}
	}
	asked()
	work.Term()
	if code := work.Wait(t, soon); code != 0 {
		t.Errorf("it ended with %d:\n%s", code, work.Output())
	}
	asked()

	poor := b.about("verify")
	poor.Env = append(poor.Env, "PATH=/nonexistent") // it packs nothing
	b.says(0, poor, "4 good, 0 different")

	const known = "source_filepath, filepath, tel, run, ut, file_created_at, verified, packed_sha256"
	all := known + ", sha1_hash, file_transferred_at, size, sha256"
	want, facts := b.rows(all), b.rows(known)
	b.newTable()
	b.says(0, b.about("rebuild", "--dry-run"), "0 known, 4 would be added")
	b.says(0, b.about("rebuild"), "0 known, 4 added, 0 without")
	if got := b.rows(all); got != want {
		t.Errorf("by its records the ledger is\n%s, and was\n%s", got, want)
	}
	b.says(0, b.about("verify"), "4 good, 0 different")
	b.says(0, b.about("rebuild"), "4 known, 0 added")

	b.newTable()
	err := errors.Join(os.RemoveAll(b.data), os.WriteFile(filepath.Join(b.to, "foreign"), []byte("x"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	b.says(3, b.about("rebuild"), "0 known, 4 added, 1 without", b.to+"/foreign  at ", "nothing is known of its original")
	if got := b.rows(known); got != facts {
		t.Errorf("by what stands here the ledger is\n%s, and was\n%s", got, facts)
	}
	b.says(0, b.about("verify"), "4 good, 0 different")
	// And what is in it is not transferred again.
	before := b.pg.Query(t, "select count(*) from goto_holdfast_files")
	b.says(0, b.holdfast(append([]string{"transfer"}, append(b.job, "--backfill-only", "--patterns", "t?_r*_ut?.fits", "*.dat")...)...))
	if after := b.pg.Query(t, "select count(*) from goto_holdfast_files"); after != before {
		t.Errorf("%s shipments are recorded, and %s were", after, before)
	}
}
