package influxdb

import (
	"fmt"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"golang.org/x/sync/errgroup"

	"holdfast/base/record"
	"holdfast/connector"
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
	c := weatherConfig("localhost").WithDefaults()
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

// BenchmarkWrite writes hours of weather to a real server: one as the sink does, the next as lines that
// were made beforehand and are posted straight by the same client, and so on. Both are in the same run,
// because a server's speed changes with what it compacts and with what else the machine does.
func BenchmarkWrite(b *testing.B) {
	for _, compression := range []string{packGzip, packNone} {
		b.Run(compression, func(b *testing.B) {
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
			var took [2]time.Duration // by the sink, and straight
			hour := 0
			write := func(straight int) {
				b.StopTimer()
				hour++
				schema, rows := weather(hour)
				write := func() error { _, err := s.Write(b.Context(), delivery(schema, rows)); return err }
				if straight == 1 {
					write = s.beforehand(b, schema, rows)
				}
				b.StartTimer()
				begun := time.Now()
				if err := write(); err != nil {
					b.Fatal(err)
				}
				took[straight] += time.Since(begun)
			}
			for b.Loop() {
				first := hour / 2 % 2 // the one and the other by turns
				write(first)
				write(1 - first)
			}
			b.ReportMetric(float64(b.N)*hourRows/took[0].Seconds(), "rows/s")
			b.ReportMetric(float64(b.N)*hourRows/took[1].Seconds(), "rows/s-straight")
			b.ReportMetric(took[1].Seconds()/took[0].Seconds(), "of-straight")
			b.ReportMetric(0, "ns/op")
		})
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
			g.Go(func() error { return (&writing{Sink: s}).settle(b.Context(), l) })
		}
		return g.Wait()
	}
}

// reportOf is a report of an hour: rows of a zip code and its state. A tenth of the zip codes are others in
// each edition.
func reportOf(rows, hour, revision, edition int) (record.Schema, arrow.RecordBatch) {
	fields := []arrow.Field{{Name: "time", Type: arrow.FixedWidthTypes.Timestamp_s},
		{Name: "state", Type: arrow.BinaryTypes.String}, {Name: "zip_code", Type: arrow.BinaryTypes.String},
		{Name: "hour", Type: arrow.BinaryTypes.String}, {Name: "revision", Type: arrow.PrimitiveTypes.Int64}}
	for i := range 8 {
		fields = append(fields, arrow.Field{Name: fmt.Sprintf("value_%02d", i), Type: arrow.PrimitiveTypes.Float64})
	}
	schema := record.NewSchema(fields, "", "time")
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema.Schema)
	for row := range rows {
		zip := row * 100
		if row%10 == 0 {
			zip += edition
		}
		b.Field(0).(*array.TimestampBuilder).Append(arrow.Timestamp(1695081600 + 3600*hour))
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("State %d", row%50))
		b.Field(2).(*array.StringBuilder).Append(fmt.Sprintf("%05d", zip))
		b.Field(3).(*array.StringBuilder).Append(fmt.Sprintf("%02d", hour%24))
		b.Field(4).(*array.Int64Builder).Append(int64(revision))
		for i := range 8 {
			b.Field(5 + i).(*array.Float64Builder).Append(float64((row*7+i*13+hour+revision)%1000) / 10)
		}
	}
	return schema, b.NewRecordBatch()
}

// BenchmarkReplace writes two reports an hour, of 50 and of 400 points: at first; and a second revision, of
// which all points are written over the first, or a tenth of the 400 are others.
func BenchmarkReplace(b *testing.B) {
	for _, c := range []struct {
		name              string
		revision, edition int
	}{{"first", 1, 1}, {"second/same", 2, 1}, {"second/others", 2, 2}} {
		b.Run(c.name, func(b *testing.B) {
			addr := testenv.Influx(b, "").Addr()
			open := func(measurement string, tags ...string) *Sink {
				s, err := New(Config{URL: "http://" + addr, Database: "weather", Measurement: measurement, Username: "admin",
					Password: "geheim123", Create: true, Tags: tags, Precision: "s", Unique: true, Replace: "revision"})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = s.Close() })
				return s
			}
			averages, extremes := open("averages", "state", "hour"), open("extremes", "zip_code", "state", "hour")
			write := func(s *Sink, rows, hour, revision, edition int) {
				if _, err := s.Write(b.Context(), delivery(reportOf(rows, hour, revision, edition))); err != nil {
					b.Fatal(err)
				}
			}
			hour := 0
			for b.Loop() {
				b.StopTimer()
				hour++
				if c.revision > 1 || hour == 1 { // the first write of all asks for what is there
					write(averages, 50, hour, 1, 1)
					write(extremes, 400, hour, 1, 1)
					hour += 2 - c.revision
				}
				b.StartTimer()
				write(averages, 50, hour, c.revision, 1)
				write(extremes, 400, hour, c.revision, c.edition)
			}
		})
	}
}

// BenchmarkTables reads an hour of weather back, of two: six columns of it, with and without knowing of a
// field that is in every point, and its newest time.
func BenchmarkTables(b *testing.B) {
	c := weatherConfig(testenv.Influx(b, "").Addr())
	s, err := New(c)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for hour := range 2 {
		if _, err := s.Write(b.Context(), delivery(weather(hour))); err != nil {
			b.Fatal(err)
		}
	}
	q := connector.TableQuery{Table: c.Measurement, Time: "time", From: time.Unix(1695081600, 0), To: time.Unix(1695085200, 0),
		Columns: []string{"zip_code", "state", "value_00", "value_01", "value_02", "value_03"}}
	for _, always := range [][]string{{"value_00"}, nil} {
		tables, err := OpenTables(c, always...)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("rows/knowing=%v", always != nil), func(b *testing.B) {
			for b.Loop() {
				n := 0
				if err := tables.Rows(b.Context(), q, func([]any) error { n++; return nil }); err != nil || n != hourRows {
					b.Fatal(n, err)
				}
			}
			b.ReportMetric(float64(b.N)*hourRows/b.Elapsed().Seconds(), "rows/s")
		})
		b.Run(fmt.Sprintf("newest/knowing=%v", always != nil), func(b *testing.B) {
			for b.Loop() {
				if _, ok, err := tables.Newest(b.Context(), q); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
		_ = tables.Close()
	}
}
