package crash

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/tests/testenv"
)

// childEnv makes the test binary a child, and says which.
const childEnv = "HOLDFAST_CRASH_CHILD"

// orders is what a child is told on its standard input.
type orders struct {
	Dir    string
	Life   uint64
	Seed   uint64
	Healed [2]map[uint64]bool // of the sinks
}

// runChild works on a real directory for ever, and tells everything on its standard output.
func runChild(what string) int {
	var o orders
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		fmt.Fprintln(os.Stderr, "read orders:", err)
		return 1
	}
	if what == "room" {
		return runInSmallRoom(o)
	}
	w := newWitness()
	w.model, w.lives, w.out = nil, o.Life, json.NewEncoder(os.Stdout)
	for s := range w.sinks {
		w.sinks[s].Healed = o.Healed[s]
	}
	opts := w.options(nil)
	opts.Log = nil
	j, err := w.open(o.Dir, opts)
	for round := uint64(0); err == nil; round++ {
		r := rand.New(rand.NewPCG(o.Seed, round))
		steps := make([]string, 300)
		for i := range steps {
			for steps[i] == "" || steps[i] == sleepFlush || steps[i] == makePoint && r.IntN(10) > 0 {
				steps[i] = often[r.IntN(len(often))]
			}
		}
		err = j.run(steps, o.Seed+round, true, 5*time.Millisecond)
	}
	w.tell(event{What: violated, Name: err.Error()})
	return 1
}

// child is a running child and what it tells.
type child struct {
	cmd  *exec.Cmd
	out  io.ReadCloser
	errs *tailed
}

// startChild starts a child that dies with us.
func startChild(t *testing.T, what string, o orders) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(self), errs: new(tailed)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+what)
	c.cmd.Stderr = c.errs
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := c.cmd.StdinPipe()
	if err == nil {
		c.out, err = c.cmd.StdoutPipe()
	}
	if err == nil {
		err = c.cmd.Start()
	}
	if err == nil {
		err = errors.Join(json.NewEncoder(in).Encode(o), in.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tailed keeps the end of what a child writes to standard error.
type tailed struct {
	mu sync.Mutex
	b  []byte
}

func (t *tailed) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-8000):]
	return len(p), nil
}

func (t *tailed) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}

// TestKilled: a child works on a real directory and is killed (kill -9) at a random moment, even while
// it starts; then its store is held against what it had told, and the next child goes on with it.
func TestKilled(t *testing.T) {
	t.Parallel()
	// The kernel ends a child when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	w, dir := newWitness(), t.TempDir()
	commits, points := uint64(0), 0
	for i := range testenv.Count(t, 200) {
		o := orders{Dir: dir, Life: w.rise(), Seed: r.Uint64(),
			Healed: [2]map[uint64]bool{w.sinks[0].Healed, w.sinks[1].Healed}}
		c := startChild(t, "work", o)
		after := time.Duration(r.IntN(200)) * time.Millisecond
		if r.IntN(5) > 0 {
			after += 100 * time.Millisecond // the time that it takes to start
		}
		kill := time.AfterFunc(after, func() { _ = c.cmd.Process.Kill() })
		err := w.follow(c.out)
		kill.Stop()
		_ = c.cmd.Process.Kill()
		if waited := c.cmd.Wait(); err == nil && !killed(waited) {
			err = fmt.Errorf("the child ended by itself: %w", waited)
		}
		before := w.model.N
		points += len(w.points)
		if err == nil {
			err = w.checkDirectory(dir)
		}
		if err != nil {
			t.Fatalf("kill %d: %v\n%s", i+1, err, c.errs)
		}
		commits += w.model.N - before
	}
	j, err := w.open(dir, w.options(nil))
	if err != nil {
		t.Fatal(err)
	}
	err = j.finish(r)
	j.queue.Close()
	if err := errors.Join(err, j.st.Close(), w.broken()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d commits, %d checkpoints, %d blocks, %d letters, %d tasks", commits, points, w.model.Next-1,
		len(w.model.Letters), len(w.model.Tasks))
}

func killed(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
}

// checkDirectory opens what a killed child left, compares, and lets go of what can't come again.
func (w *witness) checkDirectory(dir string) error {
	j, err := w.open(dir, w.options(nil))
	if err != nil {
		return fmt.Errorf("open after a kill: %w", err)
	}
	j.queue.Close()
	if err := errors.Join(j.st.Close(), w.broken()); err != nil {
		return err
	}
	w.forget()
	return w.verifyPoints(nil, dir)
}
