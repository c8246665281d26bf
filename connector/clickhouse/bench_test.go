package clickhouse

import (
	"testing"

	"holdfast/tests/testenv"
)

// BenchmarkWrite is the rows a second that one Write after another takes into 18.16, in blocks of
// 100,000: go test -run '^$' -bench Write ./connector/clickhouse
func BenchmarkWrite(b *testing.B) {
	for _, method := range []string{"lz4", "zstd", "none"} {
		b.Run(method, func(b *testing.B) {
			ch := testenv.ClickHouse(b)
			s := open(b, ch.URL(), func(c *Config) { c.Compression = method })
			prepare(b, s)
			const rows = 100_000
			d := delivery(b, 1, spotBatch(1, noon, rows))
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				d.Token.First++
				write(b, s, d)
			}
			b.ReportMetric(float64(b.N)*rows/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkEncode is the client's part alone.
func BenchmarkEncode(b *testing.B) {
	for _, method := range []string{"lz4", "zstd", "none"} {
		b.Run(method, func(b *testing.B) {
			const rows = 100_000
			batch := spotBatch(1, noon, rows)
			tab := &table{name: "t", engine: "MergeTree"}
			for _, f := range spots.Fields() {
				kind, _ := typeFor(f.Type, false, false)
				tab.columns = append(tab.columns, tableColumn{f.Name, kind, ""})
			}
			m, err := tab.fit(spots)
			if err != nil {
				b.Fatal(err)
			}
			tool, sent := newEncoder(method), 0
			b.ReportAllocs()
			for b.Loop() {
				w := &writing{m: m}
				w.d.Rows = batch
				sent = drain(b, w.native(nil), rows, tool)
			}
			b.ReportMetric(float64(b.N)*rows/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(float64(sent)/rows, "bytes/row")
		})
	}
}
