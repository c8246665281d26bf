package sqlite

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"pgregory.net/rapid"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/sinktest"
	"holdfast/tests/testenv"
)

// note is a keyless row: nothing but the token keeps it from being there twice.
func notes(words ...string) (record.Schema, arrow.RecordBatch) {
	s := record.NewSchema([]arrow.Field{{Name: "word", Type: arrow.BinaryTypes.String}}, "", "")
	b := array.NewRecordBuilder(memory.DefaultAllocator, s.Schema)
	for _, w := range words {
		b.Field(0).(*array.StringBuilder).Append(w)
	}
	return s, b.NewRecordBatch()
}

// noteOf is a delivery of one word as the blocks first to last.
func noteOf(t tb, first, last uint64, word string) connector.Delivery {
	t.Helper()
	s, b := notes(word)
	_, hash, err := record.Encode(nil, b)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	return connector.Delivery{Schema: s, Rows: b, FirstAttempt: time.Now(),
		Token: record.Token{Job: "notes", First: first, Last: last, Hash: hash}}
}

type tb interface {
	Helper()
	Fatalf(format string, args ...any)
}

func prepared(t testing.TB, f *file, cfg Config, schema record.Schema) *Sink {
	t.Helper()
	s, err := f.sink(cfg)
	if err != nil {
		t.Fatalf("new sink: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Prepare(t.Context(), schema); err != nil {
		t.Fatalf("prepare: %v", err)
	}
	return s
}

func write(t tb, s *Sink, d connector.Delivery) connector.Verdict {
	t.Helper()
	v, err := s.Write(context.Background(), d)
	if err != nil {
		t.Fatalf("write %s: %v", d.Token, err)
	}
	return v
}

// words reads the table of notes.
func (f *file) words(t testing.TB) []string {
	t.Helper()
	rows, err := f.db.Query("SELECT word FROM spots")
	if err != nil {
		t.Fatalf("read words: %v", err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var w string
		if err := rows.Scan(&w); err != nil {
			t.Fatalf("read words: %v", err)
		}
		out = append(out, w)
	}
	return out
}

func (f *file) count(t testing.TB, query string, args ...any) (n int) {
	t.Helper()
	if err := f.db.QueryRow(query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func TestSameTokenWithOtherContentIsConflict(t *testing.T) {
	f := newFile(t)
	s, _ := notes()
	sink := prepared(t, f, Config{}, s)
	write(t, sink, noteOf(t, 5, 9, "one"))
	overlapping := []connector.Delivery{noteOf(t, 5, 9, "two"), noteOf(t, 9, 10, "two"),
		noteOf(t, 1, 5, "two"), noteOf(t, 6, 6, "two"), noteOf(t, 1, 20, "two")}
	part := noteOf(t, 5, 9, "one")
	part.Token.RowTo = 1
	overlapping = append(overlapping, part)
	for _, d := range overlapping {
		for _, byKey := range []bool{false, true} {
			d.ByKey = byKey
			if _, err := sink.Write(t.Context(), d); !fault.Is(err, fault.Conflict) {
				t.Errorf("%s: got %v, want a conflict", d.Token, err)
			}
		}
	}
	write(t, sink, noteOf(t, 5, 9, "one"))
	if got := f.words(t); !slices.Equal(got, []string{"one"}) {
		t.Errorf("got %q", got)
	}
}

func TestPartsOfBlocks(t *testing.T) {
	f := newFile(t)
	s, _ := notes()
	sink := prepared(t, f, Config{}, s)
	part := func(from, to uint32, word string) connector.Delivery {
		d := noteOf(t, 5, 9, word)
		d.Token.RowFrom, d.Token.RowTo = from, to
		return d
	}
	for range 2 {
		write(t, sink, part(0, 10, "a"))
		write(t, sink, part(20, 30, "c"))
		write(t, sink, part(10, 20, "b"))
		write(t, sink, noteOf(t, 10, 10, "next"))
	}
	for _, d := range []connector.Delivery{part(5, 15, "x"), part(0, 30, "x"), noteOf(t, 5, 9, "x")} {
		if _, err := sink.Write(t.Context(), d); !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: got %v, want a conflict", d.Token, err)
		}
	}
	if got := f.words(t); !slices.Equal(got, []string{"a", "c", "b", "next"}) {
		t.Errorf("got %q", got)
	}
}

// TestDeliveredSetStaysSmall delivers in random order, with refusals and holes, far more than keeps
// its hash: every token that was delivered stays without effect, every other one has its effect.
func TestDeliveredSetStaysSmall(t *testing.T) {
	sinktest.Checks(t, testenv.Count(t, 200))
	rapid.Check(t, func(r *rapid.T) {
		f := newFile(t)
		s, _ := notes()
		sink := prepared(t, f, Config{}, s)
		defer func() { _ = sink.Close() }()
		sink.keep = rapid.IntRange(1, 6).Draw(r, "keep")
		total := uint64(rapid.IntRange(1, 30).Draw(r, "deliveries"))
		order := rapid.Permutation(seqs(total)).Draw(r, "order")
		skipped := map[uint64]bool{}
		for i, n := range order {
			if rapid.IntRange(0, 9).Draw(r, "skip") == 0 {
				skipped[n] = true
				continue
			}
			write(r, sink, noteOf(r, 3*n, 3*n+2, "row"))
			again := order[rapid.IntRange(0, i).Draw(r, "again")]
			if !skipped[again] {
				write(r, sink, noteOf(r, 3*again, 3*again+2, "row"))
			}
		}
		for _, n := range order {
			if !skipped[n] {
				d := noteOf(r, 3*n, 3*n+2, "row")
				d.ByKey = n%2 == 0
				write(r, sink, d)
			}
		}
		want := int(total) - len(skipped)
		if got := len(f.words(t)); got != want {
			r.Fatalf("got %d rows after repeats, want %d", got, want)
		}
		held := f.count(t, "SELECT count(*) FROM holdfast_delivered WHERE hash IS NOT NULL")
		if held > 3*sink.keep+1 {
			r.Fatalf("%d entries keep their hash, want at most about twice %d", held, sink.keep)
		}
		if ranges := f.count(t, "SELECT count(*) FROM holdfast_delivered") - held; ranges > held+
			len(skipped)+2*sink.keep+1 {
			r.Fatalf("%d merged ranges with %d holes", ranges, len(skipped))
		}
		for n := range skipped {
			write(r, sink, noteOf(r, 3*n, 3*n+2, "late"))
			want++
		}
		if got := len(f.words(t)); got != want {
			r.Fatalf("got %d rows after late ones, want %d", got, want)
		}
	})
}

func seqs(n uint64) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = uint64(i)
	}
	return out
}

// numberedSpots delivers spots as the block n.
func numberedSpots(t tb, s *Sink, n uint64, spots []sinktest.Spot, byKey bool) connector.Verdict {
	t.Helper()
	return write(t, s, connector.Delivery{Schema: sinktest.Schema(), Rows: sinktest.Batch(spots),
		ByKey: byKey, Token: record.Token{Job: "spots", First: n, Last: n, Hash: record.Hash{byte(n)}}})
}

// TestRefusedRowsSurviveMerging: a repeat after a long time still tells what was refused, and one
// that compares by key leaves the merged ranges as they are.
func TestRefusedRowsSurviveMerging(t *testing.T) {
	f := newFile(t)
	sink := prepared(t, f, Config{}, sinktest.Schema())
	sink.keep = 2
	bad := append(sinktest.Spots(1, 0, 5), outOfRange()...)
	var first connector.Verdict
	for n := uint64(1); n < 30; n++ {
		if n == 5 {
			first = numberedSpots(t, sink, n, bad, false)
			continue
		}
		numberedSpots(t, sink, n, sinktest.Spots(n, 1000*n, 1), false)
	}
	const all = "SELECT count(*) FROM holdfast_delivered"
	before := f.count(t, all)
	if before > 9 {
		t.Errorf("got %d entries", before)
	}
	again := numberedSpots(t, sink, 5, bad, false)
	if !slices.Equal(again.Rejected, first.Rejected) || len(first.Rejected) != 3 {
		t.Errorf("repeat: got %v, want %v", again.Rejected, first.Rejected)
	}
	numberedSpots(t, sink, 9, sinktest.Spots(9, 9000, 1), true)
	if after := f.count(t, all); after != before {
		t.Errorf("a repeat by key made %d entries of %d", after, before)
	}
}

// TestBlocksThatAreCutAnewAreComparedByKey: a block of a delivery whose outcome is not known was lost, and
// what is left of it comes in other bounds. Without the word that it is by key that is a conflict.
func TestBlocksThatAreCutAnewAreComparedByKey(t *testing.T) {
	f := newFile(t)
	sink := prepared(t, f, Config{}, sinktest.Schema())
	spots := sinktest.Spots(1, 0, 60)
	hash := record.Hash{1}
	deliver := func(tok record.Token, byKey bool) (connector.Verdict, error) {
		tok.Job = "spots"
		at, n := (tok.First-1)*10+uint64(tok.RowFrom), (tok.Last-tok.First+1)*10
		if tok.RowTo > 0 {
			n = uint64(tok.RowTo - tok.RowFrom)
		}
		return sink.Write(t.Context(), connector.Delivery{Schema: sinktest.Schema(), Token: tok,
			Rows: sinktest.Batch(spots[at : at+n]), ByKey: byKey, Unknown: true})
	}
	for _, tok := range []record.Token{{First: 1, Last: 3, Hash: hash},
		{First: 4, Last: 6, RowFrom: 5, RowTo: 25, Hash: hash}} {
		if _, err := deliver(tok, false); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		tok     record.Token
		present []int64 // at the first write and at the second
	}{
		{record.Token{First: 1, Last: 1, Hash: record.Hash{2}}, []int64{10, 10}},
		{record.Token{First: 3, Last: 3, Hash: record.Hash{3}}, []int64{10, 10}},
		{record.Token{First: 4, Last: 6, RowFrom: 5, RowTo: 10, Hash: hash}, []int64{5, 5}},
		{record.Token{First: 4, Last: 6, RowFrom: 20, RowTo: 30, Hash: hash}, []int64{5, 10}},
	} {
		if _, err := deliver(c.tok, false); !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: got %v, want a conflict", c.tok, err)
		}
		for _, want := range c.present {
			v, err := deliver(c.tok, true)
			if err != nil || v.Present != want || len(v.Rejected) > 0 {
				t.Errorf("%s by key: got %+v, %v, want %d rows there", c.tok, v, err, want)
			}
		}
	}
	same := record.Token{First: 1, Last: 3, Hash: record.Hash{9}}
	if _, err := deliver(same, true); !fault.Is(err, fault.Conflict) {
		t.Errorf("other content in the same bounds: got %v, want a conflict", err)
	}
	got, err := f.spots()
	if diff := sinktest.Difference(append(slices.Clone(spots[:30]), spots[35:60]...), got); diff != "" || err != nil {
		t.Errorf("stored rows: %s %v", diff, err)
	}
}

func TestOneFileForSeveralSinks(t *testing.T) {
	f := newFile(t)
	s, _ := notes()
	one, two := prepared(t, f, Config{}, s), prepared(t, f, Config{Table: "other"}, s)
	d := noteOf(t, 1, 1, "word")
	other := d
	other.Token.Job = "another job"
	for range 2 {
		write(t, one, d)
		write(t, two, d)
		write(t, one, other)
	}
	const both = "SELECT (SELECT count(*) FROM spots) * 10 + (SELECT count(*) FROM other)"
	if got := f.count(t, both); got != 21 {
		t.Errorf("got %d, want 2 rows in spots and 1 in other", got)
	}
}

func TestOtherContentUnderTheSameKey(t *testing.T) {
	f := newFile(t)
	sink := prepared(t, f, Config{}, sinktest.Schema())
	spots := sinktest.Spots(1, 0, 200)
	deliver := func(n uint64, spots []sinktest.Spot) connector.Verdict {
		return write(t, sink, connector.Delivery{Schema: sinktest.Schema(), Rows: sinktest.Batch(spots),
			Token: record.Token{Job: "spots", First: n, Last: n, Hash: record.Hash{byte(n)}}})
	}
	deliver(1, spots)
	changed := append(slices.Clone(spots[100:]), sinktest.Spots(2, 5000, 60)...)
	changed[3].SNR++
	changed[3].Version = "other"
	changed = append(changed, changed[120], changed[121]) // twice in one delivery
	changed[len(changed)-1].RxLat++
	v := deliver(2, changed)
	if v.Present != 100 || len(v.Rejected) != 2 {
		t.Fatalf("got %d present and %d rejected, want 100 and 2: %+v", v.Present, len(v.Rejected), v)
	}
	for i, want := range []connector.RowFault{
		{Row: 3, Reason: "the same id; it differs in snr, version"},
		{Row: len(changed) - 1, Reason: "the same id; it differs in rx_lat"},
	} {
		if got := v.Rejected[i]; got.Row != want.Row || !strings.Contains(got.Reason, want.Reason) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	got, err := f.spots()
	if diff := sinktest.Difference(append(spots, changed[100:160]...), got); diff != "" || err != nil {
		t.Errorf("stored rows: %s %v", diff, err)
	}
}
