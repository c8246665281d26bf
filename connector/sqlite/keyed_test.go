package sqlite

import (
	"fmt"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/record"
	"holdfast/connector"
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
