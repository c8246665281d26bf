package checkpoint_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"holdfast/base/fault"
	"holdfast/kernel/checkpoint"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
	"holdfast/tests/testenv"
)

// ours says whether a step makes or removes a checkpoint.
func ours(s storetest.Change) bool {
	return s.Kind == "link" || strings.Contains(s.Path, "/checkpoints")
}

// replaces says whether a step belongs to a Replace. What Pebble does in the stage is many steps,
// and one to us.
func replaces(s storetest.Change) bool { return !strings.Contains(s.Path, "..restore.new/db") }

// fuse makes one step fail, once it is armed.
type fuse struct {
	cause error

	mu          sync.Mutex // guards what follows
	at, reached int        // at is 0 while it is not armed
}

func (f *fuse) arm(at int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at, f.reached = at, 0
}

// disarm says whether the step was reached.
func (f *fuse) disarm() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.at
	f.at = 0
	return f.reached >= was
}

func (f *fuse) step(s storetest.Change) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at == 0 {
		return nil
	}
	if f.reached++; f.reached == f.at {
		return fmt.Errorf("injected into %s: %w", s.Path, f.cause)
	}
	return nil
}

// memory is a store with tables and a log on a disk that can be cut.
func memory(t testing.TB, disk *storetest.CrashFS) {
	t.Helper()
	for i := range uint64(2) {
		s, err := store.Open("/job", storetest.Options(t, disk.FS()))
		if err != nil {
			t.Fatal(err)
		}
		put(t, s, i*200, i*200+200, 1)
		shut(t, s)
	}
}

// A Create that fails at any of its steps changes nothing, leaves nothing and says why.
func TestCreateFailsAtEachStep(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EIO} {
		t.Run(cause.Error(), func(t *testing.T) {
			t.Parallel()
			createFails(t, cause)
		})
	}
}

func createFails(t *testing.T, cause error) {
	disk := storetest.NewCrashFS()
	memory(t, disk)
	failed, f := 0, &fuse{cause: cause}
	fs := disk.Faulty(func(s storetest.Change) error {
		if !ours(s) {
			return nil
		}
		return f.step(s)
	})
	s, err := store.Open("/job", storetest.Options(t, fs))
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, checkpoint.Options{Name: "before"})
	want := read(t, s)
	stride := 1
	if cause == syscall.ENOSPC && !testenv.Torture() {
		stride = 3 // the store waits half a second with each, for room
	}
	for at := 1; ; at += stride {
		f.arm(at)
		_, err := checkpoint.Create(t.Context(), s, checkpoint.Options{Name: "x"})
		if !f.disarm() {
			break
		}
		if err == nil {
			// A link that can't be made is a copy; an early start of writing is not missed.
			if err := checkpoint.Remove("/job", "x", checkpoint.Work{FS: fs}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		failed++
		if !errors.Is(err, cause) || cause == syscall.ENOSPC && !fault.Is(err, fault.Full) {
			t.Errorf("step %d: got %v, want %v", at, err, cause)
		}
		clean(t, fs, "/job/checkpoints", "before")
		if got := read(t, s); got != want {
			t.Fatalf("step %d: the store changed", at)
		}
	}
	if failed*stride < 15 {
		t.Errorf("only %d steps failed", failed)
	}
	if c := create(t, s, checkpoint.Options{Name: "after"}); c.Parent != "x" {
		t.Errorf("the next one has the parent %q, want x", c.Parent)
	}
	shut(t, s)
}

// However a power cut falls into a Create, a Seal, a Remove or a Retain: each checkpoint that is
// there afterwards is whole, one that Create had returned is there, and leftovers go.
func TestPowerCutAtEachStep(t *testing.T) {
	disk := storetest.NewCrashFS()
	memory(t, disk)
	var cuts []*storetest.CrashFS
	var returned []string // what had returned by each cut
	stage := ""
	var fs *storetest.FaultFS
	var mu sync.Mutex
	fs = disk.Faulty(func(s storetest.Change) error {
		mu.Lock()
		defer mu.Unlock()
		if ours(s) {
			cuts = append(cuts, fs.After(0), fs.After(50, uint64(len(cuts))))
			returned = append(returned, stage, stage)
		}
		return nil
	})
	s, err := store.Open("/job", storetest.Options(t, fs))
	if err != nil {
		t.Fatal(err)
	}
	w := checkpoint.Work{FS: fs}
	want := read(t, s)
	c, err := checkpoint.Create(t.Context(), s, checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	stage = "created"
	if err := checkpoint.Seal(t.Context(), s, c.Name, w); err != nil {
		t.Fatal(err)
	}
	d := create(t, s, checkpoint.Options{})
	stage = "two"
	got := retain(t, "/job", checkpoint.Policy{Keep: 1}, w)
	if !slices.Equal(got, []string{c.Name}) {
		t.Errorf("retention removed %v, want %v", got, c.Name)
	}
	stage = "one"
	if err := checkpoint.Remove("/job", d.Name, w); err != nil {
		t.Fatal(err)
	}
	shut(t, s)
	if len(cuts) < 60 {
		t.Errorf("only %d cuts", len(cuts))
	}
	for i, cut := range cuts {
		w := checkpoint.Work{FS: cut.FS()}
		all, err := checkpoint.List("/job", w)
		if err != nil {
			t.Fatalf("cut %d (%s): %v", i, returned[i], err)
		}
		there := names(t, "/job", w)
		switch returned[i] {
		case "created":
			if !slices.Contains(there, c.Name) {
				t.Errorf("cut %d: the checkpoint had returned and is gone: %v", i, there)
			}
		case "two":
			if !slices.Contains(there, d.Name) {
				t.Errorf("cut %d: the newest is gone while an old one was removed: %v", i, there)
			}
		}
		if len(there) > 0 {
			clean(t, cut.FS(), "/job/checkpoints", there...)
		}
		for _, c := range all {
			r, err := checkpoint.Verify(t.Context(), c.Path, w)
			if err = errors.Join(err, r.Err()); err != nil {
				t.Errorf("cut %d (%s): %v", i, returned[i], err)
			}
		}
		if i%10 == 0 && len(all) > 0 {
			restoredIs(t, cut.FS(), all[0].Path, want)
		}
	}
}

func restoredIs(t testing.TB, fs store.FS, from string, want contents) {
	t.Helper()
	w := checkpoint.Work{FS: fs, Store: storetest.Options(t, fs)}
	if _, err := checkpoint.Restore(t.Context(), from, "/again", w); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open("/again", storetest.Options(t, fs))
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, s)
	if got := read(t, s); got != want {
		t.Errorf("restored %+v, want %+v", got, want)
	}
}

// However a power cut falls into a Replace on a file system that can't exchange names: once Recover
// ran, the store is the old one or the new one, and the new one if Replace had returned.
func TestPowerCutAtEachStepOfReplace(t *testing.T) {
	disk := storetest.NewCrashFS()
	memory(t, disk)
	var cuts []*storetest.CrashFS
	watched := atomic.Bool{}
	var fs *storetest.FaultFS
	var mu sync.Mutex
	fs = disk.Faulty(func(s storetest.Change) error {
		mu.Lock()
		defer mu.Unlock()
		if watched.Load() && replaces(s) {
			cuts = append(cuts, fs.After(0), fs.After(50, uint64(len(cuts))))
		}
		return nil
	})
	s, err := store.Open("/job", storetest.Options(t, fs))
	if err != nil {
		t.Fatal(err)
	}
	c := create(t, s, checkpoint.Options{Name: "back"})
	old := read(t, s)
	put(t, s, 100, 500, 2)
	newer := read(t, s)
	shut(t, s)
	watched.Store(true)
	w := checkpoint.Work{FS: fs, Store: storetest.Options(t, fs)}
	if _, _, err := checkpoint.Replace(t.Context(), "/job", "back", w); err != nil {
		t.Fatal(err)
	}
	watched.Store(false)
	if len(cuts) < 40 {
		t.Errorf("only %d cuts", len(cuts))
	}
	cuts = append(cuts, disk.After(0))
	seen := map[contents]int{}
	for i, cut := range cuts {
		if !testenv.Torture() && i > 0 && rand.IntN(3) > 0 {
			continue
		}
		got, out := recovered(t, cut.FS())
		if got != old && got != newer {
			t.Errorf("cut %d: got %+v, want %+v or %+v (%s)", i, got, old, newer, out)
		}
		if seen[old] > 0 && got == newer && i%2 == 0 {
			t.Errorf("cut %d: the old store came back", i)
		}
		seen[got]++
		r, err := checkpoint.Verify(t.Context(), c.Path, checkpoint.Work{FS: cut.FS()})
		if err = errors.Join(err, r.Err()); err != nil {
			t.Errorf("cut %d: %v", i, err)
		}
	}
	if got, _ := recovered(t, disk.After(0).FS()); got != old || seen[newer] == 0 {
		t.Errorf("Replace had returned, got %+v, want %+v; before and after: %v", got, old, seen)
	}
}

// recovered runs Recover on a store's disk, wants nothing half done to be left, and reads the
// store.
func recovered(t testing.TB, fs store.FS) (contents, checkpoint.Outcome) {
	t.Helper()
	out, err := checkpoint.Recover("/job", checkpoint.Work{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	left, err := fs.List("/job")
	hidden := func(name string) bool { return strings.HasPrefix(name, ".") }
	if err != nil || slices.ContainsFunc(left, hidden) {
		t.Errorf("%s left %v (%v)", out, left, err)
	}
	s, err := store.Open("/job", storetest.Options(t, fs))
	if err != nil {
		t.Fatalf("open after %q: %v", out, err)
	}
	defer shut(t, s)
	return read(t, s), out
}

// A Replace that fails at any of its steps leaves the old store or the new one, too.
func TestReplaceFailsAtEachStep(t *testing.T) {
	if !alone(t) {
		return
	}
	stride := 12
	if testenv.Torture() {
		stride = 1
	}
	for at := 1 + rand.IntN(stride); ; at += stride {
		disk := storetest.NewCrashFS()
		memory(t, disk)
		f := &fuse{cause: syscall.EIO}
		fs := disk.Faulty(f.step)
		s, err := store.Open("/job", storetest.Options(t, fs))
		if err != nil {
			t.Fatal(err)
		}
		create(t, s, checkpoint.Options{Name: "back"})
		old := read(t, s)
		put(t, s, 100, 500, 2)
		newer := read(t, s)
		shut(t, s)
		f.arm(at)
		w := checkpoint.Work{FS: fs, Store: storetest.Options(t, fs)}
		_, _, err = checkpoint.Replace(t.Context(), "/job", "back", w)
		if !f.disarm() {
			break
		}
		if err != nil && !errors.Is(err, syscall.EIO) {
			t.Errorf("step %d: got %v, want EIO", at, err)
		}
		if got, out := recovered(t, fs); got != old && (got != newer || err == nil) {
			t.Errorf("step %d (%v): got %+v, want %+v or %+v (%s)", at, err, got, old, newer, out)
		}
	}
}

// Import that fails at any step leaves nothing.
func TestImportFailsAtEachStep(t *testing.T) {
	data := exported(t, true)
	for at := 1; ; at++ {
		disk, f := storetest.NewCrashFS(), &fuse{cause: syscall.ENOSPC}
		fs := disk.Faulty(f.step)
		f.arm(at)
		w := checkpoint.Work{FS: fs}
		_, err := checkpoint.Import(t.Context(), bytes.NewReader(data), "/job", w)
		if !f.disarm() {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		if err == nil {
			continue
		}
		if !fault.Is(err, fault.Full) {
			t.Errorf("step %d: got %v, want full", at, err)
		}
		if _, err := disk.FS().Stat("/job/checkpoints"); err == nil {
			all, err := checkpoint.List("/job", checkpoint.Work{FS: disk.FS()})
			if err != nil || len(all) > 0 {
				t.Errorf("step %d: it left %+v, %v", at, all, err)
			}
		}
	}
}
