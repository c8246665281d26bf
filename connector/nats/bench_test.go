package nats

import (
	"testing"

	"holdfast/connector/sinktest"
	"holdfast/tests/testenv"
)

// BenchmarkWrite tells rows/s to a server on this machine, and how long a look at their ids takes.
func BenchmarkWrite(b *testing.B) {
	const rows = 50_000
	br := fresh(b, testenv.NATS(b))
	s, err := br.sink(func(c *SinkConfig) { c.URL = br.server.URL(br.server.Addr()) })
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	last := uint64(0)
	for _, byKey := range []bool{false, true} {
		name := "publish"
		if byKey {
			name = "compare"
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				all := sinktest.Spots(1, last, rows)
				d := spots(all)
				if d.ByKey = byKey; !byKey {
					last = all[rows-1].ID
				}
				if _, err := s.Write(b.Context(), d); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*rows/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
