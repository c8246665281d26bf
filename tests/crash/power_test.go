package crash

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
	"holdfast/tests/testenv"
)

// history is what happens to a job between its birth and its end.
type history struct {
	Lives []life
	Seed  uint64
}

// life is one run of the job, and the power cut that ends it.
type life struct {
	Seed     uint64
	Steps    []string
	Together bool // workers work at the same time
	Cut      string
	Keep     int // percent of what was not synced that is there all the same
}

// When the power is cut.
const (
	anywhere  = "anywhere"       // before some change of the file system while the job works
	starting  = "while starting" // before some change while the store is made or recovered
	afterward = "after the end"  // of the steps, or if there is no such change
	orderly   = "after an orderly end"
)

func drawHistory(t *rapid.T) history {
	h := history{Seed: rapid.Uint64().Draw(t, "seed")}
	for i := range rapid.IntRange(1, 3).Draw(t, "lives") {
		least := rapid.SampledFrom([]int{0, 15, 15, 40}).Draw(t, "least")
		h.Lives = append(h.Lives, life{
			Seed:     h.Seed + uint64(i),
			Steps:    rapid.SliceOfN(rapid.SampledFrom(often), least, least+40).Draw(t, "steps"),
			Together: rapid.Bool().Draw(t, "together"),
			Cut: rapid.SampledFrom([]string{anywhere, anywhere, anywhere, anywhere, starting, afterward,
				orderly}).Draw(t, "cut"),
			Keep: rapid.SampledFrom([]int{0, 0, 0, 10, 50, 90, 100}).Draw(t, "keep"),
		})
	}
	return h
}

// play lets a history happen on a disk in memory, and returns what must not have been.
func (h history) play() error {
	w := newWitness()
	disk := storetest.NewCrashFS()
	for i, l := range h.Lives {
		var err error
		if disk, err = l.play(w, disk); err != nil {
			return fmt.Errorf("life %d: %w", i+1, err)
		}
		if err = w.verifyPoints(disk.FS(), "/job"); err != nil {
			return fmt.Errorf("after life %d: %w", i+1, err)
		}
	}
	j, err := w.open("/job", w.options(disk.FS()))
	if err != nil {
		return fmt.Errorf("open after the last cut: %w", err)
	}
	err = j.finish(rand.New(rand.NewPCG(h.Seed, 99)))
	j.queue.Close()
	return errors.Join(err, j.st.Close(), w.broken())
}

// play runs the job on the disk and returns the disk as the power cut leaves it.
func (l life) play(w *witness, disk *storetest.CrashFS) (after *storetest.CrashFS, err error) {
	r := rand.New(rand.NewPCG(l.Seed, 1))
	var fs *storetest.FaultFS
	var changes, at atomic.Int64
	cut := func() { w.stop(func() { after = fs.After(l.Keep, l.Seed) }) }
	fs = disk.Faulty(func(storetest.Change) error {
		if changes.Add(1) > at.Load() {
			cut()
		}
		return nil
	})
	at.Store(math.MaxInt64)
	if l.Cut == starting {
		at.Store(r.Int64N(80))
	}
	j, err := w.open("/job", w.options(fs))
	if err == nil {
		if l.Cut == anywhere {
			at.Store(changes.Load() + r.Int64N(3*int64(len(l.Steps))+1))
		}
		err = j.run(l.Steps, l.Seed, l.Together, time.Second)
		if l.Cut != orderly {
			cut()
		}
		j.queue.Close()
		err = errors.Join(err, j.st.Close())
	}
	cut()
	if errors.Is(err, errDown) {
		err = nil
	}
	return after, errors.Join(err, w.broken())
}

// TestPowerCut: ten thousand random histories, each with up to three power cuts at random steps of the
// file system, between any write and its sync included.
func TestPowerCut(t *testing.T) {
	seed, left := testenv.Seed(t), testenv.Count(t, 10_000)
	if slow {
		left /= 16
	}
	// What pools hold belongs to the bubble in which it was made; two collections empty them. The
	// other tests are parallel ones, so they run when this one has ended.
	t.Cleanup(func() { runtime.GC(); runtime.GC() })
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // a history is short, and so is its garbage
	rapidly(t, "rapid.nofailfile", "true")
	rapidly(t, "rapid.shrinktime", "1h") // of virtual time
	// One bubble of virtual time for all: a job in which all wait for ever is found at once.
	synctest.Test(t, func(t *testing.T) {
		// Rapid gives up after a day, which is over soon where time is virtual.
		for ; left > 0; left -= 1000 {
			rapidly(t, "rapid.checks", strconv.Itoa(min(left, 1000)))
			rapidly(t, "rapid.seed", strconv.FormatUint(seed+uint64(left), 10))
			rapid.Check(noDeadline{t}, func(rt *rapid.T) {
				if err := drawHistory(rt).play(); err != nil {
					rt.Fatal(err)
				}
			})
		}
	})
}

// TestPowerCutWhileOpening cuts the power before every single change that opening a store with a log to
// replay makes, with different parts of what was not synced: the next open finds everything.
func TestPowerCutWhileOpening(t *testing.T) {
	t.Parallel()
	w := newWitness()
	left := storetest.NewCrashFS()
	j, err := w.open("/job", w.options(left.FS()))
	if err == nil {
		err = errors.Join(j.run([]string{pageLeft, pageRight, putTask}, 1, false, time.Second),
			j.verified(func(*model) error { return nil }))
		j.queue.Close()
		left = left.After(100, 1)
		err = errors.Join(err, j.st.Close(), w.broken())
	}
	if err != nil {
		t.Fatal(err)
	}
	seeds := uint64(testenv.Count(t, 50))
	for at := int64(1); ; at++ {
		var cuts []*storetest.CrashFS
		var drawn atomic.Bool // guards cuts: Pebble removes files behind an Open's back
		disk := left.After(100, 1)
		var changes atomic.Int64
		var fs *storetest.FaultFS
		fs = disk.Faulty(func(storetest.Change) error {
			if changes.Add(1) == at {
				for seed := range seeds {
					cuts = append(cuts, fs.After([]int{0, 10, 50, 90, 100}[seed%5], seed))
				}
				drawn.Store(true)
			}
			return nil
		})
		st, err := store.Open("/job", w.options(fs))
		if err != nil {
			t.Fatal(err)
		}
		early := drawn.Load()
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		if !early {
			t.Logf("%d changes", at-1)
			return
		}
		for i, cut := range cuts {
			again, err := store.Open("/job", w.options(cut.FS()))
			if err != nil {
				t.Fatalf("cut before change %d, choice %d: %v", at, i, err)
			}
			if err := errors.Join(again.View(t.Context(), func(r store.Reader) error {
				return w.model.compare(r, w)
			}), again.Close()); err != nil {
				t.Fatalf("cut before change %d, choice %d: %v", at, i, err)
			}
		}
	}
}

// noDeadline keeps rapid from asking for the test's deadline, which is not to be had in a bubble.
type noDeadline struct{ testing.TB }

// rapidly sets one of rapid's flags for this test, unless the command line says so.
func rapidly(t *testing.T, name, value string) {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return
	}
	f := flag.Lookup(name)
	old := f.Value.String()
	t.Cleanup(func() { _ = f.Value.Set(old) })
	if err := f.Value.Set(value); err != nil {
		t.Fatal(err)
	}
}

var _ store.FS = (*storetest.FaultFS)(nil)
