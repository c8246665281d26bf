package spool

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var schema = record.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Uint64},
	{Name: "time", Type: arrow.FixedWidthTypes.Timestamp_s},
}, "id", "time")

func rowsFrom(first uint64, n int) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema.Schema)
	for i := range n {
		b.Field(0).(*array.Uint64Builder).Append(first + uint64(i))
		b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(1e9 + first))
	}
	return b.NewRecordBatch()
}

func block(t testing.TB, first uint64, n int) *Block {
	t.Helper()
	b, err := Build(1, schema, rowsFrom(first, n), store.Key(nil).U64(first))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func appendBlock(t testing.TB, st *store.Store, s *Spool, first uint64, n int) {
	t.Helper()
	b := block(t, first, n)
	if err := st.Update(func(tx *store.Tx) error { _, err := s.Append(tx, b); return err }); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, st *store.Store) (*Spool, *Sink) {
	t.Helper()
	s, err := Open(st, "job")
	if err != nil {
		t.Fatal(err)
	}
	k, err := s.Sink("main")
	if err != nil {
		t.Fatal(err)
	}
	return s, k
}

func take(t testing.TB, k *Sink, w Want) *Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	d, err := k.Next(ctx, w)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func settle(t testing.TB, st *store.Store, k *Sink, d *Delivery) {
	t.Helper()
	if err := st.Update(func(tx *store.Tx) error { _, err := k.Settle(tx, d); return err }); err != nil {
		t.Fatal(err)
	}
}

func keysOf(d *Delivery) []uint64 { k, _ := record.Keys(d.Schema, d.Rows); return k }

func TestDeliveryIsTheSameAfterARestart(t *testing.T) {
	dir := t.TempDir()
	st := storetest.Open(t, dir)
	s, k := open(t, st)
	for i := range uint64(5) {
		appendBlock(t, st, s, 1+i*10, 10)
	}
	d := take(t, k, Want{Rows: 30})
	if d.Rows.NumRows() != 30 || d.Unknown {
		t.Fatalf("got %d rows, unknown %v", d.Rows.NumRows(), d.Unknown)
	}
	want := d.Token.String()
	st.Close()
	st = storetest.Open(t, dir)
	s, k = open(t, st)
	appendBlock(t, st, s, 100, 10)
	d = take(t, k, Want{Rows: 1000})
	if d.Token.String() != want || !d.Unknown || d.Rows.NumRows() != 30 {
		t.Errorf("after a restart: got %s (unknown %v), want %s", d.Token, d.Unknown, want)
	}
}

func TestLongBacklogIsWorkedOffFromBothEnds(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s, k := open(t, st)
	for i := range uint64(100) {
		appendBlock(t, st, s, 1+i*10, 10)
	}
	var firsts []uint64
	for range 4 {
		d := take(t, k, Want{Rows: 100})
		firsts = append(firsts, keysOf(d)[0])
		settle(t, st, k, d)
	}
	// One lane each by turns, the newest first in the live lane.
	want := []uint64{901, 1, 801, 101}
	for i := range want {
		if firsts[i] != want[i] {
			t.Fatalf("deliveries began at %v, want %v", firsts, want)
		}
	}
	appendBlock(t, st, s, 2001, 10)
	if d := take(t, k, Want{Rows: 100}); keysOf(d)[len(keysOf(d))-1] != 2010 {
		t.Errorf("the newest row was held up by the backlog: got up to %d", keysOf(d)[d.Rows.NumRows()-1])
	}
}

func TestHalvingIsolatesPoison(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s, k := open(t, st)
	appendBlock(t, st, s, 1, 6)
	appendBlock(t, st, s, 7, 10)
	const poison = 11
	got, dead, tokens := map[uint64]bool{}, 0, map[string]bool{}
	for len(got)+dead < 16 {
		d := take(t, k, Want{Rows: 100})
		if tokens[d.Token.String()] {
			t.Fatalf("token %s came twice", d.Token)
		}
		tokens[d.Token.String()] = true
		bad := false
		for _, id := range keysOf(d) {
			bad = bad || id == poison
		}
		if bad && d.Rows.NumRows() > 1 {
			if err := k.Halve(d); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if bad {
			dead++
			if seq, row := d.At(0); seq != 2 || row != 4 {
				t.Errorf("poison is at block %d row %d, want 2, 4", seq, row)
			}
		}
		for _, id := range keysOf(d) {
			if id != poison {
				got[id] = true
			}
		}
		settle(t, st, k, d)
	}
	if dead != 1 || len(got) != 15 {
		t.Errorf("got %d rows and %d dead, want 15 and 1", len(got), dead)
	}
}

func TestSmallDeliveryWaitsForItsTime(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s, k := open(t, st)
	appendBlock(t, st, s, 1, 10)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := k.Next(ctx, Want{Rows: 100, Every: time.Hour}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want to wait", err)
	}
	if d := take(t, k, Want{Rows: 10, Every: time.Hour}); d.Rows.NumRows() != 10 {
		t.Error("a full delivery did not go out at once")
	}
}

func TestTrimKeepsWhatASinkNeeds(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s, k := open(t, st)
	slow, err := s.Sink("slow")
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(10) {
		appendBlock(t, st, s, 1+i*10, 10)
	}
	settle(t, st, k, take(t, k, Want{Rows: 1000}))
	if n, err := s.Trim(Retain{}, time.Now()); n != 0 || err != nil {
		t.Errorf("trimmed %d blocks that a sink needs (%v)", n, err)
	}
	settle(t, st, slow, take(t, slow, Want{Rows: 50}))
	settle(t, st, slow, take(t, slow, Want{Rows: 50}))
	if n, err := s.Trim(Retain{Age: time.Hour}, time.Now()); n != 0 || err != nil {
		t.Errorf("trimmed %d blocks before their time (%v)", n, err)
	}
	if n, err := s.Trim(Retain{}, time.Time{}); n != 0 || err != nil {
		t.Errorf("trimmed %d blocks by a clock that can't be trusted (%v)", n, err)
	}
	n, err := s.Trim(Retain{}, time.Now().Add(time.Second))
	if n != 10 || err != nil {
		t.Errorf("trimmed %d, want 10 (%v)", n, err)
	}
	st.View(t.Context(), func(r store.Reader) error {
		if stats, _ := ReadStats(r); stats.Blocks != 0 || stats.Rows != 0 || stats.Bytes != 0 {
			t.Errorf("figures after the last block went: %+v", stats)
		}
		return nil
	})
}

func TestDamagedBlockIsForfeitedAlone(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s, k := open(t, st)
	for i := range uint64(3) {
		appendBlock(t, st, s, 1+i*10, 10)
	}
	err := st.Update(func(tx *store.Tx) error {
		v, _, err := tx.Get(blockKey(2))
		v[len(v)-1] ^= 1
		tx.Set(blockKey(2), v)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []uint64
	lost := 0
	for len(got) < 20 || lost == 0 {
		d := take(t, k, Want{Rows: 1000})
		if d.Damage == nil {
			got = append(got, keysOf(d)...)
			settle(t, st, k, d)
			continue
		}
		if !fault.Is(d.Damage, fault.Corrupt) {
			t.Fatalf("got %v, want corrupt", d.Damage)
		}
		err := st.Update(func(tx *store.Tx) error {
			l, err := k.Forfeit(tx, d)
			if l.Rows != 10 || l.Heads[0].KeyLo != 11 {
				t.Errorf("lost %+v, want 10 rows from key 11", l)
			}
			lost++
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestExpireTakesTheOldest(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s, k := open(t, st)
	for i := range uint64(10) {
		appendBlock(t, st, s, 1+i*10, 10)
	}
	var gone []Head
	err := st.Update(func(tx *store.Tx) (err error) { gone, err = k.Expire(tx, 1); return err })
	if err != nil || len(gone) != 1 || gone[0].Seq != 1 {
		t.Fatalf("expired %+v %v, want the first block", gone, err)
	}
	if d := take(t, k, Want{Rows: 1000}); keysOf(d)[0] != 11 {
		t.Errorf("got row %d, want 11", keysOf(d)[0])
	}
}

// TestRanges holds the set of ranges against a plain set.
func TestRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r ranges
		set := map[uint64]bool{}
		for range rapid.IntRange(0, 30).Draw(t, "adds") {
			first := rapid.Uint64Range(1, 60).Draw(t, "first")
			last := first + rapid.Uint64Range(0, 5).Draw(t, "len")
			r.add(first, last)
			for i := first; i <= last; i++ {
				set[i] = true
			}
		}
		for i := 1; i < len(r); i++ {
			if r[i-1].last+1 >= r[i].first {
				t.Fatalf("spans touch: %v", r)
			}
		}
		for q := uint64(1); q < 70; q++ {
			if r.has(q) != set[q] {
				t.Fatalf("has(%d) = %v in %v", q, r.has(q), r)
			}
			next, prev := q, q
			for set[next] {
				next++
			}
			for prev > 0 && set[prev] {
				prev--
			}
			if got := r.nextGap(q); got != next {
				t.Fatalf("nextGap(%d) = %d, want %d in %v", q, got, next, r)
			}
			if got := r.prevGap(q); got != prev {
				t.Fatalf("prevGap(%d) = %d, want %d in %v", q, got, prev, r)
			}
			if set[q] {
				continue
			}
			end, start := q, q
			for end < 70 && !set[end+1] {
				end++
			}
			for start > 1 && !set[start-1] {
				start--
			}
			if got := r.gapEnd(q, 70); got != end {
				t.Fatalf("gapEnd(%d) = %d, want %d in %v", q, got, end, r)
			}
			if got := r.gapStart(q, 1); got != start {
				t.Fatalf("gapStart(%d) = %d, want %d in %v", q, got, start, r)
			}
		}
	})
}

func FuzzReadBlock(f *testing.F) {
	b := block(f, 1, 3)
	f.Add(append(b.head.append(nil), b.payload...))
	f.Fuzz(func(_ *testing.T, v []byte) { _, _, _ = readBlock(v, quickly) })
}

// TestVerifyChecksTheContentHash: what reading leaves out, for its cost, verify does not.
func TestVerifyChecksTheContentHash(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s, _ := open(t, st)
	b := block(t, 1, 3)
	b.head.Hash[0] ^= 1
	err := st.Update(func(tx *store.Tx) error {
		_, err := s.Append(tx, b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var bad []uint64
	err = st.View(t.Context(), func(r store.Reader) error {
		return Verify(t.Context(), r, func(done, all uint64) {}, func(seq uint64, err error) {
			if bad = append(bad, seq); !fault.Is(err, fault.Corrupt) {
				t.Errorf("block %d: got %v, want a corrupt fault", seq, err)
			}
		})
	})
	if err != nil || !slices.Equal(bad, []uint64{1}) {
		t.Errorf("got blocks %v (%v), want the first", bad, err)
	}
}
