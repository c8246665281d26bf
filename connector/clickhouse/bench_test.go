package clickhouse

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"holdfast/connector"
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

// BenchmarkRead asks a big table: go test -run '^$' -bench Read -benchtime 1x ./connector/clickhouse
// with HOLDFAST_BENCH_ROWS=100000000 for the size of 100 million (10 million by default).
func BenchmarkRead(b *testing.B) {
	rows := uint64(10_000_000)
	if v, err := strconv.ParseUint(os.Getenv("HOLDFAST_BENCH_ROWS"), 10, 64); err == nil {
		rows = v
	}
	ch := testenv.ClickHouse(b)
	s := open(b, ch.URL(), func(c *Config) { c.Timeout = time.Minute })
	prepare(b, s)
	const first, start, chunk = 5_000_000_000, 1_700_000_000, 10_000_000
	for from := uint64(0); from < rows; from += chunk {
		ch.Query(b, fmt.Sprintf("INSERT INTO wsprnet.spots (id, time, band) SELECT number + %d, "+
			"toDateTime(%d) + intDiv(number, 80), number %% 11 FROM (SELECT number + %d AS number FROM "+
			"system.numbers LIMIT %d)", first, start, from, min(chunk, rows-from)))
	}
	r := connector.KeyRange{To: 1<<64 - 1}
	b.Run("highest", func(b *testing.B) {
		for b.Loop() {
			if k, _, err := s.Highest(soon(b)); err != nil || k != first+rows-1 {
				b.Fatal(k, err)
			}
		}
	})
	b.Run("tally", func(b *testing.B) {
		for b.Loop() {
			if got, err := s.Tally(b.Context(), r); err != nil || got.Distinct != rows {
				b.Fatal(got, err)
			}
		}
	})
	b.Run("keys", func(b *testing.B) {
		for b.Loop() {
			n := uint64(0)
			err := s.Keys(b.Context(), r, func(_, rows uint64) error { n += rows; return nil })
			if err != nil || n != rows {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("a block by key", func(b *testing.B) {
		const n = 100_000
		at := rows / 2
		d := delivery(b, 1, spotsOf(n, func(i int) (uint64, int64) {
			k := at + uint64(i)
			return first + k, start + int64(k/80)
		}))
		d.ByKey = true
		b.ResetTimer()
		for b.Loop() {
			if v := write(b, s, d); v.Present != n {
				b.Fatal(v.Present)
			}
		}
	})
}
