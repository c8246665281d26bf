package influxdb

import (
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"golang.org/x/sync/errgroup"

	"holdfast/base/record"
	"holdfast/tests/testenv"
)

// hourRows is how many rows an hour of the weather data has.
const hourRows = 44_000

// weather is one hour of rows in the shape of the weather data: zip code and state, 31 numbers.
func weather(hour int) (record.Schema, arrow.RecordBatch) {
	fields := []arrow.Field{{Name: "time", Type: arrow.FixedWidthTypes.Timestamp_s},
		{Name: "zip_code", Type: arrow.BinaryTypes.String}, {Name: "state", Type: arrow.BinaryTypes.String}}
	for i := range 31 {
		fields = append(fields, arrow.Field{Name: fmt.Sprintf("value_%02d", i), Type: arrow.PrimitiveTypes.Float64})
	}
	schema := record.NewSchema(fields, "", "time")
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema.Schema)
	for row := range hourRows {
		b.Field(0).(*array.TimestampBuilder).Append(arrow.Timestamp(1695081600 + 3600*hour))
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("%05d", row))
		b.Field(2).(*array.StringBuilder).Append(fmt.Sprintf("State %d", row%50))
		for i := range 31 {
			b.Field(3 + i).(*array.Float64Builder).Append(float64((row*7+i*13+hour)%1000) / 10)
		}
	}
	return schema, b.NewRecordBatch()
}

func weatherConfig(addr string) Config {
	return Config{URL: "http://" + addr, Database: "weather", Measurement: "weather_data", Username: "admin",
		Password: "geheim123", Create: true, Tags: []string{"zip_code", "state"}, Precision: "s", Unique: true}
}

// BenchmarkEncode turns an hour of weather into lines.
func BenchmarkEncode(b *testing.B) {
	schema, rows := weather(0)
	c := weatherConfig("localhost").withDefaults()
	m, err := c.mappingOf(schema)
	if err != nil {
		b.Fatal(err)
	}
	bytes := 0
	for b.Loop() {
		bytes = 0
		if _, err := c.writer(m, rows).encode(hourRows, nil, func(l lines) error {
			bytes += len(l.text)
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*hourRows/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(bytes)/hourRows, "bytes/row")
}

// BenchmarkWrite writes an hour of weather after the other to a real server: as the sink does, and, beside
// it, the same lines made beforehand and posted straight by the same client.
func BenchmarkWrite(b *testing.B) {
	for _, compression := range []string{packGzip, packNone} {
		for _, straight := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/straight=%v", compression, straight), func(b *testing.B) {
				c := weatherConfig(testenv.Influx(b, "").Addr())
				c.Compression = compression
				s, err := New(c)
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				schema, rows := weather(0) // the series are there before the clock runs
				if _, err := s.Write(b.Context(), delivery(schema, rows)); err != nil {
					b.Fatal(err)
				}
				hour := 0
				for b.Loop() {
					b.StopTimer()
					hour++
					schema, rows := weather(hour)
					write := func() error { _, err := s.Write(b.Context(), delivery(schema, rows)); return err }
					if straight {
						write = s.beforehand(b, schema, rows)
					}
					b.StartTimer()
					if err := write(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)*hourRows/b.Elapsed().Seconds(), "rows/s")
			})
		}
	}
}

// beforehand makes the lines of rows, and returns what posts them.
func (s *Sink) beforehand(b *testing.B, schema record.Schema, rows arrow.RecordBatch) func() error {
	b.Helper()
	m, err := s.cfg.mappingOf(schema)
	if err != nil {
		b.Fatal(err)
	}
	var all []lines
	if _, err := s.cfg.writer(m, rows).encode(hourRows, nil, func(l lines) error {
		all = append(all, l)
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	return func() error {
		var g errgroup.Group
		g.SetLimit(parallel)
		for _, l := range all {
			g.Go(func() error { return s.post(b.Context(), l.text, s.precision()) })
		}
		return g.Wait()
	}
}
