package bench

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/app/datadir"
	"holdfast/app/desk"
	"holdfast/base/rowfile"
	"holdfast/connector/wsprnet/spot"
	"holdfast/face/api"
	"holdfast/kernel/engine"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// BenchmarkParquet is what encoding alone costs.
func BenchmarkParquet(b *testing.B) {
	all := spots(40, 20_000)
	rows := int64(0)
	for b.Loop() {
		w, err := rowfile.New(io.Discard, all[0].Schema(), rowfile.Options{Format: rowfile.Parquet,
			Pack: rowfile.Snappy, Workers: 2, Unique: "id"})
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range all {
			if err := w.Write(r); err != nil {
				b.Fatal(err)
			}
			rows += r.NumRows()
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
}

// TestCat is `holdfast spool cat --output FILE.parquet` of ten million rows of 20 columns, through the API to
// a file that is fsynced. Goal: a million rows a second on two cores that are ours alone.
func TestCat(t *testing.T) {
	const blocks, blockRows = 500, 20_000
	dir := t.TempDir()
	fillSpool(t, dir, blocks, blockRows)
	d, err := desk.Open(datadir.Place{Dir: dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	out, err := os.Create(filepath.Join(dir, "rows.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var shown desk.Shown
	begin, cpu := time.Now(), cpuTime(t)
	err = api.Local(api.Handler(d)).Do(t.Context(), api.Request{Method: "GET",
		Path: "/api/v1/jobs/j/spool/rows?format=parquet", File: out, Result: &shown})
	if err == nil {
		err = out.Sync()
	}
	took, used := time.Since(begin), cpuTime(t)-cpu
	if err != nil || shown.Rows != blocks*blockRows {
		t.Fatalf("got %d rows (%v), want %d", shown.Rows, err, blocks*blockRows)
	}
	info, err := out.Stat()
	if err != nil {
		t.Fatal(err)
	}
	million := float64(shown.Rows) / 1e6
	t.Logf("cat: %.0f million rows to %.0f MB of Parquet in %.1f s: %.2f million rows/s, %.2f CPU seconds a "+
		"million rows", million, float64(info.Size())/1e6, took.Seconds(), million/took.Seconds(),
		used.Seconds()/million)
}

// cpuTime is what this process has used of the processors.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fillSpool lays down a job j with so many blocks; half a million of their rows are different.
func fillSpool(t *testing.T, dir string, blocks, rows int) {
	t.Helper()
	st, err := store.Open(engine.JobDir(dir, "j"), store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	sp, err := spool.Open(st, "j")
	if err != nil {
		t.Fatal(err)
	}
	var made []*spool.Block
	for _, batch := range spots(25, rows) {
		b, err := spool.Build(1, spot.Schema(), batch, nil)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, b)
	}
	for i := range blocks {
		err := st.Update(func(tx *store.Tx) error {
			_, err := sp.Append(tx, made[i%len(made)])
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
