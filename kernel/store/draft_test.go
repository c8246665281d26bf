package store_test

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/kernel/store"
	"holdfast/tests/testenv"
)

// large fills a store in dir with so many megabytes that can't be made smaller.
func large(t *testing.T, dir string, megabytes int) {
	t.Helper()
	st, err := store.Open(dir, store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	r, v := rand.New(rand.NewPCG(1, 2)), make([]byte, 64<<10)
	for i := range uint64(megabytes * 16) {
		for j := range v {
			v[j] = byte(r.Uint32())
		}
		if err := st.UpdateLazy(func(tx *store.Tx) error { tx.Set(key(i), v); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSalvageOnAFullDisk salvages on disks that are full at different moments of it: each time it comes
// back with a Full fault. A process that ended, a panic or a wait for room would take other jobs along.
func TestSalvageOnAFullDisk(t *testing.T) {
	dir := testenv.SmallDisk(t, 256<<20)
	from, into := filepath.Join(dir, "a"), filepath.Join(dir, "a", ".restore")
	large(t, from, 40)
	frees, full := []uint64{0, 10, 41, 60, 84}, 0
	if testenv.Torture() {
		frees = []uint64{0, 1, 4, 10, 24, 36, 41, 44, 52, 60, 70, 80, 84, 90}
	}
	for _, free := range frees {
		room, err := disk.RoomAt(dir)
		if err != nil {
			t.Fatal(err)
		}
		other := filepath.Join(dir, "other")
		if err := os.WriteFile(other, make([]byte, room.Free-free<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		d := store.NewDraft(dir, 0, slog.New(slog.DiscardHandler))
		out, err := store.Salvage(from, into, d, func(store.Space) bool { return true },
			func(float64) error { return nil })
		switch {
		case fault.Is(err, fault.Full):
			full++
		case err != nil:
			t.Errorf("with %d MB: got %v, want a Full fault", free, err)
		case out.Entries < 640:
			t.Errorf("with %d MB: %d entries of 640, and no error", free, out.Entries)
		}
		t.Logf("with %d MB: %d entries, %v", free, out.Entries, err)
		if _, err := os.Stat(into + ".sort"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("with %d MB: the sorter is left behind: %v", free, err)
		}
		if err := errors.Join(os.RemoveAll(into), os.Remove(other)); err != nil {
			t.Fatal(err)
		}
	}
	if full < len(frees)/2 {
		t.Errorf("%d times full", full)
	}
}

// TestDraftIsGivenUp: once a draft is given up no commit on it goes well.
func TestDraftIsGivenUp(t *testing.T) {
	dir := t.TempDir()
	d := store.NewDraft(dir, 1<<62, slog.New(slog.DiscardHandler))
	st, err := store.Open(filepath.Join(dir, "a"), d.Options())
	if err == nil {
		err = errors.Join(errors.New("a new store was made"), st.Close())
	}
	if !fault.Is(err, fault.Full) || !fault.Is(d.Err(), fault.Full) {
		t.Error(fmt.Sprint("got ", err, " and ", d.Err(), ", want Full faults"))
	}
}
