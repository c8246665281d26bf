package bench

import (
	"path/filepath"
	"testing"
	"time"

	"holdfast/connector/wsprnet/spot"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// BenchmarkRead is what a drain costs beside the sink: choosing, reading, checking and joining blocks, as
// large as the feed's pages, into deliveries of 100,000 rows.
func BenchmarkRead(b *testing.B) {
	const pageRows = 20_000
	st, err := store.Open(filepath.Join(b.TempDir(), "store"), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	sp, err := spool.Open(st, "bench")
	if err != nil {
		b.Fatal(err)
	}
	sink, err := sp.Sink("main")
	if err != nil {
		b.Fatal(err)
	}
	for _, rows := range spots(100, pageRows) {
		block, err := spool.Build(1, spot.Schema(), rows, nil)
		if err != nil {
			b.Fatal(err)
		}
		err = st.Update(func(tx *store.Tx) error {
			_, err := sp.Append(tx, block)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	rows := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		d, err := sink.Read(b.Context(), spool.Want{Rows: insertRows, Every: time.Second})
		if err != nil {
			b.Fatal(err)
		}
		rows += d.Rows.NumRows()
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rows), "ns/row")
}
