package spool

import (
	"testing"

	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

// TestWhatIsLeftOfAForfeitedPlanIsComparedByKey: an attempt may have brought its rows to the sink, under a
// token that no other delivery has.
func TestWhatIsLeftOfAForfeitedPlanIsComparedByKey(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s, k := open(t, st)
	for i := range uint64(3) {
		appendBlock(t, st, s, 1+i*10, 10)
	}
	k.Release(take(t, k, Want{Rows: 1000}))
	err := st.Update(func(tx *store.Tx) error {
		v, _, err := tx.Get(blockKey(2))
		v[len(v)-1] ^= 1
		tx.Set(blockKey(2), v)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	d := take(t, k, Want{Rows: 1000})
	if d.Damage == nil {
		t.Fatal("the damage was not found")
	}
	if err := st.Update(func(tx *store.Tx) error { _, err := k.Forfeit(tx, d); return err }); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		d := take(t, k, Want{Rows: 1000})
		if !d.ByKey || d.Rows.NumRows() != 10 {
			t.Errorf("delivery of %d rows from block %d: by key %v", d.Rows.NumRows(), d.Heads[0].Seq, d.ByKey)
		}
		settle(t, st, k, d)
	}
}
