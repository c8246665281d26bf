package spool

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"testing"

	"holdfast/base/fault"
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
	flip(t, st, blockKey(2))
	forfeit(t, st, k, take(t, k, Want{Rows: 1000}))
	for range 2 {
		d := take(t, k, Want{Rows: 1000})
		if !d.ByKey || d.Rows.NumRows() != 10 {
			t.Errorf("delivery of %d rows from block %d: by key %v", d.Rows.NumRows(), d.Heads[0].Seq, d.ByKey)
		}
		settle(t, st, k, d)
	}
}

// flip flips a bit at the end of a value.
func flip(t *testing.T, st *store.Store, key store.Key) {
	t.Helper()
	flipAt(t, st, key, func(v []byte) int { return len(v) - 1 })
}

// flipFirst flips a bit of a head's version, or of the head before a block.
func flipFirst(t *testing.T, st *store.Store, key store.Key) {
	t.Helper()
	flipAt(t, st, key, func([]byte) int { return 0 })
}

func flipAt(t *testing.T, st *store.Store, key store.Key, at func(v []byte) int) {
	t.Helper()
	err := st.Update(func(tx *store.Tx) error {
		v, ok, err := tx.Get(key)
		if !ok {
			return fmt.Errorf("there is no %x (%w)", key, err)
		}
		v[at(v)] ^= 1
		tx.Set(key, v)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// forfeit gives up a delivery that can't be read.
func forfeit(t *testing.T, st *store.Store, k *Sink, d *Delivery) (lost Lost) {
	t.Helper()
	if d.Damage == nil {
		t.Fatalf("%s: the damage was not found", d.Token)
	}
	err := st.Update(func(tx *store.Tx) (err error) { lost, err = k.Forfeit(tx, d); return err })
	if err != nil {
		t.Fatal(err)
	}
	return lost
}

// TestABlockOfAPlanInPartsIsLostAlone: its neighbours come as they stand, by key, and rows that are counted
// already are not lost a second time.
func TestABlockOfAPlanInPartsIsLostAlone(t *testing.T) {
	for _, c := range []struct {
		done bool // the first of two parts of 15 rows
		bad  []uint64
		head bool   // that of the bad block is lost as well
		want string // the keys that are lost: of three blocks of 10 rows
	}{
		{false, []uint64{1}, false, "[1-10]"},
		{false, []uint64{2}, false, "[11-15 16-20]"},
		{false, []uint64{1, 3}, false, "[1-10 21-30]"},
		{false, []uint64{1, 2, 3}, false, "[1-10 11-15 16-20 21-30]"},
		{true, []uint64{1}, false, "[]"},
		{true, []uint64{2}, false, "[16-20]"},
		{true, []uint64{1, 2, 3}, false, "[16-20 21-30]"},
		{true, []uint64{2}, true, "[16-30]"},
	} {
		for _, again := range []bool{false, true} { // the process starts anew between two steps
			t.Run(fmt.Sprint(c, again), func(t *testing.T) {
				lost, got := deliverDamaged(t, c.bad, c.done, c.head, again)
				if fmt.Sprint(lost) != c.want {
					t.Errorf("lost %v, want %v", lost, c.want)
				}
				n := 0
				for _, l := range lost {
					var from, to int
					fmt.Sscanf(l, "%d-%d", &from, &to)
					n += to - from + 1
				}
				if n+got != 30 {
					t.Errorf("%d rows are lost and %d came, of 30", n, got)
				}
			})
		}
	}
}

// deliverDamaged delivers a plan of three blocks in two parts, of which some are damaged then.
func deliverDamaged(t *testing.T, bad []uint64, done, head, again bool) (lost []string, got int) {
	st := storetest.Open(t, t.TempDir())
	s, k := open(t, st)
	for i := range uint64(3) {
		appendBlock(t, st, s, 1+i*10, 10)
	}
	if err := k.Halve(take(t, k, Want{Rows: 1000})); err != nil {
		t.Fatal(err)
	}
	if done {
		settle(t, st, k, take(t, k, Want{Rows: 1000}))
		got = 15
	}
	_, k = open(t, st)
	for _, seq := range bad {
		flip(t, st, blockKey(seq))
		if head {
			flip(t, st, headKey(seq))
			flipFirst(t, st, blockKey(seq))
		}
	}
	gone := 0
	for got+gone < 30 {
		d := take(t, k, Want{Rows: 1000})
		if d.Damage == nil {
			got += checkWithin(t, d, gone > 0)
			settle(t, st, k, d)
		} else {
			l := forfeit(t, st, k, d)
			gone += int(l.Rows)
			from := (d.Heads[0].Seq-1)*10 + uint64(l.From) + 1
			if head {
				from = 31 - uint64(l.Rows)
			}
			lost = append(lost, fmt.Sprintf("%d-%d", from, from+uint64(l.Rows)-1))
		}
		err := st.View(t.Context(), func(r store.Reader) error {
			left, err := Pending(r, k.ID)
			if left.Rows != int64(30-got-gone) {
				t.Errorf("%d rows are pending by a recount, want %d", left.Rows, 30-got-gone)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if again {
			_, k = open(t, st)
		}
	}
	if len(k.plans) > 0 || k.settled.nextGap(1) != 4 {
		t.Errorf("it is not done with the blocks: %d plans, %v", len(k.plans), k.settled)
	}
	slices.SortFunc(lost, func(a, b string) int { return cmp.Or(len(a)-len(b), cmp.Compare(a, b)) })
	return lost, got
}

// checkWithin checks that a part of the plan holds the rows that its token names.
func checkWithin(t *testing.T, d *Delivery, byKey bool) int {
	t.Helper()
	if byKey && !d.ByKey {
		t.Errorf("%s is not compared by key", d.Token)
	}
	for i, key := range keysOf(d) {
		at := int(d.Token.RowFrom) + i
		seq, row := d.At(i)
		if key != uint64(at+1) || int(seq) != at/10+1 || int(row) != at%10 {
			t.Fatalf("row %d of %s has key %d, from row %d of block %d", i, d.Token, key, row, seq)
		}
	}
	if n := int(d.Token.RowTo - d.Token.RowFrom); len(keysOf(d)) != n {
		t.Errorf("%s holds %d rows", d.Token, len(keysOf(d)))
	}
	return len(keysOf(d))
}

// TestAReadErrorExpiresNothing: it speaks of the store, and the block may be whole.
func TestAReadErrorExpiresNothing(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s, k := open(t, st)
	appendBlock(t, st, s, 1, 10)
	appendBlock(t, st, s, 11, 10)
	err := st.Update(func(tx *store.Tx) error {
		heads, err := k.expire(tx, unreadable{tx, headKey(1)}, 1)
		if err == nil {
			t.Errorf("%d blocks expired", len(heads))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	flip(t, st, headKey(1))
	flip(t, st, blockKey(1))
	flipFirst(t, st, blockKey(1))
	err = st.Update(func(tx *store.Tx) error {
		heads, err := k.Expire(tx, 1)
		if len(heads) != 2 || heads[0].Rows != 0 || heads[1].Rows != 10 {
			t.Errorf("got %v, want a block whose head is lost and the one behind it", heads)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// unreadable is a store of which one key can't be read.
type unreadable struct {
	store.Reader
	key store.Key
}

func (u unreadable) Get(key store.Key) ([]byte, bool, error) {
	if bytes.Equal(key, u.key) {
		return nil, false, fault.New(fault.Corrupt, "read key %x: checksum mismatch", key)
	}
	return u.Reader.Get(key)
}
