package transfer

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/tests/testenv"
)

// TestOutages takes the data centre and the database away while files arrive, in each of the ways that they can be away. Nobody
// does anything, and all is there in the end.
func TestOutages(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]struct{ strike, mend func(o *observatory) }{
		"sshd is killed":       {func(o *observatory) { o.sshd.Kill() }, func(o *observatory) { o.sshd.Restart() }},
		"sshd is frozen":       {func(o *observatory) { o.sshd.Freeze() }, func(o *observatory) { o.sshd.Thaw() }},
		"sessions are killed":  {func(o *observatory) { o.sshd.KillSessions() }, func(*observatory) {}},
		"PostgreSQL is killed": {func(o *observatory) { o.pg.Kill() }, func(o *observatory) { o.pg.Restart() }},
		"PostgreSQL is frozen": {func(o *observatory) { o.pg.Freeze() }, func(o *observatory) { o.pg.Thaw() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(testenv.Seed(t), 3))
			o := newObservatory(t, testenv.SSHDOptions{})
			o.start()
			const files = 30
			for i := range files {
				o.write(fmt.Sprintf("f%05d.dat", i), noise(rnd, 1000+rnd.IntN(200_000)))
				if i == files/3 {
					testenv.Until(t, soon, "some are there", func() bool { return len(o.there()) > 2 })
					away.strike(o)
				}
			}
			time.Sleep(2 * time.Second) // the outage
			away.mend(o)
			o.await(files)
			o.p.Term()
			if code := o.p.Wait(t, soon); code != 0 {
				t.Errorf("it ended with %d", code)
			}
			o.check()
		})
	}
}

// TestChangedHostKey: a data centre whose key is another one is refused, with the command that would accept it; and what waits
// goes out once a person did that.
func TestChangedHostKey(t *testing.T) {
	t.Parallel()
	o := newObservatory(t, testenv.SSHDOptions{})
	known, err := os.ReadFile(o.sshd.KnownHosts())
	if err != nil {
		t.Fatal(err)
	}
	o.sshd.NewHostKey()
	accepted, err := os.ReadFile(o.sshd.KnownHosts())
	if err != nil {
		t.Fatal(err)
	}
	know := func(text []byte) {
		if err := os.WriteFile(o.sshd.KnownHosts(), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	know(known)
	o.start()
	o.write("a.dat", []byte("a"))
	if said := o.p.WaitFor(t, "WARNING: remote: .*", soon); !strings.Contains(said, "key") {
		t.Errorf("it says %q", said)
	}
	if there := o.there(); len(there) > 0 {
		t.Errorf("%d files are there", len(there))
	}
	know(accepted)
	resume := testenv.Start(t, testenv.Command{Path: testenv.Binary(t), Args: []string{"resume", "transfer", "--data-dir", o.data}})
	if code := resume.Wait(t, soon); code != 0 {
		t.Errorf("resume ended with %d:\n%s", code, resume.Output())
	}
	o.await(1)
	o.check()
}

// TestHostileNames: whatever the name of a file has in it, it is a name, for the watch, the shell of the data centre and the
// ledger.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	o := newObservatory(t, testenv.SSHDOptions{})
	names := []string{"with blank.dat", "new\nline.dat", "$(touch stolen).dat", "`touch stolen`.dat", "'; touch stolen; '.dat",
		"\"quoted\".dat", "-rf.dat", "ünïcode.dat", "invalid\xff.dat", "tab\there.dat", "back\\slash.dat", "*.dat", "semi;colon.dat",
		"percent%41.dat", "esc\x1b[31mred.dat"}
	for i, name := range names {
		o.write(name, []byte(fmt.Sprint("content of ", i)))
	}
	o.start()
	o.await(len(names))
	o.p.Term()
	if code := o.p.Wait(t, soon); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	there := o.there()
	if len(there) != len(names) {
		t.Errorf("%d files are there, want %d", len(there), len(names))
	}
	for i, name := range names {
		found := false
		for at, content := range there {
			if filepath.Base(at) == name {
				found = string(content) == fmt.Sprint("content of ", i)
			}
		}
		if !found {
			t.Errorf("%q is not there, or is another", name)
		}
	}
	if strings.Contains(o.p.Output(), "\x1b[31m") {
		t.Error("the log has a name's control characters")
	}
	for _, dir := range []string{o.from, o.to, o.dir, ".", os.Getenv("HOME")} {
		if _, err := os.Stat(filepath.Join(dir, "stolen")); err == nil {
			t.Errorf("a name was run by a shell, in %s", dir)
		}
	}
}
