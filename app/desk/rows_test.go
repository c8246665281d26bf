package desk

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/app/datadir"
	"holdfast/base/record"
	"holdfast/base/rowfile"
	"holdfast/kernel/engine"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

var (
	timedFields = []arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Uint64},
		{Name: "at", Type: &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}}}
	timed      = record.NewSchema(timedFields, "id", "at")
	timedMore  = record.NewSchema(append(timedFields, arrow.Field{Name: "more", Type: arrow.BinaryTypes.String}), "id", "at")
	epoch      = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rowsApart  = 400 * time.Millisecond
	blockOfSix = 6
)

// desk6 is the desk of a job at rest, with blocks of six rows, 400 ms apart; the last one has another column.
func desk6(t testing.TB, blocks int) *Desk {
	t.Helper()
	dir := t.TempDir()
	st, err := store.Open(engine.JobDir(dir, "j"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sp, err := spool.Open(st, "j")
	if err == nil {
		_, err = sp.Sink("main")
	}
	if err != nil {
		t.Fatal(err)
	}
	for n := range blocks {
		s := timed
		if n == blocks-1 {
			s = timedMore
		}
		b := array.NewRecordBuilder(memory.DefaultAllocator, s.Schema)
		for i := range blockOfSix {
			row := n*blockOfSix + i
			b.Field(0).(*array.Uint64Builder).Append(uint64(row))
			b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(
				epoch.Add(time.Duration(row) * rowsApart).UnixMilli()))
			if s.Schema == timedMore.Schema {
				b.Field(2).(*array.StringBuilder).Append("x")
			}
		}
		block, err := spool.Build(1, s, b.NewRecordBatch(), nil)
		if err == nil {
			err = st.Update(func(tx *store.Tx) error { _, err := sp.Append(tx, block); return err })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := Open(datadir.Place{Dir: dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func idsOf(t *testing.T, d *Desk, sel Selection, max int64) (ids []int, out Shown) {
	t.Helper()
	var text bytes.Buffer
	out, err := d.Cat(t.Context(), "j", sel, rowfile.Options{Format: rowfile.JSONL}, max, &text)
	if err != nil {
		t.Fatal(err)
	}
	for dec := json.NewDecoder(&text); dec.More(); {
		var row struct{ ID int }
		if err := dec.Decode(&row); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, row.ID)
	}
	return ids, out
}

// TestCatIsExactToTheRow holds every range of times against the rows' own, within seconds too, which the heads
// of blocks do not tell.
func TestCatIsExactToTheRow(t *testing.T) {
	d := desk6(t, 5)
	const rows = 30
	for from := -1; from <= rows; from += 3 {
		for to := from + 1; to <= rows+1; to += 4 {
			sel := Selection{From: epoch.Add(time.Duration(from) * rowsApart),
				To: epoch.Add(time.Duration(to) * rowsApart)}
			ids, out := idsOf(t, d, sel, 0)
			first, n := max(from, 0), min(to, rows)-max(from, 0)
			if len(ids) != max(n, 0) || out.Rows != int64(len(ids)) || n > 0 && (ids[0] != first || ids[n-1] != first+n-1) {
				t.Fatalf("from row %d to row %d: got %v (%+v)", from, to, ids, out)
			}
		}
	}
	if ids, _ := idsOf(t, d, Selection{First: 2, Last: 3}, 8); len(ids) != 8 || ids[0] != 6 {
		t.Errorf("8 rows from block 2 on: got %v", ids)
	}
	if ids, _ := idsOf(t, d, Selection{Sink: "main"}, 0); len(ids) != rows {
		t.Errorf("what main has not got: %d rows, want all", len(ids))
	}
}

// TestCatJoinsColumns: a CSV has the columns of all blocks, and a row that came without one has it empty.
func TestCatJoinsColumns(t *testing.T) {
	var text bytes.Buffer
	if _, err := desk6(t, 2).Cat(t.Context(), "j", Selection{}, rowfile.Options{Format: rowfile.CSV}, 0, &text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"id,at,more\n", "\n0,2026-01-01T00:00:00Z,\n", "\n6,2026-01-01T00:00:02.4Z,x\n"} {
		if !bytes.Contains(text.Bytes(), []byte(want)) {
			t.Errorf("want %q in %s", want, &text)
		}
	}
}

// breaks is a writer that fails after some bytes.
type breaks struct{ left int }

func (b *breaks) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

// TestCatEndsWithItsReader: who reads and goes away ends the work, and leaves no goroutine.
func TestCatEndsWithItsReader(t *testing.T) {
	d := desk6(t, 200)
	for _, f := range rowfile.Formats {
		_, err := d.Cat(t.Context(), "j", Selection{}, rowfile.Options{Format: f}, 0, &breaks{100})
		if err == nil {
			t.Errorf("%s: it went on", f)
		}
	}
}

// TestStatsOfARange adds up what lies in it; without one it is what the store keeps.
func TestStatsOfARange(t *testing.T) {
	d := desk6(t, 5)
	all, err := d.Stats(t.Context(), "j", Selection{})
	if err != nil || all.Rows != 30 || all.RawBytes <= all.Bytes || !all.Begin.Equal(epoch) {
		t.Errorf("got %+v %v", all, err)
	}
	some, err := d.Stats(t.Context(), "j", Selection{First: 2, Last: 3})
	if err != nil || some.Rows != 12 || some.Blocks != 2 || !some.Begin.Equal(epoch.Add(2*time.Second)) {
		t.Errorf("got %+v %v, want the 12 rows of two blocks", some, err)
	}
}
