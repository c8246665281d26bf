package transfer

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast/kernel/engine"
	"holdfast/tests/testenv"
)

// TestPoll: a file that has one name at a poll and another one at the next is one task, and so is one that was there under both.
func TestPoll(t *testing.T) {
	t.Parallel()
	o := newObservatory(t, testenv.SSHDOptions{})
	full := filepath.Join(o.from, "a.dat")
	if err := os.WriteFile(full+".tmp", []byte("a"), 0o644); err != nil {
		t.Fatal(err)
	}
	o.expect("a.dat", []byte("a"))
	o.start("--poll", "--patience", "0.3")
	o.write("first.dat", []byte("first"))
	o.await(1) // a poll has seen both
	if err := os.Rename(full+".tmp", full); err != nil {
		t.Fatal(err)
	}
	o.write("last.dat", []byte("last"))
	s := o.await(3)
	if q := s.Balance.Queues[0]; q.Put != 3 || q.Done != 3 {
		t.Errorf("%+v, want one task for each of 3 files", q.Tasks)
	}
	o.noneDead()
	o.stop()
	o.check()
}

// TestOncePass: a pass waits for a data centre that is away, as long as it may; then it ends with 3, and the next one goes on.
func TestOncePass(t *testing.T) {
	t.Parallel()
	o := newObservatory(t, testenv.SSHDOptions{})
	o.sshd.Kill()
	for _, name := range []string{"a.dat", "b.dat"} {
		o.write(name, []byte(name))
	}
	began := time.Now()
	o.start("--backfill-only", "--backfill-hours", "24", "--max-wait", "5s")
	o.until("it waits for the data centre", func(s engine.Status) bool {
		for _, g := range s.Gates {
			if g.Name == "remote" {
				return !g.Open && g.Kind == "outage" && len(s.Balance.Queues) > 0 && s.Balance.Queues[0].Done == 2
			}
		}
		return false
	})
	if code := o.p.Wait(t, soon); code != 3 {
		t.Errorf("it ended with %d, want 3:\n%s", code, o.p.Output())
	}
	if took := time.Since(began); took < 5*time.Second {
		t.Errorf("it ended after %v, want it to wait for 5s", took)
	}
	if left := below(t, o.to); len(left) > 0 {
		t.Errorf("there are %v", left)
	}
	o.start("--backfill-only", "--backfill-hours", "24", "--max-wait", "1m")
	o.until("it waits again", func(s engine.Status) bool { return len(s.Gates) > 0 })
	o.sshd.Restart()
	if code := o.p.Wait(t, soon); code != 0 {
		t.Errorf("it ended with %d, want 0:\n%s", code, o.p.Output())
	}
	o.check()
}
