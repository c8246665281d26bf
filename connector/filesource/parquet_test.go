package filesource

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"holdfast/base/rowtext"
	"holdfast/connector"
	"holdfast/connector/columns"
)

// putParquet writes a file of one column "v" beside an id.
func putParquet(t *testing.T, path string, typ arrow.DataType, fill func(b array.Builder)) {
	t.Helper()
	values := array.NewBuilder(memory.DefaultAllocator, typ)
	fill(values)
	col := values.NewArray()
	ids := array.NewInt64Builder(memory.DefaultAllocator)
	for i := range col.Len() {
		ids.Append(int64(i + 1))
	}
	s := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "v", Type: typ, Nullable: true}}, nil)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := pqarrow.NewFileWriter(s, f, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
	if err == nil {
		err = w.Write(array.NewRecordBatch(s, []arrow.Array{ids.NewArray(), col}, int64(col.Len())))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestParquetValues: values of Parquet's own types are those of a column, or dead letters that say what they were, with
// file and row, beside which the others go on.
func TestParquetValues(t *testing.T) {
	at := time.Date(2023, 9, 19, 7, 30, 15, 123_456_000, time.UTC)
	days := int32(at.Unix() / dayLength)
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	spring := time.Date(2023, 3, 26, 2, 30, 0, 0, time.UTC) // which clocks in Berlin did not show
	fixed := &arrow.FixedSizeBinaryType{ByteWidth: 2}
	micros := func(zone string) *arrow.TimestampType {
		return &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: zone}
	}
	for _, c := range []struct {
		what   string
		typ    arrow.DataType
		fill   func(b array.Builder)
		column columns.Column
		zone   *time.Location
		want   []string // values, and what rejects say
	}{
		{"moments", micros("UTC"), func(b array.Builder) {
			b.(*array.TimestampBuilder).AppendValues([]arrow.Timestamp{arrow.Timestamp(at.UnixMicro()), math.MaxInt64}, nil)
		}, columns.Column{Type: columns.Time, Format: "2006-01-02 15:04"}, berlin,
			[]string{`"2023-09-19T07:30:15.123456Z"`, "row 2 of FILE: column v: is a time that is not in the years 1 to 9999, want a time"}},
		{"clocks", micros(""), func(b array.Builder) {
			b.(*array.TimestampBuilder).AppendValues([]arrow.Timestamp{arrow.Timestamp(at.UnixMicro()), arrow.Timestamp(spring.UnixMicro())}, nil)
		}, columns.Column{Type: columns.Time}, berlin, []string{`"2023-09-19T05:30:15.123456Z"`,
			"row 2 of FILE: column v: is 2023-03-26T02:30:00, a time that there is not in Europe/Berlin"}},
		{"clocks in UTC", &arrow.TimestampType{Unit: arrow.Nanosecond}, func(b array.Builder) {
			b.(*array.TimestampBuilder).Append(arrow.Timestamp(at.UnixNano()))
		}, columns.Column{Type: columns.Time}, nil, []string{`"2023-09-19T07:30:15.123456Z"`}},
		{"dates", arrow.FixedWidthTypes.Date32, func(b array.Builder) {
			b.(*array.Date32Builder).AppendValues([]arrow.Date32{arrow.Date32(days), math.MaxInt32}, nil)
		}, columns.Column{Type: columns.Time}, berlin, []string{`"2023-09-18T22:00:00Z"`, "row 2 of FILE: column v: is a time that is not"}},
		{"times for text", micros("UTC"), func(b array.Builder) { b.(*array.TimestampBuilder).Append(0) },
			columns.Column{Type: columns.Text, Convert: true}, nil, []string{"row 1 of FILE: column v: is a time, want text"}},
		{"times for jq", micros("UTC"), func(b array.Builder) {
			b.(*array.TimestampBuilder).Append(arrow.Timestamp(at.UnixMicro()))
		}, columns.Column{Type: columns.Text, From: ".v[0:10]"}, nil, []string{`"2023-09-19"`}},
		{"floats", arrow.PrimitiveTypes.Float64, func(b array.Builder) {
			b.(*array.Float64Builder).AppendValues([]float64{19.5, math.NaN(), math.Inf(-1), 0.1}, nil)
		}, columns.Column{Type: columns.Float64}, nil, []string{"19.5", "row 2 of FILE: column v: is NaN", "row 3 of FILE: column v: is -Inf", "0.1"}},
		{"small floats", arrow.PrimitiveTypes.Float32, func(b array.Builder) {
			b.(*array.Float32Builder).AppendValues([]float32{19.4, float32(math.NaN())}, nil)
		}, columns.Column{Type: columns.Float64}, nil, []string{"19.4", "row 2 of FILE: column v: is NaN"}},
		{"decimals", &arrow.Decimal128Type{Precision: 10, Scale: 2}, func(b array.Builder) {
			b.(*array.Decimal128Builder).AppendValues([]decimal128.Num{decimal128.FromI64(1940), decimal128.FromI64(-5)}, nil)
		}, columns.Column{Type: columns.Float64}, nil, []string{"19.4", "-0.05"}},
		{"decimals for text", &arrow.Decimal128Type{Precision: 10, Scale: 2}, func(b array.Builder) {
			b.(*array.Decimal128Builder).Append(decimal128.FromI64(1940))
		}, columns.Column{Type: columns.Text}, nil, []string{"row 1 of FILE: column v: is a number, want text"}},
		{"bytes", arrow.BinaryTypes.Binary, func(b array.Builder) {
			for _, v := range []string{"00501", "Zürich", "\xff\xfe", ""} {
				b.(*array.BinaryBuilder).Append([]byte(v))
			}
		}, columns.Column{Type: columns.Text}, nil, []string{`"00501"`, `"Zürich"`,
			"row 3 of FILE: column v: is binary that is no UTF-8, want text", `""`}},
		{"bytes of one size", fixed, func(b array.Builder) {
			b.(*array.FixedSizeBinaryBuilder).Append([]byte("NY"))
			b.(*array.FixedSizeBinaryBuilder).Append([]byte{0xff, 0})
		}, columns.Column{Type: columns.Text}, nil, []string{`"NY"`, "row 2 of FILE: column v: is binary that is no UTF-8"}},
		{"integers", arrow.PrimitiveTypes.Uint64, func(b array.Builder) {
			b.(*array.Uint64Builder).Append(math.MaxUint64)
			b.(*array.Uint64Builder).AppendNull()
		}, columns.Column{Type: columns.Uint64}, nil, []string{"18446744073709551615", "row 2 of FILE: column v: is missing"}},
		{"lists", arrow.ListOf(arrow.PrimitiveTypes.Int8), func(b array.Builder) {
			b.(*array.ListBuilder).Append(true)
			b.(*array.ListBuilder).ValueBuilder().(*array.Int8Builder).AppendValues([]int8{-1, 2}, nil)
		}, columns.Column{Type: columns.JSON}, nil, []string{`"[-1,2]"`}},
		{"bytes for JSON", arrow.BinaryTypes.Binary, func(b array.Builder) { b.(*array.BinaryBuilder).Append([]byte{0xff}) },
			columns.Column{Type: columns.JSON}, nil, []string{"row 1 of FILE: column v: is binary that is no UTF-8"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "data.parquet")
			putParquet(t, path, c.typ, c.fill)
			c.column.Name = "v"
			src, err := OpenSet(Config{Path: path, Format: formatParquet, Zone: c.zone,
				Columns: []columns.Column{{Name: "id", Type: columns.Int64}, c.column}})
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			p, err := src.Fetch(t.Context(), connector.Request{})
			if err != nil {
				t.Fatal(err)
			}
			got := map[int64]string{}
			text := rowtext.Objects(p.Rows, rowtext.Exact)
			for i := range int(p.Rows.NumRows()) {
				row, _ := text.Append(nil, i)
				_, v, _ := strings.Cut(strings.TrimSuffix(string(row), "}"), `"v":`)
				id := p.Rows.Column(0).(*array.Int64).Value(i)
				if got[id] = v; p.Where(i) != fmt.Sprintf("row %d of %s", id, path) {
					t.Errorf("row %d is said to be %s", id, p.Where(i))
				}
			}
			for _, r := range p.Rejected {
				var id int64
				if _, err := fmt.Sscanf(r.Reason, "row %d of", &id); err != nil {
					t.Errorf("a reject says %q", r.Reason)
				}
				if got[id] = strings.ReplaceAll(r.Reason, path, "FILE"); !strings.HasPrefix(string(r.Raw), fmt.Sprintf(`{"id":%d,"v":`, id)) {
					t.Errorf("row %d is kept as %s", id, r.Raw)
				}
			}
			for i, want := range c.want {
				if text := got[int64(i+1)]; text != want && (want[0] != 'r' || !strings.HasPrefix(text, want)) {
					t.Errorf("row %d: got %s, want %s", i+1, text, want)
				}
			}
			if len(got) != len(c.want) {
				t.Errorf("%d rows, want %d", len(got), len(c.want))
			}
		})
	}
}

// TestParquetOddBeside: a column that nobody asked for may be of any type, also where others are kept.
func TestParquetOddBeside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data.parquet")
	putParquet(t, path, arrow.BinaryTypes.Binary, func(b array.Builder) { b.(*array.BinaryBuilder).Append([]byte{0xff}) })
	for extra, want := range map[string][]int64{columns.ExtraDrop: {1, 0}, columns.ExtraKeep: {0, 1}} {
		src, err := OpenSet(Config{Path: path, Format: formatParquet, Extra: extra,
			Columns: []columns.Column{{Name: "id", Type: columns.Int64}}})
		if err != nil {
			t.Fatal(err)
		}
		p, err := src.Fetch(t.Context(), connector.Request{})
		if err != nil {
			t.Fatal(err)
		}
		if got := []int64{p.Rows.NumRows(), int64(len(p.Rejected))}; !slices.Equal(got, want) {
			t.Errorf("%s: %d rows and rejects, want %d: %+v", extra, got, want, p.Rejected)
		}
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
}
