package spool

import (
	"fmt"
	"slices"
	"testing"

	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

// TestReleaseGoesAroundWhatIsOnItsWay: blocks go from behind a delivery, and neither a walk, a verification
// nor a salvage takes them for lost; once the delivery is done the rest goes as ever.
func TestReleaseGoesAroundWhatIsOnItsWay(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s, k := open(t, st)
	var d *Delivery
	for i := range uint64(10) {
		appendBlock(t, st, s, 1+i*10, 10)
		if i == 1 {
			d = take(t, k, Want{Rows: 20})
		}
	}
	holding := func() (out []*Sink) {
		t.Helper()
		err := st.View(t.Context(), func(r store.Reader) (err error) {
			out, err = Holding(r, []*Sink{k})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if got := holding(); len(got) != 1 {
		t.Fatalf("got %v, want that the sink holds block 3", got)
	}
	if err := st.Update(func(tx *store.Tx) error { _, err := k.Expire(tx, 1<<40); return err }); err != nil {
		t.Fatal(err)
	}
	if got := holding(); got != nil {
		t.Fatalf("all else has expired: got %v", got)
	}
	if n, err := s.Trim(Retain{Bytes: 1}, d.FirstAttempt); n != 0 || err != nil {
		t.Fatalf("trim went past a delivery: %d blocks (%v)", n, err)
	}
	left := func(want ...uint64) {
		t.Helper()
		var got []uint64
		err := st.View(t.Context(), func(r store.Reader) error {
			stats, err := ReadStats(r)
			if err == nil && stats.Blocks != uint64(len(want)) {
				err = fmt.Errorf("it counts %d blocks", stats.Blocks)
			}
			if err == nil {
				err = Range{}.Each(t.Context(), r, func(h Head) error { got = append(got, h.Seq); return nil })
			}
			if err != nil {
				return err
			}
			return Verify(t.Context(), r, func(_, _ uint64) {}, func(seq uint64, err error) {
				t.Errorf("block %d: %v", seq, err)
			})
		})
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("got blocks %v (%v), want %v", got, err, want)
		}
	}
	if n, err := s.Release(1); n != 7 || err != nil {
		t.Fatalf("got %d released (%v), want 7: the last has the cursor", n, err)
	}
	left(1, 2, 10)
	if n, err := s.Release(1); n != 0 || err != nil {
		t.Fatalf("got %d released again (%v)", n, err)
	}
	if out, err := Rebuild(st); err != nil || len(out.Lost)+len(out.Unknown) != 0 || out.Blocks != 3 {
		t.Fatalf("a salvage takes it for lost: %+v (%v)", out, err)
	}
	left(1, 2, 10)
	s, k = open(t, st)
	settle(t, st, k, take(t, k, Want{Rows: 20}))
	if n, err := s.Trim(Retain{}, d.FirstAttempt.AddDate(1, 0, 0)); n != 3 || err != nil {
		t.Fatalf("got %d trimmed (%v), want 3", n, err)
	}
	appendBlock(t, st, s, 101, 10)
	left(11)
}
