package sqlite

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/rowkey"
	"holdfast/connector/tabletest"
)

// hourly is the schema of an hour of weather: 37 columns, no key of its own.
func hourly() record.Schema {
	fields := []arrow.Field{{Name: "time", Type: arrow.FixedWidthTypes.Timestamp_s},
		{Name: "zip_code", Type: arrow.BinaryTypes.String}, {Name: "state", Type: arrow.BinaryTypes.String},
		{Name: "name", Type: arrow.BinaryTypes.String}}
	for i := len(fields); i < 37; i++ {
		fields = append(fields, arrow.Field{Name: fmt.Sprintf("value_%d", i), Type: arrow.PrimitiveTypes.Float64})
	}
	return record.NewSchema(fields, "", "time")
}

// hour is the n-th hour of 44,000 places, which come in no order.
func hour(schema record.Schema, n int) arrow.RecordBatch {
	const places = 44_000
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema.Schema)
	for i := range places {
		zip := i * 7919 % places * 2
		b.Field(0).(*array.TimestampBuilder).Append(arrow.Timestamp(1_700_000_000/3600*3600 + n*3600))
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("%05d", zip))
		b.Field(2).(*array.StringBuilder).Append(fmt.Sprintf("State of %d", zip/2000))
		b.Field(3).(*array.StringBuilder).Append(fmt.Sprintf("Town %d", zip))
		for c := 4; c < schema.NumFields(); c++ {
			b.Field(c).(*array.Float64Builder).Append(float64(i*c+n) / 7)
		}
	}
	return b.NewRecordBatch()
}

// BenchmarkHours writes hours of weather, each a delivery, with and without a key.
func BenchmarkHours(b *testing.B) {
	for _, key := range [][]string{nil, {"zip_code", "state", "time"}} {
		b.Run(fmt.Sprintf("key %v", key), func(b *testing.B) {
			f := newFile(b)
			schema := hourly()
			sink := prepared(b, f, Config{Key: key}, schema)
			var spent time.Duration
			rows, n := 0, 0
			for b.Loop() {
				b.StopTimer()
				n++
				d := connector.Delivery{Schema: schema, Rows: hour(schema, n),
					Token: record.Token{First: uint64(n), Last: uint64(n)}}
				rows += int(d.Rows.NumRows())
				b.StartTimer()
				begun := time.Now()
				write(b, sink, d)
				spent += time.Since(begun)
			}
			b.ReportMetric(float64(rows)/spent.Seconds(), "rows/s")
		})
	}
}

// TestCreatedKey: the key of a created table stands in the order in which its rows come, and holds no nulls.
func TestCreatedKey(t *testing.T) {
	schema := record.NewSchema([]arrow.Field{
		{Name: "state", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
		{Name: "done", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
		{Name: "revision", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
	}, "", "at")
	key, err := rowkey.Spec{Key: []string{"state", "at"}, Replace: "revision"}.Of(schema)
	want := `CREATE TABLE "reports" (
  "state" TEXT NOT NULL,
  "at" INTEGER MICROSECONDS NOT NULL,
  "done" INTEGER BOOLEAN,
  "revision" INTEGER NOT NULL,
  PRIMARY KEY ("at", "state")
)`
	if got := key.CreateTable(quote("reports"), quote, declared); got != want || err != nil {
		t.Errorf("got %s %v, want %s", got, err, want)
	}
}

// TestTableRefusesARevision: a row that the table alone refuses replaces nothing, whatever else its
// delivery has.
func TestTableRefusesARevision(t *testing.T) {
	f := newFile(t)
	cfg := Config{Table: "weather", Key: tabletest.Keys, Replace: "revision"}
	sink := prepared(t, f, cfg, tabletest.Schema())
	for _, ddl := range []string{
		"CREATE TRIGGER ignore BEFORE INSERT ON weather WHEN new.temp_c = 1 BEGIN SELECT RAISE(IGNORE); END",
		"CREATE TRIGGER abort BEFORE INSERT ON weather WHEN new.temp_c = 2 BEGIN SELECT RAISE(ABORT, 'no'); END"} {
		if _, err := f.db.Exec(ddl); err != nil {
			t.Fatal(err)
		}
	}
	block := uint64(0)
	put := func(rows ...tabletest.Row) connector.Verdict {
		block++
		return write(t, sink, connector.Delivery{Schema: tabletest.Schema(), Rows: tabletest.Batch(rows),
			Token: record.Token{First: block, Last: block}})
	}
	row := func(at int64, zip string, revision int64, temp float64) tabletest.Row {
		return tabletest.Row{Time: at, ZipCode: zip, State: "x", Revision: revision, TempC: temp}
	}
	put(row(1, "a", 3, 0), row(1, "b", 3, 0), row(2, "a", 1, 0), row(3, "a", 1, 0))
	v := put(row(1, "a", 5, 1), row(1, "b", 4, 2), row(2, "a", 9, 1), row(2, "b", 9, 0), row(3, "a", 2, 2),
		row(3, "b", 1, 0))
	var refused []int
	for _, r := range v.Rejected {
		refused = append(refused, r.Row)
	}
	if !slices.Equal(refused, []int{0, 1, 2, 4}) || v.Present != 0 {
		t.Errorf("got %+v, want rows 0, 1, 2 and 4 refused", v)
	}
	got := ""
	err := f.db.QueryRow(`SELECT group_concat(time || zip_code || revision, ' ') FROM (SELECT * FROM weather
		ORDER BY time, zip_code)`).Scan(&got)
	if want := "1a3 1b3 2b9 3a1 3b1"; got != want || err != nil {
		t.Errorf("the table holds %s %v, want %s", got, err, want)
	}
}
