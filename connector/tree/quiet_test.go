package tree

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// polled runs a tree that is polled, in virtual time.
func polled(t *testing.T, c Config, test func(g *rig)) {
	t.Helper()
	c.Root, c.Poll = t.TempDir(), true
	synctest.Test(t, func(t *testing.T) {
		g := &rig{receiver: newReceiver(), t: t, tree: mustNew(t, c), dir: c.Root}
		g.tree.own.pause = rootEvery
		g.run()
		test(g)
		_ = g.stop()
	})
}

// after lets virtual time pass, and waits until all that it brings was done.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestAPolledFileIsGivenWhenItIsQuiet(t *testing.T) {
	polled(t, Config{}, func(g *rig) {
		after(time.Second)
		if s := g.tree.Status(); s.Mode != Polling || s.Cause != nil {
			t.Errorf("status %+v, want polling, as asked for", s)
		}
		f, err := os.Create(g.path("a"))
		check(t, err)
		for range 20 {
			after(1500 * time.Millisecond)
			_, err = f.WriteString("x")
			check(t, err)
		}
		if fs := g.got(); len(fs) != 0 {
			t.Errorf("given while it grew: %v", fs)
		}
		check(t, f.Close())
		after(10 * time.Second)
		if fs := g.got(); len(fs) != 1 || fs[0].Size != 20 || fs[0].Found != ByPoll {
			t.Errorf("got %v, want a with 20 bytes, by a poll", fs)
		}
		after(time.Hour)
		if n := len(g.got()); n != 1 {
			t.Errorf("after an hour of polls it was given %d times", n)
		}
	})
}

// The temporary file is created, and renamed, at every moment between two polls.
func TestAFileThatIsRenamedBetweenTwoPollsIsGivenOnce(t *testing.T) {
	for _, tmp := range []string{"%d.fits.tmp", "%d.fits", "%d.writing"} {
		polled(t, Config{}, func(g *rig) {
			const n = 40
			for i := range n {
				from := fmt.Sprintf(tmp, i)
				g.write(from, "abc")
				after(time.Duration(i) * 47 * time.Millisecond) // always less than patience
				g.rename(from, fmt.Sprintf("done-%d.fits", i))
				after(time.Duration(i%7) * 900 * time.Millisecond)
			}
			after(time.Minute)
			for i := range n {
				if fs := g.of(fmt.Sprintf("done-%d.fits", i)); len(fs) != 1 {
					t.Errorf("%s: file %d was given %d times, want once", tmp, i, len(fs))
				}
			}
			if len(g.got()) != n {
				t.Errorf("%s: %d files were given, want %d", tmp, len(g.got()), n)
			}
		})
	}
}

func TestAFileWaitsUntilItIsComplete(t *testing.T) {
	var asked atomic.Int64
	c := Config{Overdue: time.Hour, Complete: func(path string) (bool, error) {
		asked.Add(1)
		b, err := os.ReadFile(path)
		return len(b) == 6, err
	}}
	polled(t, c, func(g *rig) {
		g.write("a", "abc")
		after(30 * time.Minute)
		if len(g.got()) != 0 || asked.Load() == 0 {
			t.Errorf("given incomplete after %d questions: %v", asked.Load(), g.got())
		}
		if n := asked.Load(); n > 100 {
			t.Errorf("the hook was asked %d times in half an hour", n)
		}
		g.write("a", "abcdef")
		after(time.Minute)
		if fs := g.got(); len(fs) != 1 || fs[0].Incomplete || fs[0].Size != 6 {
			t.Errorf("got %v, want the whole file", fs)
		}
	})
}

func TestAFileThatStaysIncompleteIsGivenAsSuch(t *testing.T) {
	for _, fault := range []error{nil, os.ErrPermission} {
		c := Config{Overdue: 10 * time.Minute, Complete: func(string) (bool, error) { return fault != nil, fault }}
		polled(t, c, func(g *rig) {
			g.write("a", "abc")
			after(9 * time.Minute)
			if len(g.got()) != 0 {
				t.Errorf("given before it was overdue: %v", g.got())
			}
			after(2 * time.Minute)
			if fs := g.got(); len(fs) != 1 || !fs[0].Incomplete {
				t.Errorf("got %v, want the file, incomplete", fs)
			}
			if n := g.tree.Status().Incomplete; n != 1 {
				t.Errorf("%d incomplete files were counted, want 1", n)
			}
		})
	}
}

// A file that its writer closed is asked about, and one that was moved in is not.
func TestAFileThatWasMovedInIsFinished(t *testing.T) {
	c := config(t.TempDir())
	c.Complete = func(string) (bool, error) { return false, nil }
	g := start(t, c, nil)
	g.write("closed", "abc")
	g.write(".moved", "abc")
	g.rename(".moved", "moved")
	g.paths(t, "moved")
	if fs := g.of("closed"); fs != nil {
		t.Errorf("an incomplete file was given: %v", fs)
	}
	if fs := g.of("moved"); fs[0].Incomplete {
		t.Errorf("what was moved in was asked about: %v", fs)
	}
}

func TestPollsGiveAnOldFileThatIsMovedIn(t *testing.T) {
	c := Config{Within: time.Hour}
	polled(t, c, func(g *rig) {
		after(time.Minute)
		g.write(".a", "abc")
		check(t, os.Chtimes(g.path(".a"), time.Time{}, time.Unix(1e8, 0)))
		g.rename(".a", "a")
		after(time.Minute)
		if len(g.of("a")) != 1 {
			t.Errorf("got %v, want a", g.got())
		}
	})
}

func TestARootThatIsAwayIsWaitedFor(t *testing.T) {
	c := Config{}
	polled(t, c, func(g *rig) {
		g.write("a", "abc")
		after(10 * time.Second)
		check(t, os.RemoveAll(g.dir))
		after(10 * time.Second)
		s := g.tree.Status()
		if s.Mode != Down || s.Cause == nil {
			t.Errorf("the root is gone, and the status is %+v", s)
		}
		wantHint(t, s.Cause, "mount")
		check(t, os.Mkdir(g.dir, 0o755))
		g.write("b", "abc")
		after(10 * time.Second)
		if s := g.tree.Status(); s.Mode != Polling || s.Cause != nil || len(g.of("b")) != 1 {
			t.Errorf("the root is back: status %+v, got %v", s, g.got())
		}
	})
}

func TestScanGivesTheFilesOfAWindow(t *testing.T) {
	dir := t.TempDir()
	for name, age := range map[string]time.Duration{"young": time.Minute, "right": 5 * time.Hour,
		"d/right": 11 * time.Hour,
		"old":     13 * time.Hour} {
		check(t, os.MkdirAll(dir+"/d", 0o755))
		write(t, dir+"/"+name, "abc")
		check(t, os.Chtimes(dir+"/"+name, time.Time{}, time.Now().Add(-age)))
	}
	tr := mustNew(t, Config{Root: dir, Patience: 10 * time.Millisecond})
	for range 2 { // whatever was given before
		r := newReceiver()
		pass, err := tr.Scan(t.Context(), Back(time.Now(), 12*time.Hour, time.Hour), r.give)
		check(t, err)
		if len(r.got()) != 2 || len(r.of("right")) != 1 || len(r.of("d/right")) != 1 {
			t.Errorf("got %v, want right and d/right", r.got())
		}
		if pass.Seen != 4 || pass.Given != 2 || pass.Left != 0 {
			t.Errorf("the pass is %+v, want 4 seen, 2 given", pass)
		}
	}
}

func TestScanWaitsForAFileThatIsBeingWrittenUntilItIsOverdue(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		tr := mustNew(t, Config{Root: dir, Overdue: time.Minute})
		ends, grows := dir+"/ends", dir+"/grows"
		write(t, ends, "a")
		write(t, grows, "a")
		var stop atomic.Bool
		var writer sync.WaitGroup
		defer writer.Wait()
		defer stop.Store(true)
		writer.Go(func() {
			for i := int64(1); !stop.Load(); i++ {
				err := os.Truncate(grows, i)
				if i <= 10 {
					err = errors.Join(err, os.Truncate(ends, i))
				}
				if err != nil {
					t.Error(err)
				}
				time.Sleep(time.Second)
			}
		})
		r := newReceiver()
		pass, err := tr.Scan(t.Context(), Window{}, r.give)
		check(t, err)
		if fs := r.got(); len(fs) != 1 || fs[0].Path != "ends" || fs[0].Size != 10 || pass.Left != 1 {
			t.Errorf("got %v and %+v, want ends whole, and grows left", fs, pass)
		}
	})
}

func TestScanSaysThatTheRootIsAway(t *testing.T) {
	tr := mustNew(t, Config{Root: t.TempDir() + "/none"})
	_, err := tr.Scan(t.Context(), Window{}, newReceiver().give)
	wantHint(t, err, "mount")
}

func TestAScanHoldsNoMoreThanItsShareOfTheTable(t *testing.T) {
	const n, limit, batch = 3000, 200, 10
	c := Config{Root: t.TempDir(), Patience: time.Millisecond}
	for i := range n {
		write(t, fmt.Sprintf("%s/%d", c.Root, i), "")
	}
	g := &rig{receiver: newReceiver(), t: t, tree: mustNew(t, c), dir: c.Root}
	g.tree.own.limit, g.tree.own.batch = limit, batch
	open := g.block()
	g.run()
	g.waits("some files", func(s Status) bool { return s.Waiting >= limit/2 })
	open()
	most := 0
	g.until(t, "all files", func(fs []File) bool {
		most = max(most, g.tree.files.size())
		return len(fs) == n
	})
	if most > limit/2+stepFiles+batch {
		t.Errorf("%d files were held, want at most half of %d and what a step finds", most, limit)
	}
	r := newReceiver()
	pass, err := g.tree.Scan(t.Context(), Window{}, r.give)
	check(t, err)
	if pass.Given != n || len(r.got()) != n {
		t.Errorf("beside Run a scan gave %d files (%+v), want %d", len(r.got()), pass, n)
	}
}

// What was unchanged for long before anybody looked is not waited for once more; one pass ends soon.
func TestAnOldIncompleteFileIsGivenSoon(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		tr := mustNew(t, Config{Root: dir, Overdue: time.Hour, Complete: func(string) (bool, error) { return false, nil }})
		write(t, dir+"/old", "a")
		old := time.Now().Add(-2 * time.Hour)
		check(t, os.Chtimes(dir+"/old", old, old))
		r, begin := newReceiver(), time.Now()
		if _, err := tr.Scan(t.Context(), Window{}, r.give); err != nil {
			t.Fatal(err)
		}
		if fs := r.got(); len(fs) != 1 || !fs[0].Incomplete || time.Since(begin) > 10*time.Second {
			t.Errorf("got %v after %v, want the file, incomplete, after some seconds", fs, time.Since(begin))
		}
	})
}

// TestWhatIsHeldIsNamed: a person sees which files wait, those that have waited for longest first.
func TestWhatIsHeldIsNamed(t *testing.T) {
	c := config(t.TempDir())
	c.Patience, c.Overdue = time.Millisecond, time.Hour
	var whole atomic.Bool
	c.Complete = func(string) (bool, error) { return whole.Load(), nil }
	g := start(t, c, nil)
	held := func(want ...string) {
		t.Helper()
		for end := time.Now().Add(long); ; time.Sleep(time.Millisecond) {
			some, n := g.tree.Held(2)
			var names []string
			for _, h := range some {
				names = append(names, h.Path)
			}
			if n == len(want) && slices.Equal(names, want[:min(len(want), 2)]) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d are held, %v; want %v", n, names, want)
			}
		}
	}
	for i, name := range []string{"b", "a", "c"} {
		g.write(name, name)
		held([]string{"b", "a", "c"}[:i+1]...)
	}
	whole.Store(true)
	g.paths(t, "a", "b", "c")
	held()
}
