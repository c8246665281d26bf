package rowfile

import (
	"bytes"
	"math"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"holdfast/base/fault"
	"holdfast/base/rowtext"
)

var (
	narrow = arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Uint64},
		{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_s},
	}, nil)
	wide = arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Uint64},
		{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_s},
		{Name: "word", Type: arrow.BinaryTypes.String},
		{Name: "level", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	}, nil)
)

func batch(s *arrow.Schema, from, n int) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, s)
	for i := from; i < from+n; i++ {
		b.Field(0).(*array.Uint64Builder).Append(uint64(i))
		b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(i))
		if s == narrow {
			continue
		}
		b.Field(2).(*array.StringBuilder).Append("a \"b\", c")
		if i%2 == 0 {
			b.Field(3).AppendNull()
		} else {
			b.Field(3).(*array.Float64Builder).Append(math.Inf(1))
		}
	}
	return b.NewRecordBatch()
}

func written(t *testing.T, s *arrow.Schema, o Options, all ...arrow.RecordBatch) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := New(&out, s, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, rows := range all {
		if err := w.Write(rows); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestParquetHoldsEveryRow: over several row groups, whatever the number of workers, with the columns that
// only some of the rows came with.
func TestParquetHoldsEveryRow(t *testing.T) {
	s, err := Union([]*arrow.Schema{narrow, wide})
	if err != nil {
		t.Fatal(err)
	}
	const n = groupRows*2 + 1000
	for _, workers := range []int{1, 3} {
		b := written(t, s, Options{Format: Parquet, Pack: Snappy, Workers: workers},
			Fit(batch(narrow, 0, 10), s), Fit(batch(wide, 10, n), s))
		tbl, err := pqarrow.ReadTable(t.Context(), bytes.NewReader(b), parquet.NewReaderProperties(nil),
			pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
		if err != nil {
			t.Fatal(err)
		}
		if tbl.NumRows() != n+10 || !tbl.Schema().Field(2).Nullable || tbl.Schema().Field(0).Nullable {
			t.Fatalf("got %d rows of %s, want %d", tbl.NumRows(), tbl.Schema(), n+10)
		}
		next, row := uint64(0), 0
		words := tbl.Column(2).Data()
		for _, chunk := range tbl.Column(0).Data().Chunks() {
			for _, v := range chunk.(*array.Uint64).Uint64Values() {
				if v != next {
					t.Fatalf("row %d: got id %d, want %d", row, v, next)
				}
				next, row = next+1, row+1
			}
		}
		if words.NullN() != 10 {
			t.Errorf("got %d rows without a word, want the 10 that came without", words.NullN())
		}
	}
}

func TestText(t *testing.T) {
	rows := batch(wide, 1, 2)
	got := string(written(t, wide, Options{Format: JSONL, Mode: rowtext.Near}, rows))
	want := `{"id":1,"at":"1970-01-01T00:00:01Z","word":"a \"b\", c","level":null}` + "\n" +
		`{"id":2,"at":"1970-01-01T00:00:02Z","word":"a \"b\", c","level":null}` + "\n"
	if got != want {
		t.Errorf("jsonl: got %s, want %s", got, want)
	}
	got = string(written(t, wide, Options{Format: CSV, Mode: rowtext.Near}, rows))
	want = "id,at,word,level\n1,1970-01-01T00:00:01Z,\"a \"\"b\"\", c\",+Inf\n" +
		"2,1970-01-01T00:00:02Z,\"a \"\"b\"\", c\",\n"
	if got != want {
		t.Errorf("csv: got %q, want %q", got, want)
	}
	if got := string(written(t, wide, Options{Format: CSV})); got != "id,at,word,level\n" {
		t.Errorf("csv without rows: got %q, want its names", got)
	}
	w, err := New(new(bytes.Buffer), wide, Options{Format: JSONL})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(rows); !fault.Is(err, fault.Invalid) {
		t.Errorf("exactly: got %v, want the number that is not finite refused", err)
	}
}

func TestUnionTellsWhatDoesNotFit(t *testing.T) {
	other := arrow.NewSchema([]arrow.Field{{Name: "word", Type: arrow.PrimitiveTypes.Int64}}, nil)
	if _, err := Union([]*arrow.Schema{wide, other}); !fault.Is(err, fault.Conflict) || fault.HintOf(err) == "" {
		t.Errorf("got %v, want a conflict with a hint", err)
	}
	nested := arrow.NewSchema([]arrow.Field{{Name: "l", Type: arrow.ListOf(arrow.PrimitiveTypes.Int64)}}, nil)
	for _, f := range Formats {
		if _, err := New(new(bytes.Buffer), nested, Options{Format: f}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want the list refused", f, err)
		}
	}
}

// TestNullsWhereNoneMayBe are an error that names the column, and not a file without them.
func TestNullsWhereNoneMayBe(t *testing.T) {
	s := arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, s)
	b.Field(0).AppendNull()
	w, err := New(new(bytes.Buffer), s, Options{Format: Parquet})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(b.NewRecordBatch()); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v, want it invalid", err)
	}
	if w.Close() == nil {
		t.Error("the file was closed as if it were whole")
	}
}
