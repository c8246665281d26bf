package crash

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"holdfast/kernel/store"
	"holdfast/kernel/store/forensic"
	"holdfast/kernel/store/storetest"
	"holdfast/tests/testenv"
)

// breakage is a disk that fails at one change, or from one change on until it is mended.
type breakage struct {
	At    int64
	Err   syscall.Errno
	Until bool // it stays broken
}

func (b breakage) String() string {
	how := "once"
	if b.Until {
		how = "until mended"
	}
	return fmt.Sprintf("%s at change %d, %s", b.Err.Error(), b.At, how)
}

// trial is one run of the job on a disk that breaks.
type trial struct {
	w       *witness
	disk    *storetest.CrashFS
	broke   atomic.Value // the change at which the disk broke, as text
	changes atomic.Int64
	mended  atomic.Bool
	fatal   chan struct{} // closed when the store says that it is dead
}

// scene is the life that every trial repeats, on the disk that an earlier life left.
type scene struct {
	disk  *storetest.CrashFS
	tape  []event
	steps []string
	seed  uint64
}

// newScene lives the first life. Its disk has tables, logs and a checkpoint.
func newScene(t *testing.T, seed uint64) *scene {
	t.Helper()
	sc := &scene{disk: storetest.NewCrashFS(), seed: seed}
	w := newWitness()
	w.taping = true
	for life := range uint64(2) {
		r := rand.New(rand.NewPCG(seed, life))
		j, err := w.open("/job", w.options(sc.disk.FS()))
		if err == nil {
			err = j.run(sc.draw(r, 60), seed+life, false, time.Millisecond)
			j.queue.Close()
			w.stop(func() { sc.disk = sc.disk.After(100, seed) })
			err = errors.Join(err, j.st.Close(), w.broken())
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := w.verifyPoints(sc.disk.FS(), "/job"); err != nil {
			t.Fatal(err)
		}
	}
	sc.tape = w.tape
	sc.steps = append(sc.draw(rand.New(rand.NewPCG(seed, 9)), 30), makePoint, trimSpool, noteDurably)
	return sc
}

// draw chooses steps that take no time.
func (sc *scene) draw(r *rand.Rand, n int) []string {
	steps := make([]string, n)
	for i := range steps {
		for steps[i] == "" || strings.HasPrefix(steps[i], "sleep") {
			steps[i] = often[r.IntN(len(often))]
		}
	}
	return steps
}

// witness returns one who knows what was told so far.
func (sc *scene) witness(tape []event) (*witness, error) {
	w := newWitness()
	for _, e := range append(sc.tape[:len(sc.tape):len(sc.tape)], tape...) {
		if _, err := w.take(e); err != nil {
			return nil, err
		}
		w.lives = 100 // above any that was told of
	}
	clear(w.points) // the scene's own are verified and gone
	return w, nil
}

// play runs the scene on a disk that breaks, and checks what came of it.
func (sc *scene) play(b breakage) (fatal bool, changes int64, err error) {
	w, err := sc.witness(nil)
	if err != nil {
		return false, 0, err
	}
	w.taping, w.lives = true, 200
	tr := &trial{w: w, disk: sc.disk.After(100, 1), fatal: make(chan struct{})}
	fs := tr.disk.Faulty(func(c storetest.Change) error {
		n := tr.changes.Add(1)
		if tr.mended.Load() || n < b.At || n > b.At && !b.Until {
			return nil
		}
		tr.broke.CompareAndSwap(nil, c.Kind+" "+c.Path)
		return b.Err
	})
	err = tr.run(sc, fs, b)
	if err == nil {
		err = tr.w.broken()
	}
	if err == nil {
		err = tr.reopen(sc)
	}
	if err != nil {
		err = fmt.Errorf("%v (%v): %w", b, tr.broke.Load(), err)
	}
	select {
	case <-tr.fatal:
		fatal = true
	default:
	}
	return fatal, tr.changes.Load(), err
}

// run opens the store and does the steps. An error that says what is wrong with the disk is an answer;
// any other, and none within the time, is a failure.
func (tr *trial) run(sc *scene, fs store.FS, b breakage) error {
	o := tr.w.options(fs)
	o.Survive = true
	o.Fatal = func(error) { close(tr.fatal) }
	clear := func(err error) error {
		if err == nil || errors.Is(err, b.Err) || errors.Is(err, forensic.ErrFrozen) {
			return nil
		}
		return err
	}
	var j *job
	err := inTime("open", func() (err error) { j, err = tr.w.open("/job", o); return err })
	if err != nil {
		return clear(err)
	}
	r := rand.New(rand.NewPCG(sc.seed, 7))
	for _, s := range sc.steps {
		err := inTime(s, func() error { return j.do(s, r, time.Millisecond) })
		if err := clear(err); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	tr.mended.Store(true)
	err = inTime("note", func() error { return j.note(false) })
	j.queue.Close()
	if errors.Is(err, forensic.ErrFrozen) {
		return inTime("Fatal", func() error { <-tr.fatal; return nil })
	}
	if err != nil {
		return fmt.Errorf("after the disk was mended: %w", err)
	}
	return clear(inTime("close", j.st.Close))
}

// inTime runs f and fails when it does not come back.
func inTime(what string, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }() // left behind only in a test that has failed
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		stacks := make([]byte, 1<<20)
		return fmt.Errorf("%s hangs\n%s", what, stacks[:runtime.Stack(stacks, true)])
	}
}

// reopen holds the disk against what the witness knows: as the next process finds it, and as the next
// process finds it when the power fails too.
func (tr *trial) reopen(sc *scene) error {
	for _, keep := range []int{100, 0, 50} {
		disk := tr.disk.After(keep, sc.seed)
		w, err := sc.witness(tr.w.tape)
		if err != nil {
			return err
		}
		j, err := w.open("/job", w.options(disk.FS()))
		if err != nil {
			return fmt.Errorf("open again (%d%% of what was not synced is there): %w", keep, err)
		}
		err = j.note(false)
		j.queue.Close()
		err = errors.Join(err, j.st.Close(), w.broken(), w.verifyPoints(disk.FS(), "/job"))
		if err != nil {
			return fmt.Errorf("opened again (%d%% of what was not synced is there): %w", keep, err)
		}
	}
	return nil
}

// TestDiskFails breaks the disk at every change that the job makes to it, with EIO and ENOSPC, once and
// until it is mended. Each time either the operation says so and the store goes on, or the store is
// frozen and the next one has all that was acknowledged. Nothing hangs.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	seed := testenv.Seed(t)
	sc := newScene(t, seed)
	_, all, err := sc.play(breakage{At: 1 << 40})
	if err != nil {
		t.Fatalf("without a fault: %v", err)
	}
	var trials []breakage
	for at := range all + 5 {
		for _, e := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
			trials = append(trials, breakage{At: at + 1, Err: e}, breakage{At: at + 1, Err: e, Until: true})
		}
	}
	r := rand.New(rand.NewPCG(seed, 0))
	r.Shuffle(len(trials), func(i, j int) { trials[i], trials[j] = trials[j], trials[i] })
	dead := 0
	trials = trials[:testenv.Count(t, len(trials))]
	for _, b := range trials {
		fatal, _, err := sc.play(b)
		if err != nil {
			t.Fatal(err)
		}
		if fatal {
			dead++
		}
	}
	t.Logf("%d changes, %d trials, of which %d ended the store", all, len(trials), dead)
}

// TestOpenOnAFailingDisk fails each write, sync, creation and removal of an Open that has a log to
// replay: Open says so, and the process lives on. Pebble's own way out of a failed Open leaves a
// goroutine behind that panics.
func TestOpenOnAFailingDisk(t *testing.T) {
	t.Parallel()
	disk := storetest.NewCrashFS()
	s, err := store.Open("/job", storetest.Options(t, disk.FS()))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Update(func(tx *store.Tx) error { tx.Set(journalKey, nil); return nil }); err != nil {
		t.Fatal(err)
	}
	left := disk.After(100)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var last string
	for at, failed := int64(1), true; failed; at++ {
		var n atomic.Int64
		o := storetest.Options(t, nil)
		var hit atomic.Pointer[storetest.Change]
		o.FS = left.After(100).Faulty(func(c storetest.Change) error {
			if n.Add(1) == at {
				hit.Store(&c)
				return syscall.EIO
			}
			return nil
		})
		o.Survive, o.Fatal = true, func(error) {}
		s, err := store.Open("/job", o)
		if err == nil {
			_ = s.Close() // may have met the fault itself
		} else if !errors.Is(err, syscall.EIO) {
			t.Errorf("%v fails: got %v", hit.Load(), err)
		}
		if failed = hit.Load() != nil; failed {
			last = fmt.Sprintf("%d: %v", at, *hit.Load())
		}
	}
	t.Logf("the last change that failed was %s", last)
}

// TestFrozenStoreRunsNoTransaction fails a log's sync. The commit may stand in the log and not in memory,
// so a later function would read a state without it, and what it decided would be wrong for the next Open.
func TestFrozenStoreRunsNoTransaction(t *testing.T) {
	var broken atomic.Bool
	o := storetest.Options(t, nil)
	o.FS = storetest.NewCrashFS().Faulty(func(c storetest.Change) error {
		if broken.Load() && strings.HasSuffix(c.Path, ".log") {
			return syscall.EIO
		}
		return nil
	})
	o.Survive, o.Fatal = true, func(error) {}
	s, err := store.Open("/job", o)
	if err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	set := func(tx *store.Tx) error { tx.Set(journalKey, nil); return nil }
	if err := s.Update(set); !errors.Is(err, forensic.ErrFrozen) {
		t.Fatalf("got %v, want ErrFrozen", err)
	}
	for name, update := range map[string]func(func(*store.Tx) error) error{
		"Update": s.Update, "UpdateLazy": s.UpdateLazy} {
		err := update(func(*store.Tx) error {
			t.Errorf("%s runs its function over what may lack a commit that the log has", name)
			return nil
		})
		if !errors.Is(err, forensic.ErrFrozen) || !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: got %v, want ErrFrozen and the cause", name, err)
		}
	}
	_ = s.Close() // gives up what it can: the goroutine that failed stays
}
