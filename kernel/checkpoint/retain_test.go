package checkpoint_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/checkpoint"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

func names(t testing.TB, dir string, w checkpoint.Work) (all []string) {
	t.Helper()
	list, err := checkpoint.List(dir, w)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		all = append(all, c.Name)
	}
	return all
}

func retain(t testing.TB, dir string, p checkpoint.Policy, w checkpoint.Work) []string {
	t.Helper()
	removed, err := checkpoint.Retain(t.Context(), dir, p, w)
	if err != nil {
		t.Fatal(err)
	}
	return removed
}

func TestRetainByCount(t *testing.T) {
	dir, s := filled(t, 10)
	defer shut(t, s)
	if got := retain(t, t.TempDir(), checkpoint.Policy{Keep: 1}, onDisk); got != nil {
		t.Errorf("retention of nothing removed %v", got)
	}
	var made []checkpoint.Checkpoint
	for i := range 5 {
		o := checkpoint.Options{}
		if i == 1 {
			o.Name = "pinned"
		}
		made = append(made, create(t, s, o))
	}
	if got := retain(t, dir, checkpoint.Policy{}, onDisk); len(got) != 0 {
		t.Errorf("a policy without bounds removed %v", got)
	}
	// The newest is damaged: it neither counts nor goes, and the newest valid one stays.
	newest := made[4].Path
	log := kinds(t, newest)[".log"][0]
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(log, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := retain(t, dir, checkpoint.Policy{Keep: 1}, onDisk); !slices.Equal(got,
		[]string{made[2].Name, made[0].Name}) {
		t.Errorf("removed %v, want the third and the first", got)
	}
	want := []string{"pinned", made[3].Name, made[4].Name}
	if got := names(t, dir, onDisk); !slices.Equal(got, want) {
		t.Errorf("left %v, want %v", got, want)
	}
	sound(t, made[3].Path)
	// One whose manifest is gone stays as well, and says why it can't be used.
	if err := os.Remove(filepath.Join(made[3].Path, "manifest.json")); err != nil {
		t.Fatal(err)
	}
	if got := retain(t, dir, checkpoint.Policy{Keep: 1, Age: 1}, onDisk); len(got) != 0 {
		t.Errorf("with no valid one left, it removed %v", got)
	}
	list, err := checkpoint.List(dir, onDisk)
	if err != nil || len(list) != 3 || !fault.Is(list[0].Err, fault.Corrupt) ||
		list[0].Name != made[3].Name {
		t.Errorf("list: got %+v, %v", list, err)
	}
	if err := checkpoint.Remove(dir, made[3].Name, onDisk); err != nil {
		t.Errorf("remove a damaged one: %v", err)
	}
	if err := checkpoint.Remove(dir, "pinned", onDisk); err != nil {
		t.Errorf("remove a pinned one: %v", err)
	}
	if err := checkpoint.Remove(dir, "pinned", onDisk); !fault.Is(err, fault.NotFound) {
		t.Errorf("remove it again: got %v, want not found", err)
	}
}

func TestRetainByAge(t *testing.T) {
	fs := storetest.NewCrashFS()
	synctest.Test(t, func(t *testing.T) {
		w := checkpoint.Work{FS: fs.FS()}
		s, err := store.Open("/job", storetest.Options(t, fs.FS()))
		if err != nil {
			t.Fatal(err)
		}
		var made []string
		for range 4 {
			put(t, s, 0, 10, 1)
			made = append(made, create(t, s, checkpoint.Options{}).Name)
			time.Sleep(time.Minute)
		}
		got := retain(t, "/job", checkpoint.Policy{Age: 150 * time.Second}, w)
		if !slices.Equal(got, []string{made[1], made[0]}) {
			t.Errorf("removed %v, want the first two", got)
		}
		shut(t, s)
		time.Sleep(1000 * time.Hour)
		got = retain(t, "/job", checkpoint.Policy{Age: time.Hour, Keep: 9}, w)
		if !slices.Equal(got, made[2:3]) {
			t.Errorf("removed %v, want all but the newest", got)
		}
	})
}

// TestNumbersNeverRepeat: one that is made behind others that were removed has the next number, and the name that is made of it.
func TestNumbersNeverRepeat(t *testing.T) {
	s := open(t, t.TempDir())
	defer shut(t, s)
	numbered := checkpoint.Options{Numbered: func(n uint64, _ time.Time) string { return fmt.Sprintf("cp%05d", n) }}
	for _, want := range []string{"cp00001", "cp00002", "cp00003"} {
		c := create(t, s, numbered)
		if c.Name != want {
			t.Errorf("got %s, want %s", c.Name, want)
		}
		if err := checkpoint.Remove(s.Dir(), c.Name, checkpoint.Work{}); err != nil {
			t.Fatal(err)
		}
	}
}
