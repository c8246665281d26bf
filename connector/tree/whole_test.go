package tree

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/tests/testenv"
)

// burst is how many files come at once.
func burst() int {
	if os.Getenv("HOLDFAST_TORTURE") != "" {
		return 50_000
	}
	return 6_000 // three events each: more than the kernel's queue holds
}

// dirs is how many directories a storm finds.
const dirs = 17

// storm writes a burst below dir while directories come, are renamed and go, and returns what stands at the
// end.
func storm(t *testing.T, dir string) (want map[string]Identity) {
	t.Helper()
	n := burst()
	for i := range n {
		d := fmt.Sprintf("%s/%d", dir, i%dirs)
		switch {
		case i%501 == 0:
			check(t, os.Rename(d, d+"-was-"+fmt.Sprint(i)))
			check(t, os.Mkdir(d, 0o755))
		case i%1009 == 0:
			check(t, os.RemoveAll(d))
			check(t, os.MkdirAll(d+"/deep/er", 0o755))
			write(t, d+"/deep/er/x", "abc")
		}
		name := fmt.Sprintf("%s/f%d", d, i)
		if i%2 == 0 {
			write(t, name, fmt.Sprint(i))
		} else { // in the root, for the new directories are not watched while the reader stands still
			name = fmt.Sprintf("%s/f%d", dir, i)
			write(t, name+".tmp", fmt.Sprint(i))
			check(t, os.Rename(name+".tmp", name))
		}
	}
	return standing(t, dir)
}

// standing are the files of a tree that are to be found.
func standing(t testing.TB, dir string) map[string]Identity {
	t.Helper()
	want := map[string]Identity{}
	p := newPicker(nil, defaultIgnore)
	check(t, filepath.WalkDir(dir, func(at string, e os.DirEntry, err error) error {
		if err != nil || at == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, at)
		switch {
		case e.IsDir() && p.ignored(rel):
			return filepath.SkipDir
		case e.Type().IsRegular() && p.wanted(rel):
			want[rel] = identity(t, dir, rel)
		}
		return nil
	}))
	return want
}

// all waits until each file was given as it stands, and reports how often files were given twice.
func (g *rig) all(want map[string]Identity) (twice int) {
	g.t.Helper()
	seen, at := map[Identity]int{}, 0
	missing := len(want)
	g.until(g.t, fmt.Sprintf("%d files that stand", len(want)), func(fs []File) bool {
		for ; at < len(fs); at++ {
			id := fs[at].Identity
			seen[id]++
			if seen[id] == 1 && want[id.Path] == id {
				missing--
			}
			if seen[id] > 1 {
				twice++
			}
		}
		return missing == 0
	})
	return twice
}

func stormy(t *testing.T) Config {
	c := config(t.TempDir())
	c.Patience = 50 * time.Millisecond
	for i := range dirs {
		check(t, os.Mkdir(fmt.Sprintf("%s/%d", c.Root, i), 0o755))
	}
	return c
}

func TestABurstWithAStalledReceiverIsGivenWhole(t *testing.T) {
	g := start(t, stormy(t), nil)
	open := g.block()
	want := storm(t, g.dir)
	open()
	twice := g.all(want)
	if twice > 0 {
		t.Errorf("%d files were given twice", twice)
	}
	t.Logf("%d files stand; %+v", len(want), g.tree.Status())
}

func TestABurstThatOurQueueDoesNotHoldIsFoundByAScan(t *testing.T) {
	g := start(t, stormy(t), func(o *own) { o.limit = 500 })
	open := g.block()
	want := storm(t, g.dir)
	g.waits("overflow", func(s Status) bool { return s.Overflows > 0 })
	wantHint(t, g.tree.Status().Overflow, "slower")
	open()
	g.all(want)
	t.Logf("%d files stand; %+v", len(want), g.tree.Status())
}

func TestABurstThatTheKernelsQueueDoesNotHoldIsFoundByAScan(t *testing.T) {
	var closed atomic.Bool
	open := make(chan struct{})
	g := start(t, stormy(t), func(o *own) {
		o.heard = func(b []byte) []byte {
			if closed.Load() {
				<-open
			}
			return b
		}
	})
	closed.Store(true)
	want := storm(t, g.dir)
	closed.Store(false)
	close(open)
	g.all(want)
	s := g.tree.Status()
	if s.Overflows == 0 || s.ByScan == 0 {
		t.Errorf("the queue did not run over: %+v", s)
	}
	wantHint(t, s.Overflow, "fs.inotify.max_queued_events")
	if s.Missed != 0 || s.Remade != 0 {
		t.Errorf("a watch whose queue ran over is no deaf one: %+v", s)
	}
	// The watch is whole again.
	g.mkdir("later")
	g.write("later/x", "abc")
	g.paths(t, "later/x")
	t.Logf("%d files stand; %+v", len(want), s)
}

func TestADeafWatchIsNoticedAndMadeAnew(t *testing.T) {
	var deaf atomic.Bool
	c := config(t.TempDir())
	c.Patience, c.CheckEvery = 20*time.Millisecond, 100*time.Millisecond
	g := start(t, c, func(o *own) {
		o.margin = 30 * time.Millisecond
		o.heard = func(b []byte) []byte {
			if deaf.Load() {
				return nil
			}
			return b
		}
	})
	g.write("heard", "abc")
	g.paths(t, "heard")
	g.waits("two checks", func(s Status) bool { return s.Last.Kind == Check })
	if s := g.tree.Status(); s.Missed != 0 || s.Remade != 0 {
		t.Errorf("a sound watch missed something: %+v", s)
	}
	time.Sleep(2 * g.tree.own.margin) // files that are as old as the watch say nothing of it
	deaf.Store(true)
	g.mkdir("d")
	n := 0
	g.waits("a watch made anew", func(s Status) bool {
		n++
		g.write(fmt.Sprintf("d/%d", n), "abc")
		return s.Remade > 0
	})
	deaf.Store(false)
	if twice := g.all(standing(t, g.dir)); twice > 0 {
		t.Errorf("%d files were given twice", twice)
	}
	g.waits("count of what was missed", func(s Status) bool { return s.Missed > 0 })
	if fs := g.of("d/1"); fs[0].Found == ByWatch {
		t.Errorf("d/1 was given as %v, want by a scan", fs)
	}
}

func TestABackfillGivesWhatTheWatchDidNot(t *testing.T) {
	var deaf atomic.Bool
	c := config(t.TempDir())
	c.Patience, c.ScanEvery = 20*time.Millisecond, 50*time.Millisecond
	c.Within, c.Recency = time.Hour, time.Minute
	g := start(t, c, func(o *own) {
		o.heard = func(b []byte) []byte {
			if deaf.Load() {
				return nil
			}
			return b
		}
	})
	deaf.Store(true)
	for name, age := range map[string]time.Duration{"young": 0, "right": 10 * time.Minute,
		"old": 2 * time.Hour} {
		g.write(name, "abc")
		check(t, os.Chtimes(g.path(name), time.Time{}, time.Now().Add(-age)))
	}
	g.paths(t, "right")
	if fs := g.got(); len(fs) != 1 || fs[0].Found != Backfill || fs[0].Found.Live() {
		t.Errorf("got %v, want right by a backfill", fs)
	}
}

func TestARootThatIsReplacedIsAnOutageThatHeals(t *testing.T) {
	for name, lose := range map[string]func(g *rig){
		"removed": func(g *rig) { check(g.t, os.RemoveAll(g.dir)) },
		"moved":   func(g *rig) { check(g.t, os.Rename(g.dir, g.dir+".away")) },
		"above":   func(g *rig) { check(g.t, os.Rename(filepath.Dir(g.dir), filepath.Dir(g.dir)+".away")) },
	} {
		t.Run(name, func(t *testing.T) {
			c := config(t.TempDir() + "/above/root")
			c.Patience = 20 * time.Millisecond
			check(t, os.MkdirAll(c.Root, 0o755))
			g := start(t, c, nil)
			g.write("a", "abc")
			g.paths(t, "a")
			lose(g)
			g.waits("outage", func(s Status) bool { return s.Mode == Down && s.Cause != nil && s.Directories == 0 })
			check(t, os.MkdirAll(g.path("d"), 0o755))
			g.write("d/b", "abc")
			g.waits("healing", func(s Status) bool { return s.Mode == Watching && s.Cause == nil })
			g.paths(t, "d/b")
			g.write("d/c", "abc")
			g.paths(t, "d/c")
		})
	}
}

// What waits for its turn while the root is away is not gone.
func TestFilesOfARootThatIsAwayAreNotForgotten(t *testing.T) {
	c := config(t.TempDir() + "/root")
	c.Within, c.Patience = time.Hour, 20*time.Millisecond
	check(t, os.Mkdir(c.Root, 0o755))
	g := start(t, c, func(o *own) { o.batch = 10 })
	open := g.block()
	g.write("first", "abc")
	for i := range 50 {
		g.write(fmt.Sprintf(".%d", i), "abc")
		old(t, g.path(fmt.Sprintf(".%d", i)))
		g.rename(fmt.Sprintf(".%d", i), fmt.Sprint(i))
	}
	g.waits("50 files", func(s Status) bool { return s.Waiting >= 50 })
	want := standing(t, g.dir)
	check(t, os.Rename(g.dir, g.dir+".away"))
	open()
	g.waits("outage", func(s Status) bool { return s.Mode == Down })
	check(t, os.Rename(g.dir+".away", g.dir))
	g.all(want)
}

func TestAnUnmountedRootIsAnOutage(t *testing.T) {
	dir := testenv.SmallDisk(t, 1<<20)
	g := start(t, config(dir), nil)
	g.write("a", "abc")
	g.paths(t, "a")
	check(t, unix.Unmount(dir, 0)) // nothing of ours keeps it busy
	g.waits("outage", func(s Status) bool { return s.Mode == Down })
	g.waits("a cause", func(s Status) bool {
		return s.Cause != nil && strings.Contains(s.Cause.Error(), "nothing is mounted")
	})
	write(t, dir+"/below", "abc")
	check(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"))
	g.waits("healing", func(s Status) bool { return s.Mode == Watching })
	g.write("b", "abc")
	g.paths(t, "b")
	if g.of("below") != nil {
		t.Error("a file of the directory below the mount was given")
	}
}

func TestAFileSystemThatIsMountedOverTheRootIsNoticed(t *testing.T) {
	base := testenv.SmallDisk(t, 1<<20) // its unmounting, lazy, takes what is in it along
	dir := base + "/root"
	check(t, os.Mkdir(dir, 0o755))
	g := start(t, config(dir), nil)
	check(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"))
	g.waits("the new root", func(s Status) bool {
		return s.Mode == Watching && s.Cause == nil && s.Last.Kind == CatchUp
	})
	g.write("a", "abc")
	g.paths(t, "a")
}

func TestADirectoryOnASilentFileSystemMeansPolling(t *testing.T) {
	dir := t.TempDir()
	sub := testenv.SmallDisk(t, 1<<20)
	c := config(dir)
	c.Patience, c.PollEvery = 10*time.Millisecond, 10*time.Millisecond
	check(t, os.Mkdir(dir+"/nfs", 0o755))
	check(t, unix.Mount(sub, dir+"/nfs", "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount(dir+"/nfs", unix.MNT_DETACH) })
	g := begin(t, c, func(o *own) {
		o.silent = func(kind int64) string {
			if kind == unix.TMPFS_MAGIC {
				return "NFS"
			}
			return ""
		}
	})
	g.waits("polling", func(s Status) bool { return s.Mode == Polling })
	wantHint(t, g.tree.Status().Cause, "local disk")
	g.write("nfs/a", "abc")
	g.paths(t, "nfs/a")
}

func TestADirectoryThatCanNotBeReadIsToldAndTriedAgain(t *testing.T) {
	for name, retry := range map[string]time.Duration{"told by an event": time.Hour,
		"by itself": 10 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			var refused atomic.Bool
			refused.Store(true)
			c := config(t.TempDir())
			c.Patience = 10 * time.Millisecond
			check(t, os.Mkdir(c.Root+"/d", 0o755))
			write(t, c.Root+"/d/a", "abc")
			write(t, c.Root+"/b", "abc")
			g := start(t, c, func(o *own) {
				o.retry = retry
				o.refuse = func(at string) error {
					if at == "d" && refused.Load() {
						return unix.EACCES
					}
					return nil
				}
			})
			g.paths(t, "b")
			g.waits("trouble", func(s Status) bool { return s.Unreadable != nil })
			wantHint(t, g.tree.Status().Unreadable, "permission")
			refused.Store(false)
			if retry == time.Hour {
				check(t, os.Chmod(g.path("d"), 0o750))
			}
			g.paths(t, "d/a")
			g.waits("no trouble", func(s Status) bool { return s.Unreadable == nil })
		})
	}
}

// Another directory is moved to the root's place, and what is in it did not change for long.
func TestAnotherRootIsScannedWhole(t *testing.T) {
	c := config(t.TempDir() + "/root")
	c.Patience = 10 * time.Millisecond
	check(t, os.Mkdir(c.Root, 0o755))
	other := c.Root + ".other"
	check(t, os.Mkdir(other, 0o755))
	write(t, other+"/a", "abc")
	passes()
	g := start(t, c, func(o *own) { o.slack = 0 })
	check(t, os.Rename(c.Root, c.Root+".away"))
	check(t, os.Rename(other, c.Root))
	g.paths(t, "a")
}

// lossy starts a tree whose kernel loses events when it is told to, and says so with the next.
func lossy(t *testing.T, c Config) (g *rig, lose func(do func())) {
	var loses, lost atomic.Bool
	g = start(t, c, func(o *own) {
		o.after, o.slack = time.Millisecond, 0
		o.heard = func(b []byte) []byte {
			switch {
			case loses.Load():
				lost.Store(true)
				return nil
			case lost.CompareAndSwap(true, false):
				return append(encode(event{wd: -1, mask: unix.IN_Q_OVERFLOW}, 0), b...)
			}
			return b
		}
	})
	return g, func(do func()) {
		loses.Store(true)
		do()
		for !lost.Load() {
			time.Sleep(time.Millisecond)
		}
		loses.Store(false)
	}
}

func TestADirectoryThatWasRenamedUnheardIsWatchedUnderItsNewName(t *testing.T) {
	c := config(t.TempDir())
	g, lose := lossy(t, c)
	g.mkdir("a/deep")
	g.waits("3 directories", func(s Status) bool { return s.Directories == 3 })
	lose(func() { g.rename("a", "b") })
	g.write("now", "abc")
	g.waits("catch-up", func(s Status) bool { return s.Last.Kind == CatchUp && s.Directories == 3 })
	g.write("b/x", "abc")
	g.write("b/deep/x", "abc")
	g.paths(t, "b/x", "b/deep/x")
	lose(func() {
		g.rename("b/deep", ".c")
		g.rename("b", ".c/b")
	})
	g.write("now", "abcd")
	g.waits("the root alone", func(s Status) bool { return s.Directories == 1 })
}

func TestADirectoryThatCameUnheardIsGivenWhole(t *testing.T) {
	c := config(t.TempDir())
	c.Within, c.Patience = time.Hour, 10*time.Millisecond
	c.Since = time.Now().Add(time.Hour) // what is old is in no window
	outside := filepath.Join(filepath.Dir(c.Root), "night")
	check(t, os.Mkdir(outside, 0o755))
	write(t, outside+"/a", "abc")
	old(t, outside+"/a")
	passes()
	g, lose := lossy(t, c)
	lose(func() { g.rename("../night", "night") })
	g.write("now", "abc")
	g.paths(t, "night/a")
}

// A file of a root that is away is kept, for nobody knows whether it is gone.
func TestALookAtARootThatIsAwaySaysNothing(t *testing.T) {
	dir := t.TempDir() + "/root"
	check(t, os.Mkdir(dir, 0o755))
	write(t, dir+"/a", "abc")
	tr := mustNew(t, config(dir))
	r, err := lookRoot(dir)
	check(t, err)
	files := newTable(10, time.Hour)
	gv := &giver{t: tr, files: files, seen: tr.seen}
	for _, away := range []func(){
		func() { check(t, os.Rename(dir, dir+".away")) },
		func() { check(t, os.Mkdir(dir, 0o755)) },
	} {
		files.touch("a", wasClosed)
		es, _, _ := files.take(10)
		away()
		if f, is := gv.judge(&lookout{dir: dir, root: r}, es[0]); is || files.size() != 2 {
			t.Errorf("a root that is away gives %v, and leaves %d entries, want 1", f, files.size()-1)
		}
		files = newTable(10, time.Hour)
		gv.files = files
	}
}

// What events say of a file while it is looked at counts.
func TestAnEventDuringALookCounts(t *testing.T) {
	files := newTable(10, time.Hour)
	files.touch("a", wasTouched)
	files.due[0].due = time.Now()
	es, _, _ := files.take(10)
	if len(es) != 1 {
		t.Fatalf("took %d entries, want 1", len(es))
	}
	files.touch("a", wasClosed)
	es[0].due = time.Now().Add(time.Hour)
	files.back(es[0])
	es, wait, _ := files.take(10)
	if len(es) != 1 || !es[0].closed || wait != -1 {
		t.Errorf("took %d entries, the next in %v; want the closed file alone", len(es), wait)
	}
}
