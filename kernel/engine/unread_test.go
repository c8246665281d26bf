package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"testing"

	"holdfast/kernel/store"
)

// TestABadSectorIsSalvagedAround: failures in a row by a disk that can't be read end in a salvage; others, and
// an EIO that is not the store's, don't.
func TestABadSectorIsSalvagedAround(t *testing.T) {
	e, err := New(Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Room: RoomLimits{Soft: 1, Hard: 1, Ballast: 1}}, []Spec{{Name: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	e.cache = store.NewCache(1 << 20)
	defer e.cache.Close()
	r := e.runners[0]
	open := func() string {
		t.Helper()
		st, err := r.openStore(context.Background(), JobDir(e.opts.Dir, "a"))
		if err != nil {
			t.Fatal(err)
		}
		lineage := st.Lineage().String()
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		return lineage
	}
	first := open()
	bad := fmt.Errorf("read block 3: %w: %w", store.ErrUnreadable, syscall.EIO)
	for i := range 3 * unreadTries {
		switch {
		case i%unreadTries == 0:
			r.suspect(errors.New("connection refused"))
		case i%unreadTries == 1:
			r.suspect(fmt.Errorf("write the sink's file: %w", syscall.EIO))
		default:
			r.suspect(bad)
		}
	}
	if got := open(); got != first {
		t.Errorf("it was salvaged after %d failures in a row", unreadTries-2)
	}
	r.suspect(nil)
	for range unreadTries {
		r.suspect(bad)
	}
	second := open()
	if second == first {
		t.Errorf("it was not salvaged after %d failures in a row", unreadTries)
	}
	if got := open(); got != second {
		t.Error("it was salvaged again")
	}
}
