package bench

import (
	"crypto/sha256"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"holdfast/connector/wsprnet/spot"
	"holdfast/kernel/spool"
)

// BenchmarkBuild is the work of one block before its commit.
func BenchmarkBuild(b *testing.B) {
	batches := spots(16, blockRows)
	i := 0
	for b.Loop() {
		if _, err := spool.Build(1, spot.Schema(), batches[i%16], nil); err != nil {
			b.Fatal(err)
		}
		i++
	}
	b.ReportMetric(float64(b.N)*blockRows/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkParts(b *testing.B) {
	raw := rawBytes(spots(1, blockRows)[0])
	b.Run("sha256", func(b *testing.B) {
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			sha256.Sum256(raw)
		}
	})
	b.Run("xxh", func(b *testing.B) {
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			xxhash.Sum64(raw)
		}
	})
	e, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	var out []byte
	b.Run("zstd", func(b *testing.B) {
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			out = e.EncodeAll(raw, out[:0])
		}
		b.ReportMetric(float64(len(out)), "bytes")
	})
	b.Run("s2", func(b *testing.B) {
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			out = s2.Encode(nil, raw)
		}
		b.ReportMetric(float64(len(out)), "bytes")
	})
}
