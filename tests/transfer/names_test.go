package transfer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/tests/testenv"
)

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
	o.file(o.sshd.KnownHosts(), string(known))
	o.start()
	o.write("a.dat", []byte("a"))
	if said := o.p.WaitFor(t, "WARNING: remote: .*", soon); !strings.Contains(said, "key") {
		t.Errorf("it says %q", said)
	}
	if there := below(t, o.to); len(there) > 0 {
		t.Errorf("%v are there", there)
	}
	o.file(o.sshd.KnownHosts(), string(accepted))
	o.run(0, "resume", "transfer")
	o.await(1)
	o.stop()
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
	o.noneDead()
	o.stop()
	o.checkPlace(o.to)
	o.checkSource()
	got := o.pg.Query(t, "select count(*) from goto where file_transferred_at is not null")
	if got != fmt.Sprint(len(names)) {
		t.Errorf("the ledger has %s files, want %d", got, len(names))
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
