package localdir

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/desttest"
)

// held is a content that is read only once it is released, and tells when somebody wants to.
type held struct {
	data    []byte
	once    sync.Once
	wanted  chan struct{}
	release chan struct{}
}

func (h *held) ReadAt(b []byte, at int64) (int, error) {
	h.once.Do(func() { close(h.wanted) })
	<-h.release
	return bytes.NewReader(h.data).ReadAt(b, at)
}

// TestTwoProcesses have two files of one name for the same place: one of them gets it, and the other one never writes to it.
func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	mine, theirs := desttest.Bytes(1, 100_000), desttest.Bytes(2, 100_000)
	a, b := open(t, dir), open(t, dir)
	slow := &held{data: theirs, wanted: make(chan struct{}), release: make(chan struct{})}
	content := desttest.Content(theirs)
	content.ReaderAt = slow
	ended := make(chan error)
	go func() {
		_, err := b.Place(t.Context(), "x", content, nil)
		ended <- err
	}()
	<-slow.wanted // it has the part open
	ctx, cancel := context.WithTimeout(t.Context(), 10*lockPause)
	defer cancel()
	_, first := a.Place(ctx, "x", desttest.Content(mine), nil)
	if removed, err := a.Sweep(t.Context(), -time.Hour); err != nil || len(removed) > 0 {
		t.Errorf("removed %v, %v, which is under way", removed, err)
	}
	close(slow.release)
	second := <-ended
	got, err := os.ReadFile(filepath.Join(dir, "x"))
	switch {
	case err != nil || first == nil && !bytes.Equal(got, mine) || second == nil && !bytes.Equal(got, theirs):
		t.Errorf("a file that was told to be there has other bytes (%v, %v, %v)", err, first, second)
	case second != nil || !errors.Is(first, context.DeadlineExceeded):
		t.Errorf("got %v and %v, want the one who came later to wait", first, second)
	}
	if _, err := a.Place(t.Context(), "x", desttest.Content(mine), nil); !fault.Is(err, fault.Conflict) {
		t.Errorf("got %v, want a conflict", err)
	}
}

// TestWaitsForAnother has two processes bring the same file, and both find it there.
func TestWaitsForAnother(t *testing.T) {
	dir := t.TempDir()
	data := desttest.Bytes(1, 3<<20)
	var all sync.WaitGroup
	for range 8 {
		d := open(t, dir)
		all.Go(func() {
			if p, err := d.Place(t.Context(), "d/x", desttest.Content(data), nil); err != nil {
				t.Errorf("placed %+v, %v", p, err)
			}
		})
	}
	all.Wait()
	if got, err := os.ReadFile(filepath.Join(dir, "d/x")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("there are %d bytes, %v", len(got), err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "d/.*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestKilledBeforeUnlink: a part that is another file too, as a crash between link and unlink leaves it, is not written to.
func TestKilledBeforeUnlink(t *testing.T) {
	dir := t.TempDir()
	d, old, data := open(t, dir), desttest.Bytes(1, 1000), desttest.Bytes(2, 1000)
	moved := filepath.Join(dir, "moved since")
	err := os.WriteFile(moved, old, 0o644)
	if err == nil {
		err = os.Link(moved, filepath.Join(dir, connector.PartName("x")))
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Place(t.Context(), "x", desttest.Content(data), nil); err != nil {
		t.Error(err)
	}
	for name, want := range map[string][]byte{"moved since": old, "x": data} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d other bytes, %v", name, len(got), err)
		}
	}
}

// TestFoundIsDurable: what is there already is synced before it is told, with its name: who made it may have been killed before
// he did so.
func TestFoundIsDurable(t *testing.T) {
	dir, data := t.TempDir(), []byte("some bytes")
	if err := os.WriteFile(filepath.Join(dir, "x"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	d := open(t, dir)
	var synced []string
	d.fsync = func(f *os.File) error {
		info, err := f.Stat()
		if err == nil && info.IsDir() {
			synced = append(synced, "its directory")
		} else {
			synced = append(synced, filepath.Base(f.Name()))
		}
		return errors.Join(err, f.Sync())
	}
	if p, err := d.Place(t.Context(), "x", desttest.Content(data), nil); err != nil || !p.Already {
		t.Errorf("placed %+v, %v", p, err)
	}
	if want := []string{"x", "its directory"}; !slices.Equal(synced, want) {
		t.Errorf("synced %s, want %s", strings.Join(synced, ", "), strings.Join(want, ", "))
	}
}

// TestSweepKnowsWhatIsNew: a part that is whole has the time of its original, and is no older for that.
func TestSweepKnowsWhatIsNew(t *testing.T) {
	dir := t.TempDir()
	part := filepath.Join(dir, connector.PartName("x"))
	long := time.Now().AddDate(-1, 0, 0)
	err := os.WriteFile(part, []byte("x"), 0o644)
	if err == nil {
		err = os.Chtimes(part, long, long)
	}
	if err != nil {
		t.Fatal(err)
	}
	if removed, err := open(t, dir).Sweep(t.Context(), time.Hour); err != nil || len(removed) > 0 {
		t.Errorf("removed %v, %v", removed, err)
	}
}

// TestSweepLooksWhereItMust: an archive is gone through once, and then only where something was left.
func TestSweepLooksWhereItMust(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	put := func(name string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	sweep := func(older time.Duration, want ...string) {
		t.Helper()
		removed, err := d.Sweep(t.Context(), older)
		if slices.Sort(removed); err != nil || !slices.Equal(removed, want) {
			t.Errorf("removed %v, %v; want %v", removed, err, want)
		}
	}
	put("a/b/.former life.part")
	put(".root.part")
	sweep(time.Hour) // all are young
	put("elsewhere/.another's.part")
	sweep(-time.Hour, ".root.part", "a/b/.former life.part")
	ctx, cancel := context.WithCancel(t.Context())
	_, err := d.Place(ctx, "c/cut off", desttest.Content(desttest.Bytes(1, 3<<20)), func(int64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was cut off", err)
	}
	put("c/below/.another's.part")
	sweep(-time.Hour, connector.PartName("c/cut off"))
	sweep(-time.Hour)
}

// TestLinkInTheWay: a directory above a file that is a link out, or to nothing, is the matter of the files below it.
func TestLinkInTheWay(t *testing.T) {
	dir, away := t.TempDir(), t.TempDir()
	d := open(t, dir)
	for name, to := range map[string]string{"out": away, "nowhere": "nothing"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		_, err := d.Place(t.Context(), name+"/deep/x", desttest.Content([]byte("x")), nil)
		if !fault.Is(err, fault.Conflict) || fault.HintOf(err) == "" {
			t.Errorf("%s: got %v (hint %q), want a conflict", name, err, fault.HintOf(err))
		}
	}
	err := errors.Join(os.Mkdir(filepath.Join(dir, "2024"), 0o755), os.Symlink("2024", filepath.Join(dir, "within")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Place(t.Context(), "within/x", desttest.Content([]byte("x")), nil); err != nil {
		t.Errorf("below a link within: %v", err)
	}
}

// TestSomethingElseAtThePart: what stands at the name of a part and is no file is that file's own matter, and is not touched.
func TestSomethingElseAtThePart(t *testing.T) {
	data := desttest.Bytes(1, 1000)
	for name, stand := range map[string]func(path string) error{
		"link to a file":   func(path string) error { return os.Symlink("other", path) },
		"link to nothing":  func(path string) error { return os.Symlink("nothing", path) },
		"link out":         func(path string) error { return os.Symlink("/etc/passwd", path) },
		"link to itself":   func(path string) error { return os.Symlink(filepath.Base(path), path) },
		"directory":        func(path string) error { return os.Mkdir(path, 0o755) },
		"directory in use": func(path string) error { return os.MkdirAll(path+"/below", 0o755) },
		"pipe":             func(path string) error { return unix.Mkfifo(path, 0o644) },
		"socket":           func(path string) error { return unix.Mknod(path, unix.S_IFSOCK|0o644, 0) },
	} {
		dir := t.TempDir()
		d := open(t, dir)
		if _, err := d.Place(t.Context(), "other", desttest.Content(data), nil); err != nil {
			t.Fatal(err)
		}
		part := filepath.Join(dir, connector.PartName("x"))
		if err := stand(part); err != nil {
			t.Fatal(err)
		}
		_, err := d.Place(t.Context(), "x", desttest.Content(data), nil)
		if !fault.Is(err, fault.Conflict) || !strings.Contains(fault.HintOf(err), "remove it") {
			t.Errorf("%s: got %v (hint %q), want a conflict", name, err, fault.HintOf(err))
		}
		if err := os.WriteFile(filepath.Join(dir, "x"), data, 0o644); err != nil {
			t.Fatal(err)
		}
		if p, err := d.Place(t.Context(), "x", desttest.Content(data), nil); err != nil || !p.Already {
			t.Errorf("%s: of a file that is there: %+v, %v", name, p, err)
		}
		if names, err := os.ReadDir(dir); err != nil || len(names) != 3 {
			t.Errorf("%s: there are %v, %v", name, names, err)
		}
	}
}
