package forensic_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/kernel/store/forensic"
)

const mendPlace = "deep/quarantine/now"

// flipped copies an image into a file system that remembers what was synced, with a flipped bit in two
// tables that are in use and an OPTIONS file that is no text. It returns the files as they are, by path.
func flipped(t *testing.T) (fs *vfs.MemFS, was map[string][]byte) {
	t.Helper()
	var img image
	var live []string
	for _, img = range images(t) {
		live = nil
		r := inspect(t, img.fs)
		for _, table := range r.Manifest.Tables {
			live = append(live, fmt.Sprintf("%06d.sst", table.File))
		}
		if len(live) >= 2 {
			break
		}
	}
	fs = vfs.NewCrashableMem()
	must(t, fs.MkdirAll(dbDir, 0o755))
	names, err := img.fs.List(dbDir)
	must(t, err)
	was = map[string][]byte{}
	options := false
	for _, name := range names {
		path := fs.PathJoin(dbDir, name)
		data := slices.Clone(read(t, img.fs, path))
		switch {
		case slices.Contains(live[:2], name):
			data[len(data)/2] ^= 4
		case strings.HasPrefix(name, "OPTIONS-") && !options:
			data, options = []byte("[Version]\n  pebble_version=x\n[no"), true
		}
		write(t, fs, path, data)
		was[path] = data
	}
	for _, dir := range []string{dbDir, "/"} {
		d, err := fs.OpenDir(dir)
		must(t, err)
		must(t, errors.Join(d.Sync(), d.Close()))
	}
	return fs, was
}

// TestMendFailsWhole lets each step of a mend fail in turn: then every file is as it was, and nothing
// is left of what was begun.
func TestMendFailsWhole(t *testing.T) {
	for at := 1; ; at++ {
		fs, was := flipped(t)
		found := verdict(t, fs)
		n := 0
		faulty := errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				if n++; n == at {
					return errors.New("the disk fails once")
				}
			}
			return nil
		}))
		mended, err := forensic.Mend(faulty, dbDir, found, mendPlace)
		if n < at {
			must(t, err)
			if len(mended) != 3 {
				t.Fatalf("mended %v, not two tables and the options; found %v", mended, found)
			}
			t.Logf("%d steps, mended %v", n, mended)
			return
		}
		if err == nil || len(mended) > 0 {
			t.Fatalf("step %d fails: mended %v, %v", at, mended, err)
		}
		for path, want := range was {
			if got := read(t, fs, path); !slices.Equal(got, want) {
				t.Errorf("step %d fails: %s is not as it was", at, path)
			}
		}
		if left, err := fs.List(mendPlace); err == nil && len(left) > 0 {
			t.Errorf("step %d fails: %v are left in the quarantine", at, left)
		}
	}
}

// TestMendKeepsOriginals cuts the power right behind a mend: the originals are in the quarantine.
func TestMendKeepsOriginals(t *testing.T) {
	fs, was := flipped(t)
	mended, err := forensic.Mend(fs, dbDir, verdict(t, fs), mendPlace)
	must(t, err)
	if len(mended) != 3 {
		t.Fatalf("mended %v", mended)
	}
	cut := fs.CrashClone(vfs.CrashCloneCfg{})
	for _, name := range mended {
		original := fs.PathJoin(mendPlace, name)
		if _, err := cut.Stat(original); err != nil {
			t.Errorf("after a power cut: %v", err)
		} else if !slices.Equal(read(t, cut, original), was[fs.PathJoin(dbDir, name)]) {
			t.Errorf("%s is not the original", original)
		}
	}
	if again := verdict(t, cut); !forensic.Sound(again) {
		t.Error(fmt.Sprint("after a power cut: ", again))
	}
}
