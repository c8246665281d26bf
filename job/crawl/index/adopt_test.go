package index

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/kernel/store/storetest"
)

// TestStoreIsNew: a store that is new where WARC files are, because theirs is gone, has their captures in its index too,
// wherever their lines lie; and keeps them.
func TestStoreIsNew(t *testing.T) {
	for _, published := range []bool{true, false} {
		r := newRig(t, 21)
		r.files(fanout+3, 2)
		r.add(3)
		r.commit() // is written to
		old := r.same()
		if !published {
			if err := os.Remove(filepath.Join(r.dir, File)); err != nil {
				t.Fatal(err)
			}
		}
		r.close()
		r.crash = storetest.NewCrashFS()
		r.open()
		if got, stats := r.write(); got != old || stats.Missing != 0 {
			t.Fatalf("%+v\n%s\nwant\n%s", stats, got, old)
		}
		r.files(2*fanout, 1)
		r.again()
		all, stats := r.write()
		if want, _ := r.rebuilt("*"); all != want || stats.Missing != 0 {
			t.Errorf("%+v, it has %d bytes, want %d", stats, len(all), len(want))
		}
		r.close()
		for _, path := range append(r.glob(below+"/*.run"), filepath.Join(r.dir, File)) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		r.open()
		if got, stats := r.write(); got != all || stats.Missing != 0 {
			t.Errorf("made again: %+v\n%s", stats, got)
		}
	}
}

// TestShared: crawls of other names that use a directory by turns keep each other's captures in the index.
func TestShared(t *testing.T) {
	one := newRig(t, 22)
	one.close()
	other := newRig(t, 23)
	other.close()
	one.name, other.name, other.dir = "one", "other", one.dir
	for range 3 {
		for _, r := range []*rig{one, other} {
			r.open()
			r.files(2, 2)
			for range 2 {
				got, stats := r.write()
				if want, _ := r.rebuilt("*"); got != want || stats.Missing != 0 || stats.Captures != int64(strings.Count(want, "\n")) {
					t.Errorf("%s: %+v, it has %d bytes, want %d", r.name, stats, len(got), len(want))
				}
			}
			r.close()
		}
	}
}
