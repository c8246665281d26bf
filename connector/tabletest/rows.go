package tabletest

import (
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/record"
)

// Row is one observation of the weather.
type Row struct {
	Time     int64 // Unix seconds
	ZipCode  string
	State    string
	TempC    float64
	Humidity int64
	Revision int64
	Complete bool
	Name     string // "" is null
}

// Columns are the names of a row's columns, in the order of Schema.
var Columns = []string{"time", "zip_code", "state", "temp_c", "humidity", "revision", "complete", "name"}

// Keys are the columns that tell rows apart.
var Keys = []string{"zip_code", "state", "time"}

// Schema is that of the rows. It has no key column of its own.
func Schema() record.Schema {
	return record.NewSchema([]arrow.Field{
		{Name: "time", Type: arrow.FixedWidthTypes.Timestamp_s},
		{Name: "zip_code", Type: arrow.BinaryTypes.String},
		{Name: "state", Type: arrow.BinaryTypes.String},
		{Name: "temp_c", Type: arrow.PrimitiveTypes.Float64},
		{Name: "humidity", Type: arrow.PrimitiveTypes.Int64},
		{Name: "revision", Type: arrow.PrimitiveTypes.Int64},
		{Name: "complete", Type: arrow.FixedWidthTypes.Boolean},
		{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
	}, "", "time")
}

// Batch makes rows a batch of Schema.
func Batch(rows []Row) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, Schema().Schema)
	for _, r := range rows {
		b.Field(0).(*array.TimestampBuilder).Append(arrow.Timestamp(r.Time))
		b.Field(1).(*array.StringBuilder).Append(r.ZipCode)
		b.Field(2).(*array.StringBuilder).Append(r.State)
		b.Field(3).(*array.Float64Builder).Append(r.TempC)
		b.Field(4).(*array.Int64Builder).Append(r.Humidity)
		b.Field(5).(*array.Int64Builder).Append(r.Revision)
		b.Field(6).(*array.BooleanBuilder).Append(r.Complete)
		if name := b.Field(7).(*array.StringBuilder); r.Name == "" {
			name.AppendNull()
		} else {
			name.Append(r.Name)
		}
	}
	return b.NewRecordBatch()
}

// values returns what a reader gives for some columns of a row; nil for a column that there is not.
func (r Row) values(columns []string) []any {
	all := map[string]any{"time": time.Unix(r.Time, 0).UTC(), "zip_code": r.ZipCode, "state": r.State,
		"temp_c": r.TempC, "humidity": r.Humidity, "revision": r.Revision, "complete": r.Complete}
	if r.Name != "" {
		all["name"] = r.Name
	}
	out := make([]any, len(columns))
	for i, name := range columns {
		out[i] = all[name]
	}
	return out
}

// noon is a time at which the rows begin.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// hours returns n rows, each an hour after the one before, of two states in turn.
func hours(n int) []Row {
	rows := make([]Row, n)
	for i := range rows {
		rows[i] = Row{Time: noon.Unix() + int64(i)*3600, ZipCode: "99950", State: [2]string{"Alaska", "Texas"}[i%2],
			TempC: float64(i) + 0.25, Humidity: int64(i), Revision: 1, Complete: i%3 == 0, Name: "Ketchikan"}
	}
	return rows
}
