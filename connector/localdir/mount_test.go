package localdir

import (
	"os"
	"path/filepath"
	"testing"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/tests/testenv"
)

// A disk that goes away leaves a directory, which takes nothing in its place.
func TestUnmounted(t *testing.T) {
	disk := testenv.SmallDisk(t, 1<<20)
	link := filepath.Join(t.TempDir(), "archive")
	if err := os.Symlink(disk, link); err != nil {
		t.Fatal(err)
	}
	d, err := New(Config{Path: link})
	if err != nil {
		t.Fatal(err)
	}
	if !d.Traits().Mounted {
		t.Error("a disk of its own does not count as mounted")
	}
	if err := d.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	below := t.TempDir() // as what stands under the mount point
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(below, link); err != nil {
		t.Fatal(err)
	}
	_, err = d.Place(t.Context(), "a", connector.Content{}, nil)
	if !fault.Is(err, fault.Transient) || !fault.Is(d.Probe(t.Context()), fault.Transient) {
		t.Errorf("got %v, want an outage", err)
	}
	if all, err := os.ReadDir(below); err != nil || len(all) != 0 {
		t.Errorf("%v stands under the mount point (%v)", all, err)
	}
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(disk, link); err != nil {
		t.Fatal(err)
	}
	if err := d.Probe(t.Context()); err != nil {
		t.Errorf("the disk is back: %v", err)
	}
}
