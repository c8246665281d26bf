package spool

import (
	"slices"
	"testing"

	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

// TestUnsettledBlocksComeAgain: at once and after a restart, once, by key, and others do not.
func TestUnsettledBlocksComeAgain(t *testing.T) {
	for _, restart := range []bool{false, true} {
		st := storetest.Open(t, t.TempDir())
		s, k := open(t, st)
		for i := range uint64(9) {
			appendBlock(t, st, s, 1+i*10, 10)
		}
		settle(t, st, k, take(t, k, Want{Rows: 1000}))
		if err := k.Suspect(90, false); err != nil {
			t.Fatal(err)
		}
		for _, span := range [][2]uint64{{2, 2}, {4, 5}, {9, 9}} {
			unsettle(t, st, k, span[0], span[1])
		}
		if restart {
			_, k = open(t, st)
		}
		var got []uint64
		for range 3 {
			d := take(t, k, Want{Rows: 1000})
			if !d.ByKey {
				t.Errorf("restart %v: blocks from %d on come again without the word that it is by key", restart,
					d.Token.First)
			}
			for _, h := range d.Heads {
				got = append(got, h.Seq)
			}
			settle(t, st, k, d)
		}
		if slices.Sort(got); !slices.Equal(got, []uint64{2, 4, 5, 9}) {
			t.Errorf("restart %v: blocks %v came again", restart, got)
		}
		if p := pending(t, st, k); p != (Backlog{}) {
			t.Errorf("restart %v: %+v is left", restart, p)
		}
	}
}

// TestUnsettleBeforeTheSinksTime gives a sink blocks that came in before it was added, and no others.
func TestUnsettleBeforeTheSinksTime(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s, _ := open(t, st)
	for i := range uint64(6) {
		appendBlock(t, st, s, 1+i*10, 10)
	}
	k, err := s.Sink("late")
	if err != nil {
		t.Fatal(err)
	}
	err = st.Update(func(tx *store.Tx) error { // in one transaction, out of order
		for _, seq := range []uint64{5, 2, 3} {
			if err := k.Unsettle(tx, seq, seq); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := k.State(); got.Begin != 2 || got.Added != 7 {
		t.Errorf("the sink begins with %d and was added before %d, want 2 and 7", got.Begin, got.Added)
	}
	for name, sink := range map[string]*Sink{"now": k, "after a restart": again(t, st, "late")} {
		settled := sink.settled
		if want := (ranges{{4, 4}, {6, 6}}); !slices.Equal(settled, want) {
			t.Errorf("%s: done with %v, want %v", name, settled, want)
		}
	}
	if p := pending(t, st, k); p.Rows != 30 {
		t.Errorf("%d rows are pending, want 30", p.Rows)
	}
}

func unsettle(t *testing.T, st *store.Store, k *Sink, first, last uint64) {
	t.Helper()
	if err := st.Update(func(tx *store.Tx) error { return k.Unsettle(tx, first, last) }); err != nil {
		t.Fatal(err)
	}
}

func again(t *testing.T, st *store.Store, sink string) *Sink {
	t.Helper()
	s, err := Open(st, "job")
	if err != nil {
		t.Fatal(err)
	}
	k, err := s.Sink(sink)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func pending(t *testing.T, st *store.Store, k *Sink) (b Backlog) {
	t.Helper()
	err := st.View(t.Context(), func(r store.Reader) (err error) {
		b, err = Pending(r, k.ID)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}
