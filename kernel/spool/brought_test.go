package spool

import (
	"testing"
	"time"

	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

// TestBrought: a sink has from us what it is done with, in both lanes; not what waits, is on its way, or was
// let go.
func TestBrought(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s, k := open(t, st)
	want := func(key uint64, when string) {
		t.Helper()
		err := st.View(t.Context(), func(r store.Reader) error {
			got, err := Brought(r, k.ID)
			if got != key {
				t.Errorf("%s: got %d, want %d", when, got, key)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range uint64(4) {
		appendBlock(t, st, s, 1+i*10, 10)
	}
	d := take(t, k, Want{Rows: 10})
	want(0, "before the first delivery is settled")
	settle(t, st, k, d)
	want(40, "the live lane went first")
	settle(t, st, k, take(t, k, Want{Rows: 10}))
	want(40, "behind the backlog lane")
	settle(t, st, k, take(t, k, Want{Rows: 100}))
	if n, err := s.Trim(Retain{}, time.Now()); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	want(0, "when all is trimmed")
}
