package balance

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/base/fault"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

func update(t testing.TB, st *store.Store, f func(tx *store.Tx) error) {
	t.Helper()
	if err := st.Update(f); err != nil {
		t.Fatal(err)
	}
}

func TestLawsTellWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		law  interface{ Check() string }
		good bool
	}{
		{Intake{Read: 10, Accepted: 5, Duplicate: 2, Filtered: 2, Rejected: 1}, true},
		{Intake{Read: 10, Accepted: 5}, false},
		{Flow{Accepted: 4, Delivered: 1, Pending: 1, Dead: 1, Expired: 1}, true},
		{Flow{Accepted: 1, Delivered: 2, Pending: -1}, false},
		{Tasks{Put: 6, Ready: 1, Leased: 1, Waiting: 1, Done: 1, Dead: 1, Dropped: 1}, true},
		{Tasks{Put: 1}, false},
	} {
		if got := c.law.Check(); (got == "") != c.good {
			t.Errorf("%+v: got %q, want good %v", c.law, got, c.good)
		}
	}
}

func TestSinksLoseTheSameBlockEachForItself(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	now := time.Now()
	update(t, st, func(tx *store.Tx) error {
		for id, name := range []string{"a", "b"} {
			err := PutGap(tx, Gap{Source: 1, From: 10, To: 19, Missing: 10, Cause: Expired, State: GapLost,
				Found: now, Sink: name, SinkID: uint32(id + 1)})
			if err != nil {
				return err
			}
		}
		return PutGap(tx, Gap{Source: 1, From: 10, To: 12, Missing: 3, Cause: Hole, State: GapFound, Found: now})
	})
	st.View(t.Context(), func(r store.Reader) error {
		all, err := ListGaps(r, 1, false, 10)
		tot, err2 := ReadGapTotals(r, 1)
		if err != nil || err2 != nil || len(all) != 3 || tot.Lost != 20 || tot.Open != 1 || tot.Missing != 3 {
			t.Errorf("got %d gaps, %+v (%v, %v)", len(all), tot, err, err2)
		}
		if g, ok, err := ReadGap(r, 1, 10); !ok || err != nil || g.Cause != Hole {
			t.Errorf("the source's own gap: %+v %v %v", g, ok, err)
		}
		return nil
	})
}

// TestGapTotals holds the totals against a recount, through random changes.
func TestGapTotals(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		fs := storetest.NewCrashFS()
		st, err := store.Open("/job", storetest.Options(t, fs.FS()))
		if err != nil {
			rt.Fatal(err)
		}
		defer st.Close()
		gaps := map[uint64]Gap{}
		states := []GapState{GapFound, GapFilling, GapFilled, GapAbsent, GapLost}
		for range rapid.IntRange(1, 25).Draw(rt, "changes") {
			g := Gap{Source: 3, From: rapid.Uint64Range(1, 6).Draw(rt, "from") * 100,
				Missing: rapid.Uint64Range(0, 9).Draw(rt, "missing"), Filled: rapid.Uint64Range(0, 9).Draw(rt, "filled"),
				Absent: rapid.Uint64Range(0, 9).Draw(rt, "absent"), State: rapid.SampledFrom(states).Draw(rt, "state")}
			g.To = g.From + 50
			update(t, st, func(tx *store.Tx) error { return PutGap(tx, g) })
			if old := gaps[g.From]; old.State == GapLost && g.State == GapLost {
				g.Missing, g.Filled, g.Absent = g.Missing+old.Missing, g.Filled+old.Filled, g.Absent+old.Absent
			} else if old.State == GapFilled && g.State == GapLost {
				g.Filled += old.Filled
			}
			gaps[g.From] = g
		}
		var want GapTotals
		for _, g := range gaps {
			d := g.totals()
			want = GapTotals{want.Open + d.Open, want.Missing + d.Missing, want.Filled + d.Filled,
				want.Absent + d.Absent, want.Lost + d.Lost, want.Settled + d.Settled}
		}
		st.View(t.Context(), func(r store.Reader) error {
			if got, err := ReadGapTotals(r, 3); err != nil || got != want {
				rt.Fatalf("got %+v %v, want %+v", got, err, want)
			}
			return nil
		})
	})
}

func TestDeadLetters(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	var ids []uint64
	update(t, st, func(tx *store.Tx) error {
		for _, why := range []string{"one", "two", "three"} {
			id, err := Bury(tx, DeadLetter{Stage: AtIntake, Reason: why})
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		_, err := Exhume(tx, ids[1])
		return err
	})
	st.View(t.Context(), func(r store.Reader) error {
		all, err := ListDead(r, 0, 10)
		if err != nil || len(all) != 2 || all[0].Reason != "one" || all[1].Reason != "three" {
			t.Errorf("got %+v %v", all, err)
		}
		if _, err := ReadDead(r, ids[1]); !fault.Is(err, fault.NotFound) {
			t.Errorf("an exhumed letter: got %v, want not found", err)
		}
		return nil
	})
	// An id is never given twice: a letter that a person noted down must not become another.
	update(t, st, func(tx *store.Tx) error {
		if _, err := Exhume(tx, ids[2]); err != nil {
			return err
		}
		id, err := Bury(tx, DeadLetter{Reason: "four"})
		if id <= ids[2] {
			t.Errorf("id %d was given again", id)
		}
		return err
	})
}

// TestRecoveredRowsAreNotLost: what comes back is taken out of its gap, and no more than is in it.
func TestRecoveredRowsAreNotLost(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	for i, step := range []struct {
		rows, lost, filled uint64
		state              GapState
	}{{4, 6, 4, GapLost}, {99, 0, 10, GapFilled}, {1, 0, 10, GapFilled}} {
		update(t, st, func(tx *store.Tx) error {
			if i == 0 {
				err := PutGap(tx, Gap{Source: 1, From: 10, To: 19, Missing: 10, Cause: Expired, State: GapLost, SinkID: 2})
				if err != nil {
					return err
				}
			}
			return Recover(tx, 1, 10, 2, step.rows)
		})
		st.View(t.Context(), func(r store.Reader) error {
			all, _ := ListGaps(r, 1, false, 10)
			tot, err := ReadGapTotals(r, 1)
			if err != nil || len(all) != 1 || all[0].State != step.state || tot.Lost != int64(step.lost) ||
				tot.Filled != int64(step.filled) || tot.Settled != 1 {
				t.Errorf("step %d: got %+v, %+v (%v)", i, all, tot, err)
			}
			return nil
		})
	}
}

// TestRowsOfAPrunedGapAreRecovered: a gap that is gone from the history leaves its rows in the totals, and what
// comes back is taken from them, once, whatever gap begins there now.
func TestRowsOfAPrunedGapAreRecovered(t *testing.T) {
	const gaps = maxSettled + 5
	st := storetest.Open(t, t.TempDir())
	update(t, st, func(tx *store.Tx) error {
		for i := range uint64(gaps) {
			g := Gap{Source: 1, From: i * 10, Missing: 10, Cause: Expired, State: GapLost, SinkID: 2}
			if err := PutGap(tx, g); err != nil {
				return err
			}
		}
		return nil
	})
	want := func(what string, lost, filled int64) {
		t.Helper()
		st.View(t.Context(), func(r store.Reader) error {
			tot, err := ReadGapTotals(r, 1)
			if err != nil || tot.Lost != lost || tot.Filled != filled || tot.Settled > maxSettled {
				t.Errorf("%s: got %+v (%v), want %d lost and %d filled", what, tot, err, lost, filled)
			}
			return nil
		})
	}
	want("some were pruned", gaps*10, 0)
	recover := func(from uint64) {
		t.Helper()
		update(t, st, func(tx *store.Tx) error { return Recover(tx, 1, from, 2, 10) })
	}
	recover(0) // gone
	want("a pruned one is replayed", gaps*10-10, 10)
	recover((gaps - 1) * 10)
	want("one that is kept is replayed", gaps*10-20, 20)
	update(t, st, func(tx *store.Tx) error {
		return PutGap(tx, Gap{Source: 1, From: 40, Missing: 3, Cause: Expired, State: GapLost, SinkID: 2})
	})
	recover(40) // ten of a pruned one, in whose place is one of three
	want("in part a pruned one", gaps*10+3-30, 30)
}

// TestPagesOfGaps give every gap once, whatever their size, also where several begin at one key.
func TestPagesOfGaps(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	update(t, st, func(tx *store.Tx) error {
		for i := range uint64(30) {
			g := Gap{Source: 1, From: i / 3 * 10, Missing: 1, State: GapLost, SinkID: uint32(i % 3)}
			if err := PutGap(tx, g); err != nil {
				return err
			}
		}
		return nil
	})
	st.View(t.Context(), func(r store.Reader) error {
		for size := 1; size <= 31; size++ {
			seen := map[GapPlace]bool{}
			list, err := ListGaps(r, 1, false, size)
			for ; err == nil && len(list) > 0; list, err = GapsBehind(r, list[len(list)-1].Place(), false, size) {
				for _, g := range list {
					p, bad := ParseGapPlace(g.Place().String())
					if bad != nil || seen[p] {
						t.Fatalf("pages of %d: %v came twice (%v)", size, p, bad)
					}
					seen[p] = true
				}
			}
			if err != nil || len(seen) != 30 {
				t.Errorf("pages of %d: got %d gaps (%v), want 30", size, len(seen), err)
			}
		}
		return nil
	})
	if _, err := ParseGapPlace("1-2-x"); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v, want it invalid", err)
	}
}

// TestLettersOfAnOldStore: one that was written before there was a counter is counted, and has one from the
// first letter on.
func TestLettersOfAnOldStore(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	letters := func() (n int64) {
		st.View(t.Context(), func(r store.Reader) (err error) {
			if n, err = Letters(r); err != nil {
				t.Error(err)
			}
			return nil
		})
		return n
	}
	update(t, st, func(tx *store.Tx) error {
		for range 3 {
			if _, err := Bury(tx, DeadLetter{}); err != nil {
				return err
			}
		}
		tx.Delete(counterKey(lawDead, 0))
		return nil
	})
	if n := letters(); n != 3 {
		t.Errorf("without a counter: got %d, want 3", n)
	}
	update(t, st, func(tx *store.Tx) error { _, err := Exhume(tx, 2); return err })
	if n := letters(); n != 2 {
		t.Errorf("behind the first change: got %d, want 2", n)
	}
	update(t, st, func(tx *store.Tx) error {
		tx.Delete(deadKey(1)) // as a salvage loses it
		return RecountDead(tx)
	})
	if n := letters(); n != 1 {
		t.Errorf("after a salvage: got %d, want 1", n)
	}
}

// TestListsOfLargeLetters have few of them, so that no list takes all memory, and none is left out.
func TestListsOfLargeLetters(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	raw := make([]byte, 2<<20)
	for range 9 {
		update(t, st, func(tx *store.Tx) error { _, err := Bury(tx, DeadLetter{Raw: raw}); return err })
	}
	st.View(t.Context(), func(r store.Reader) error {
		some, err := ListDead(r, 0, 1000)
		if err != nil || len(some) == 0 || len(some) > 4 {
			t.Errorf("got %d letters (%v), want a few of 2 MiB", len(some), err)
		}
		all := 0
		err = EachDead(r, func(DeadLetter) error { all++; return nil })
		if err != nil || all != 9 {
			t.Errorf("got %d letters one by one (%v), want 9", all, err)
		}
		return nil
	})
}

// TestWhatIsLostAgainAddsUp: blocks without keys are lost one by one, and all their gaps begin at 0.
func TestWhatIsLostAgainAddsUp(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	for _, rows := range []uint64{100, 30, 7} {
		update(t, st, func(tx *store.Tx) error {
			return PutGap(tx, Gap{Source: 1, Missing: rows, Cause: Expired, State: GapLost, SinkID: 2})
		})
	}
	st.View(t.Context(), func(r store.Reader) error {
		all, err := ListGaps(r, 1, false, 10)
		tot, err2 := ReadGapTotals(r, 1)
		if err != nil || err2 != nil || len(all) != 1 || all[0].Missing != 137 || tot.Lost != 137 ||
			tot.Settled != 1 {
			t.Errorf("got %+v, %+v (%v, %v); want 137 lost in one gap", all, tot, err, err2)
		}
		return nil
	})
}
