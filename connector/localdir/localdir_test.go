package localdir

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/desttest"
	"holdfast/tests/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, testenv.ProcessLeaks()...) }

// target is a directory, whose names are those of the file system.
func target(t *testing.T, dir string) *desttest.Target {
	return &desttest.Target{
		New: func() (connector.Destination, error) { return New(Config{Path: dir}) },
		Files: func() (map[string][]byte, error) {
			all := map[string][]byte{}
			err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
				if err != nil || !e.Type().IsRegular() {
					return err
				}
				data, err := os.ReadFile(path)
				all[strings.TrimPrefix(path, dir+"/")] = data
				return err
			})
			return all, err
		},
		Put: func(name string, data []byte) error {
			path := dir + "/" + name
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			return os.WriteFile(path, data, 0o644)
		},
		Absolute: func(name string) string { return dir + "/" + name },
	}
}

func TestContract(t *testing.T) {
	desttest.Run(t, func(t *testing.T) *desttest.Target { return target(t, t.TempDir()) })
}

func open(t *testing.T, dir string) *Directory {
	t.Helper()
	d, err := New(Config{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestFullDisk: what there is no room for is told as that, and goes on when there is some.
func TestFullDisk(t *testing.T) {
	dir := testenv.SmallDisk(t, 4<<20)
	d, data, fill := open(t, dir), desttest.Bytes(1, 2<<20), filepath.Join(dir, "fill")
	testenv.Fill(t, fill)
	if err := d.Probe(t.Context()); !fault.Is(err, fault.Full) {
		t.Errorf("probe: got %v, want that there is no room", err)
	}
	if _, err := d.Place(t.Context(), "x", desttest.Content(data), nil); !fault.Is(err, fault.Full) {
		t.Errorf("place: got %v, want that there is no room", err)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	if p, err := d.Place(t.Context(), "x", desttest.Content(data), nil); err != nil || p.Already {
		t.Errorf("placed %+v, %v", p, err)
	}
}

// TestNoRoot: a disk that is not mounted is an outage, and not a place for files.
func TestNoRoot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "archive")
	d := open(t, dir)
	_, err := d.Place(t.Context(), "x", desttest.Content(nil), nil)
	for what, err := range map[string]error{"place": err, "probe": d.Probe(t.Context())} {
		if !fault.Is(err, fault.Transient) || !strings.Contains(fault.HintOf(err), "mount") {
			t.Errorf("%s: got %v (%s), want an outage, and to mount the disk", what, err, fault.HintOf(err))
		}
	}
	if _, err := os.Lstat(dir); err == nil {
		t.Error("the root was made")
	}
}

// TestNothingLeadsAway: neither links nor things that are no files are written through.
func TestNothingLeadsAway(t *testing.T) {
	dir, away := t.TempDir(), t.TempDir()
	d := open(t, dir)
	for name, make := range map[string]func(path string) error{
		"link":     func(path string) error { return os.Symlink(filepath.Join(away, "x"), path) },
		"dir/file": func(path string) error { return os.Symlink(away, filepath.Dir(path)) },
		"pipe":     func(path string) error { return unix.Mkfifo(path, 0o600) },
		"is a dir": func(path string) error { return os.Mkdir(path, 0o755) },
	} {
		if err := make(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Place(t.Context(), name, desttest.Content([]byte("x")), nil); err == nil {
			t.Errorf("%s: was written to", name)
		}
	}
	if err := os.Symlink(filepath.Join(away, "y"), filepath.Join(dir, connector.PartName("y"))); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Place(t.Context(), "y", desttest.Content([]byte("x")), nil); err == nil {
		t.Error("y was written through a link")
	}
	if all, err := os.ReadDir(away); err != nil || len(all) > 0 {
		t.Errorf("away: %v, %v", all, err)
	}
}
