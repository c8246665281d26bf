package checkpoint_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/base/fault"
	"holdfast/kernel/checkpoint"
	"holdfast/kernel/store"
)

func replace(t testing.TB, dir, name string) (quarantine string) {
	t.Helper()
	_, quarantine, err := checkpoint.Replace(t.Context(), dir, name, onDisk)
	if err != nil {
		t.Fatal(err)
	}
	return quarantine
}

func TestReplaceKeepsTheOldStore(t *testing.T) {
	dir, s := filled(t, 2_000)
	old := read(t, s)
	a := create(t, s, checkpoint.Options{Name: "a"})
	put(t, s, 1_000, 3_000, 2)
	newer := read(t, s)
	_, _, err := checkpoint.Replace(t.Context(), dir, "a", onDisk)
	if !fault.Is(err, fault.Busy) {
		t.Errorf("replace of an open store: got %v, want busy", err)
	}
	shut(t, s)
	_, _, err = checkpoint.Replace(t.Context(), dir, "none", onDisk)
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("replace by nothing: got %v, want not found", err)
	}
	if got := readDir(t, dir); got != newer {
		t.Errorf("refused, and yet the store changed: got %+v, want %+v", got, newer)
	}
	for range 2 { // from the same checkpoint, twice
		quarantine := replace(t, dir, "a")
		s = open(t, dir)
		if got := read(t, s); got != old {
			t.Errorf("got %+v, want the checkpoint's %+v", got, old)
		}
		if err := s.Latest(func(r store.Reader) error {
			o, ok, err := checkpoint.Restored(r)
			if !ok || o.Name != "a" {
				t.Errorf("origin: got %+v %v", o, ok)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
		put(t, s, 1_000, 3_000, 2)
		if got := read(t, s); got != newer {
			t.Errorf("it does not go on: got %+v, want %+v", got, newer)
		}
		if n := create(t, s, checkpoint.Options{}); n.Parent != "a" {
			t.Errorf("its first checkpoint has the parent %q, want a", n.Parent)
		}
		shut(t, s)
		if !strings.HasPrefix(quarantine, filepath.Join(dir, "quarantine")) {
			t.Errorf("the old store is in %s", quarantine)
		}
		if got := readDir(t, quarantine); got != newer {
			t.Errorf("what was put aside: got %+v, want %+v", got, newer)
		}
		sound(t, a.Path)
		if _, err := os.Stat(filepath.Join(dir, ".restore")); !os.IsNotExist(err) {
			t.Errorf("the stage is left: %v", err)
		}
	}
	if out, err := checkpoint.Recover(dir, onDisk); err != nil || out != checkpoint.Nothing {
		t.Errorf("recover: got %s, %v", out, err)
	}
}
