package tree

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
)

func TestAFileThatItsWriterClosedIsGivenAtOnce(t *testing.T) {
	g := start(t, config(t.TempDir()), nil)
	g.write("a.fits", "abc")
	g.paths(t, "a.fits")
	got := g.of("a.fits")[0]
	if want := identity(t, g.dir, "a.fits"); got.Identity != want || got.Found != ByWatch {
		t.Errorf("got %+v, want %+v found by watch", got, want)
	}
}

func TestAFileThatIsStillOpenIsNotGiven(t *testing.T) {
	g := start(t, config(t.TempDir()), nil)
	f, err := os.Create(g.path("a"))
	check(t, err)
	_, err = f.WriteString("ab")
	check(t, err)
	g.write("b", "behind it in the queue")
	g.paths(t, "b")
	if fs := g.of("a"); fs != nil {
		t.Errorf("given while it was open: %v", fs)
	}
	check(t, f.Close())
	g.paths(t, "a")
}

func TestAFileThatIsMovedInIsGivenAtOnce(t *testing.T) {
	g := start(t, config(t.TempDir()), nil)
	outside := filepath.Join(t.TempDir(), "x")
	write(t, outside, "abc")
	check(t, os.Chtimes(outside, time.Time{}, time.Now().AddDate(-3, 0, 0)))
	check(t, os.Rename(outside, g.path("moved.fits")))
	g.write("a.fits.tmp", "abcd")
	g.rename("a.fits.tmp", "a.fits")
	g.paths(t, "moved.fits", "a.fits")
	if n := len(g.got()); n != 2 {
		t.Errorf("%d files were given, want 2: %v", n, g.got())
	}
}

// What nobody closes here, a link, is given after patience, without a scan.
func TestALinkWaitsForPatience(t *testing.T) {
	c := config(t.TempDir())
	c.Patience = 100 * time.Millisecond
	g := start(t, c, nil)
	outside := filepath.Join(filepath.Dir(g.dir), "outside")
	write(t, outside, "abc")
	check(t, os.Link(outside, g.path("a")))
	began := time.Now()
	g.paths(t, "a")
	if took := time.Since(began); took < c.Patience {
		t.Errorf("given after %v, want at least %v", took, c.Patience)
	}
}

// A writer that never closes is given when it is quiet, and again when it wrote on.
func TestAFileThatStaysOpenIsGivenWhenItIsQuiet(t *testing.T) {
	c := config(t.TempDir())
	c.Patience = 50 * time.Millisecond
	g := start(t, c, nil)
	f, err := os.Create(g.path("a"))
	check(t, err)
	defer f.Close()
	for _, text := range []string{"one", "two"} {
		_, err = f.WriteString(text)
		check(t, err)
		want := identity(t, g.dir, "a")
		g.until(t, "file as it is now", func(fs []File) bool { return fs != nil && fs[len(fs)-1].Identity == want })
	}
}

func TestAFileThatIsReplacedIsGivenAgain(t *testing.T) {
	g := start(t, config(t.TempDir()), nil)
	g.write("a", "abc")
	g.paths(t, "a")
	g.write(".a", "abc")
	check(t, os.Chtimes(g.path(".a"), time.Time{}, g.of("a")[0].ModTime()))
	g.rename(".a", "a")
	g.until(t, "second a", func(fs []File) bool { return len(fs) == 2 })
	if fs := g.of("a"); fs[0].Inode == fs[1].Inode {
		t.Errorf("one inode was given twice: %v", fs)
	}
}

func TestTheSameFileIsNotGivenTwice(t *testing.T) {
	c := config(t.TempDir())
	g := start(t, c, nil)
	g.write("a", "abc")
	g.paths(t, "a")
	f, err := os.OpenFile(g.path("a"), os.O_WRONLY, 0)
	check(t, err)
	check(t, f.Close())
	g.write("b", "behind it")
	g.paths(t, "b")
	if fs := g.of("a"); len(fs) != 1 {
		t.Errorf("given %d times: %v", len(fs), fs)
	}
}

// Its receiver may have found it missing in between.
func TestAFileThatIsMovedAwayAndBackIsGivenAgain(t *testing.T) {
	c := config(t.TempDir())
	c.Patience = 20 * time.Millisecond
	g := start(t, c, nil)
	outside := filepath.Join(t.TempDir(), "outside")
	g.write("a", "abc")
	g.paths(t, "a")
	check(t, os.Rename(g.path("a"), outside))
	check(t, os.Rename(outside, g.path("a")))
	check(t, os.Chmod(g.path("a"), 0o600)) // what comes behind the move takes nothing from it
	g.until(t, "second a", func(fs []File) bool { return len(fs) == 2 })
	if fs := g.got(); fs[0].Identity != fs[1].Identity {
		t.Errorf("got %v, want one file twice", fs)
	}
}

func TestADirectoryThatIsMovedAwayAndBackIsGivenAgain(t *testing.T) {
	c := config(t.TempDir())
	c.Patience = 20 * time.Millisecond
	g := start(t, c, nil)
	outside := filepath.Join(t.TempDir(), "outside")
	g.mkdir("night/deep")
	g.write("night/deep/a", "abc")
	g.paths(t, "night/deep/a")
	check(t, os.Rename(g.path("night"), outside))
	g.waits("the root alone", func(s Status) bool { return s.Directories == 1 })
	check(t, os.Rename(outside, g.path("night")))
	g.until(t, "second night/deep/a", func(fs []File) bool { return len(fs) == 2 })
}

// tar sets the time of a file behind the close.
func TestATimeThatIsSetBehindTheCloseMakesAnotherFile(t *testing.T) {
	c := config(t.TempDir())
	c.Patience = 20 * time.Millisecond
	g := start(t, c, nil)
	g.write("a", "abc")
	g.paths(t, "a")
	check(t, os.Chtimes(g.path("a"), time.Unix(1e9, 0), time.Unix(1e9, 0))) // both, else it is told as a write
	g.until(t, "file with its time", func(fs []File) bool {
		return fs[len(fs)-1].ModTime().Equal(time.Unix(1e9, 0))
	})
}

func TestNewDirectoriesAreWatchedAndScanned(t *testing.T) {
	c := config(t.TempDir())
	c.Patience = 20 * time.Millisecond // for what was closed before the watch
	g := start(t, c, nil)
	for i := range 20 {
		at := "n" + strings.Repeat("/d", i)
		g.mkdir(at)
		g.write(at+"/a", "abc")
		g.paths(t, at+"/a")
	}
	g.waits("21 directories", func(s Status) bool { return s.Directories == 21 })
}

func TestADirectoryThatIsMovedInIsGivenWithAllThatIsInIt(t *testing.T) {
	c := config(t.TempDir())
	c.Within, c.Patience = time.Hour, 20*time.Millisecond
	outside := filepath.Join(t.TempDir(), "night")
	check(t, os.MkdirAll(outside+"/deep", 0o755))
	for _, name := range []string{"/a", "/deep/b"} {
		write(t, outside+name, "abc")
		old(t, outside+name)
	}
	passes()
	g := start(t, c, func(o *own) { o.slack = 0 })
	check(t, os.Rename(outside, g.path("night")))
	g.paths(t, "night/a", "night/deep/b")
}

func TestARenamedDirectoryIsWatchedUnderItsNewName(t *testing.T) {
	c := config(t.TempDir())
	c.Patience = 20 * time.Millisecond
	g := start(t, c, nil)
	g.mkdir("a/b")
	g.write("a/b/1", "abc")
	g.paths(t, "a/b/1")
	g.rename("a", "c")
	g.paths(t, "c/b/1")
	g.write("c/b/2", "abc")
	g.mkdir("a")
	g.write("a/3", "abc")
	g.paths(t, "c/b/2", "a/3")
	g.waits("4 directories", func(s Status) bool { return s.Directories == 4 })
	check(t, os.RemoveAll(g.path("c")))
	g.waits("2 directories", func(s Status) bool { return s.Directories == 2 })
	g.rename("a", ".hidden")
	g.waits("the root alone", func(s Status) bool { return s.Directories == 1 })
}

func TestADirectoryThatMovesOutIsNotHeardOf(t *testing.T) {
	c := config(t.TempDir())
	g := start(t, c, nil)
	g.mkdir("a")
	g.waits("2 directories", func(s Status) bool { return s.Directories == 2 })
	outside := filepath.Join(t.TempDir(), "a")
	check(t, os.Rename(g.path("a"), outside))
	g.mkdir("b")
	write(t, outside+"/x", "abc")
	g.write("y", "behind it")
	g.paths(t, "y")
	if len(g.got()) != 1 {
		t.Errorf("got %v, want y alone", g.got())
	}
}

func TestNamesMayBeAnyBytes(t *testing.T) {
	c := config(t.TempDir())
	c.Patterns = []string{"*.fits"}
	g := start(t, c, nil)
	names := []string{"a b.fits", "new\nline.fits", "\xff\xfe.fits", "-rf.fits", "$(touch x).fits", "ü.fits",
		"\t.fits", strings.Repeat("x", 250) + ".fits"}
	for _, n := range names {
		g.write(n, n)
	}
	g.paths(t, names...)
}

func TestOnlyRegularFilesAndNoLinksAreGiven(t *testing.T) {
	c := config(t.TempDir())
	c.Patience = 10 * time.Millisecond
	outside := t.TempDir()
	write(t, outside+"/x", "abc")
	write(t, c.Root+"/real", "abc")
	put := func(n string) {
		check(t, os.Symlink(outside, c.Root+"/dir"+n))
		check(t, os.Symlink(outside+"/x", c.Root+"/out"+n))
		check(t, os.Symlink("real", c.Root+"/in"+n))
		check(t, unix.Mkfifo(c.Root+"/fifo"+n, 0o600))
	}
	put("1")
	g := start(t, c, nil)
	put("2")
	write(t, outside+"/y", "abc")
	g.write("last", "abc")
	g.paths(t, "real", "last")
	g.waits("empty table", func(s Status) bool { return s.Waiting == 0 })
	if fs := g.got(); len(fs) != 2 {
		t.Errorf("got %v, want real and last", fs)
	}
}

// Between the event and the look a directory becomes a symbolic link out of the tree.
func TestALinkThatIsPutInTheWayLeadsNowhere(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write(t, outside+"/x", "abc")
	check(t, os.Symlink(outside, dir+"/d"))
	r, err := lookRoot(dir)
	check(t, err)
	d := lookout{dir: dir, root: r}
	defer d.close()
	if _, err := d.stat("d/x"); err == nil || !vanished(err) {
		t.Errorf("looked through a symbolic link: %v", err)
	}
}

func TestTheRootMayBeALink(t *testing.T) {
	there := t.TempDir()
	dir := filepath.Join(t.TempDir(), "link")
	check(t, os.Symlink(there, dir))
	g := start(t, config(dir), nil)
	write(t, there+"/a", "abc")
	g.paths(t, "a")
}

func TestTemporaryNamesAreIgnored(t *testing.T) {
	c := config(t.TempDir())
	c.Patience = 10 * time.Millisecond
	g := start(t, c, nil)
	for _, n := range []string{".hidden", ".a.fits.Xy12Zq", "a.tmp", "a.part", "a~", ".a.part"} {
		g.write(n, n)
	}
	g.mkdir(".snapshot")
	g.write(".snapshot/a", "abc")
	g.write("a", "last")
	g.paths(t, "a")
	g.waits("empty table", func(s Status) bool { return s.Waiting == 0 })
	if fs := g.got(); len(fs) != 1 {
		t.Errorf("got %v, want a alone", fs)
	}
}

func TestALimitOfWatchesMeansPolling(t *testing.T) {
	c := config(t.TempDir())
	c.Patience, c.PollEvery = 10*time.Millisecond, 10*time.Millisecond
	check(t, os.Mkdir(c.Root+"/a", 0o755))
	check(t, os.Mkdir(c.Root+"/b", 0o755))
	n := 0
	var lifted atomic.Bool
	g := begin(t, c, func(o *own) {
		o.watch = 50 * time.Millisecond
		o.add = func(fd int, path string, mask uint32) (int, error) {
			if n++; n%3 == 0 && !lifted.Load() {
				return -1, unix.ENOSPC
			}
			return unix.InotifyAddWatch(fd, path, mask)
		}
	})
	g.waits("polling", func(s Status) bool {
		return s.Mode == Polling && strings.Contains(fault.HintOf(s.Cause), "fs.inotify.max_user_watches")
	})
	g.write("a/x", "abc")
	g.write("b/x", "abc")
	g.paths(t, "a/x", "b/x")
	lifted.Store(true)
	g.waits("watching", func(s Status) bool {
		return s.Mode == Watching && s.Cause == nil && s.Directories == 3
	})
	if fs := g.got(); len(fs) != 2 {
		t.Errorf("got %v, want each file once", fs)
	}
}
