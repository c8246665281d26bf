package clickhouse

import (
	"fmt"
	"testing"

	"holdfast/connector"
	"holdfast/tests/testenv"
)

// BenchmarkSource reads spots of 20 columns, by time and key.
func BenchmarkSource(b *testing.B) {
	const rows = 500_000
	ch := testenv.ModernClickHouse(b)
	ch.Query(b, "CREATE TABLE default.rx (id UInt64, time DateTime, band Int16, rx_sign String, rx_lat Float32, "+
		"rx_lon Float32, rx_loc String, tx_sign String, tx_lat Float32, tx_lon Float32, tx_loc String, distance UInt16, "+
		"azimuth UInt16, rx_azimuth UInt16, frequency UInt64, power Int8, snr Int8, drift Int8, version String, "+
		"code Int8) ENGINE = MergeTree ORDER BY (time, id)")
	ch.Query(b, fmt.Sprintf("INSERT INTO default.rx SELECT number, toDateTime(1600000000 + intDiv(number, 500)), 14, "+
		"'AE2EA', 42.5, -75.0625, 'FN12fr', 'AA1A', 42.25, -71, 'FN42pb', 566, 280, 95, 14097123, 30, -12, -1, "+
		"'4.0 r4889', 1 FROM system.numbers LIMIT %d", rows))
	s := openSource(b, SourceConfig{URL: ch.URL(), Table: "rx", Key: "id", Cursor: "time", Time: "time",
		Overlap: "0s"}, SourceOptions{})
	for b.Loop() {
		n, more, cursor := int64(0), true, []byte(nil)
		for more {
			p, err := s.Fetch(b.Context(), connector.Request{Cursor: cursor})
			if err != nil {
				b.Fatal(err)
			}
			n, more, cursor = n+p.Rows.NumRows(), p.More, p.Cursor
		}
		if n != rows {
			b.Fatalf("got %d rows, want %d", n, rows)
		}
	}
	b.ReportMetric(float64(rows*b.N)/b.Elapsed().Seconds(), "rows/s")
}
