package files

import (
	"maps"
	"math"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"holdfast/connector"
	"holdfast/connector/sinktest"
	"holdfast/tests/testenv"
)

func TestContract(t *testing.T) {
	const noServer = "a directory has no server"
	all := map[string]Config{
		"parquet":    {Format: formatParquet},
		"jsonl":      {Format: formatJSONL},
		"jsonl.zstd": {Format: formatJSONL, Compression: packZstd},
		"jsonl.gzip": {Format: formatJSONL, Compression: packGzip},
	}
	for _, name := range testenv.Some(t, 2, slices.Sorted(maps.Keys(all))) {
		cfg := all[name]
		run := sinktest.RunEncoding
		if cfg.Format == formatParquet || cfg.Compression == packGzip {
			run = sinktest.Run // the two that are written most differently
		}
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T) *sinktest.Target {
				d := newDirectory(t)
				disk := testenv.SmallDisk(t, 256<<20)
				d.path = filepath.Join(disk, "new", "dir [1] #?*")
				return &sinktest.Target{
					New:       func() (connector.Sink, error) { return d.sink(cfg) },
					Rows:      d.spots,
					Timeout:   2 * time.Second,
					Large:     20_000,
					Histories: testenv.Count(t, 20),
					Outage: sinktest.Hook{
						Do:   func() error { d.down.Store(true); return nil },
						Undo: func() error { d.down.Store(false); return nil },
					},
					Restart:    sinktest.Hook{Lacks: noServer},
					Freeze:     sinktest.Hook{Lacks: noServer},
					Slow:       sinktest.Hook{Lacks: noServer},
					LostAnswer: sinktest.Hook{Do: func() error { d.lose.Store(true); return nil }},
					Cut: func(bytes int64) sinktest.Hook {
						return sinktest.Hook{
							Do:   func() error { d.cutAfter.Store(bytes); return nil },
							Undo: func() error { d.cutAfter.Store(-1); return nil },
						}
					},
					Child:    sinktest.Child{Args: []string{d.path, cfg.Format, cfg.Compression}},
					Whole:    true,
					Pressure: sinktest.FullDisk(t, disk),
					Forget:   sinktest.Hook{Lacks: "a file's name is its token"},
					Double:   sinktest.Deletion{Do: func(ids []uint64) error { return d.double(cfg, ids) }},
					Delete:   sinktest.Deletion{Do: d.remove},
					Denied:   sinktest.Variant{Lacks: "a directory has no credentials"},
					Unfit:    sinktest.Variant{Lacks: "each file has the columns of its rows"},
					Refused:  sinktest.Rows{Spots: refusedBy(cfg)},
					Poison:   sinktest.Rows{Lacks: "each refused row is found and told alone"},
				}
			})
		})
	}
}

// refusedBy are spots that files of a format can't hold.
func refusedBy(cfg Config) []sinktest.Spot {
	spots := sinktest.Spots(99, 1000, 4)
	spots[0].Time = math.MaxInt64 / 1000
	spots[1].RxSign = "\xff"
	if cfg.Format == formatParquet {
		return spots[:2]
	}
	spots[2].TxLat = float32(math.NaN())
	spots[3].TxLon = float32(math.Inf(-1))
	return spots
}
