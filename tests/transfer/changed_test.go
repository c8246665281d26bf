package transfer

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/kernel/engine"
	"holdfast/tests/testenv"
	"holdfast/tests/testenv/frames"
)

// narrow has the data centre stand behind a link on which the next files take some seconds.
func (o *observatory) narrow() *testenv.FaultyProxy {
	o.t.Helper()
	o.sshd = testenv.SSHD(o.t, testenv.SSHDOptions{})
	proxy := testenv.Proxy(o.t, o.sshd.Addr())
	o.gateway(proxy.Addr())
	return proxy
}

// TestReplacedWhileShipped has another content come to the path of a file that is being shipped: put in its place, and written into
// it. The one that has its name at the destination is whole, nothing is overwritten, and what can't be there is told.
func TestReplacedWhileShipped(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(testenv.Seed(t), 6))
	o := newPlace(t, t.TempDir())
	proxy := o.narrow()
	o.database()
	o.args = append([]string{"transfer", o.from, o.remote(), "--patience", "0.2"}, o.ledger()...)
	o.start()
	o.write("first.dat", []byte("first"))
	o.await(1)
	proxy.Toxic(t, "narrow", "bandwidth", "upstream", map[string]any{"rate": 500})
	const size = 8_000_000 // far more than is on its way at once
	replaced, second := frames.Noise(rnd, size), frames.Noise(rnd, size)
	o.write("replaced.dat", replaced)
	o.write("written.dat", frames.Noise(rnd, size))
	testenv.Until(t, soon, "both are under way", func() bool { return len(below(t, o.to)) == 1+2 })
	o.write("replaced.dat", second)
	in, err := os.OpenFile(filepath.Join(o.from, "written.dat"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	third := frames.Noise(rnd, size)
	if _, err := in.WriteAt(third, 0); err != nil {
		t.Error(err)
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	proxy.Remove(t, "narrow")
	o.await(1 + 4)                     // two identities of each
	o.expect("replaced.dat", replaced) // its bytes were open, and went out as they were
	o.expect("written.dat", third)
	said := o.run(0, "dead", "show", "1")
	_, letters, _ := o.status()
	if letters != 1 || !strings.Contains(said, "replaced.dat") || !strings.Contains(said, "was not touched") {
		t.Errorf("%d dead letters, the first one: %s", letters, said)
	}
	o.run(0, "dead", "discard", "1", "--reason", "it is not wanted")
	o.until("its claim is given back", func(engine.Status) bool {
		return o.pg.Query(t, "select count(*) from goto_holdfast_locks") == "0"
	})
	o.stop()
	o.check()
}

// TestDeletedBeforeItsTurn: a file that goes while it waits is nowhere, and is no fault.
func TestDeletedBeforeItsTurn(t *testing.T) {
	t.Parallel()
	o := newObservatory(t, testenv.SSHDOptions{})
	o.start()
	o.write("first.dat", []byte("first"))
	o.await(1)
	o.sshd.Kill()
	o.write("kept.dat", []byte("kept"))
	o.closed("remote", "outage")
	o.write("deleted.dat", []byte("deleted"))
	o.until("both are ready", func(s engine.Status) bool { return s.Balance.Queues[0].Done == 3 })
	if err := os.Remove(filepath.Join(o.from, "deleted.dat")); err != nil {
		t.Fatal(err)
	}
	delete(o.sums, "deleted.dat")
	o.sshd.Restart()
	o.await(3)
	o.noneDead()
	o.stop()
	o.check()
}

// TestUnreadable runs as a user that may not read a file: that is told with what to do, holds up nothing, and the file goes out
// when it may be read and a person says so.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	o := newPlace(t, open(t))
	if os.Getuid() == 0 {
		o.nobody()
	}
	config := filepath.Join(o.dir, "holdfast.yaml")
	o.file(config, fmt.Sprintf("jobs: {frames: {transfer: {from: %s, to: %s, layout: keep, ledger: {none: true}, attempts: 2}}}\n",
		o.from, o.to))
	o.own(config)
	o.args = []string{"run", "-c", config, "--listen", "none"}
	o.start()
	name := filepath.Join(o.from, "shut.dat")
	if err := os.WriteFile(name+".tmp", []byte("shut"), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		t.Fatal(err)
	}
	o.expect("shut.dat", []byte("shut"))
	o.write("open.dat", []byte("open"))
	o.await(2)
	if got := below(t, o.to); len(got) != 1 {
		t.Errorf("there are %v, want the one that may be read", got)
	}
	said := o.run(0, "dead", "show", "1")
	if !strings.Contains(said, "permission denied") || !strings.Contains(said, "give this user the right to read it") {
		t.Errorf("it says %s", said)
	}
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	o.run(0, "dead", "retry", "1")
	o.await(2)
	o.noneDead()
	o.stop()
	o.checkPlace(o.to)
}

// open is a directory that others may enter; those of t.TempDir are closed to them.
func open(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "holdfast-transfer-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// nobody has Holdfast run as the user of that name, to whom the program is given too.
func (o *observatory) nobody() {
	o.t.Helper()
	u, err := user.Lookup("nobody")
	if err != nil {
		o.t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	o.user = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	path := filepath.Join(o.dir, "holdfast")
	// Not by this process: one that it starts for another test meanwhile would have the copy open for writing too, and what is open
	// for writing can't be started.
	if out, err := exec.Command("cp", o.path, path).CombinedOutput(); err != nil {
		o.t.Fatalf("cp: %v: %s", err, out)
	}
	o.path = path
	for _, dir := range []string{o.dir, o.to, filepath.Join(o.dir, "home")} {
		o.own(dir)
	}
}

// own gives a file to whom Holdfast runs as.
func (o *observatory) own(name string) {
	o.t.Helper()
	if o.user == nil {
		return
	}
	if err := os.Chown(name, int(o.user.Uid), int(o.user.Gid)); err != nil {
		o.t.Fatal(err)
	}
}

// TestFuture: a clock that was set back an hour while files came is no reason to pass one over, nor to bring one twice: their times
// are in the future now, by the watch and by a scan, behind a restart too.
func TestFuture(t *testing.T) {
	t.Parallel()
	o := newObservatory(t, testenv.SSHDOptions{})
	future := func(name string) {
		full := filepath.Join(o.from, name)
		content := []byte(name)
		at := time.Now().Add(time.Hour)
		if err := os.WriteFile(full+".tmp", content, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(full+".tmp", at, at); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(full+".tmp", full); err != nil {
			t.Fatal(err)
		}
		o.expect(name, content)
	}
	window := []string{"--backfill-hours", "12", "--backfill-interval", "1", "--backfill-recency-window", "1"}
	future("before.dat")
	o.start(window...)
	o.await(1)
	future("watched.dat")
	o.await(2)
	o.stop()
	future("meanwhile.dat")
	for n := 3; n < 6; n++ { // with what came while nothing ran, and then with one more each time
		o.start(window...)
		s := o.await(n)
		if put := s.Balance.Queues[0].Put; put != int64(n) {
			t.Errorf("there were %d tasks, want one for each of %d files", put, n)
		}
		future(fmt.Sprintf("again%d.dat", n))
		o.await(n + 1)
		o.noneDead()
		o.stop()
	}
	o.check()
}
