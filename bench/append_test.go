// Package bench measures what is promised about speed and memory, side by side in one run: ratios,
// because machines are noisy. `make bench` runs it; docs/performance.md has the results.
package bench

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"golang.org/x/sys/unix"

	"holdfast/connector/wsprnet/simulator"
	"holdfast/connector/wsprnet/spot"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

const blockRows = 1000

// spots returns n batches of WSPR rows as the feed's source makes them.
func spots(n, rows int) (out []arrow.RecordBatch) {
	sim := simulator.New(simulator.Options{Seed: 1, Rate: -1, Backlog: uint64(n * rows)})
	b := new(spot.Builder)
	for s := range sim.Expected(sim.Oldest(), sim.Newest()) {
		if b.Append(&s); b.Len() == rows {
			out = append(out, b.Batch())
			b = new(spot.Builder)
		}
	}
	return out
}

// rawBytes are the values of a batch as they lie in memory: what a writer without compression and
// without a format of its own would have to write.
func rawBytes(b arrow.RecordBatch) (out []byte) {
	for _, c := range b.Columns() {
		for _, buf := range c.Data().Buffers() {
			if buf != nil {
				out = append(out, buf.Bytes()...)
			}
		}
	}
	return out
}

// measure runs writers for a while, each acknowledging one block at a time, and returns rows/s.
func measure(writers int, d time.Duration, write func(i int)) float64 {
	var done atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for w := range writers {
		wg.Go(func() {
			for i := w; time.Since(begin) < d; i += writers {
				write(i)
				done.Add(blockRows)
			}
		})
	}
	wg.Wait()
	return float64(done.Load()) / time.Since(begin).Seconds()
}

// plainLog is the yardstick: appends to one file, with one write and one fdatasync for all writers that
// wait, as a careful program without a store would do it.
type plainLog struct {
	f     *os.File
	mu    sync.Mutex
	next  []byte
	group chan struct{} // closed when the group that is gathering is durable
	turn  sync.Mutex
}

func (l *plainLog) append(t testing.TB, b []byte) {
	l.mu.Lock()
	l.next = append(l.next, b...)
	mine := l.group
	l.mu.Unlock()
	l.turn.Lock()
	defer l.turn.Unlock()
	select {
	case <-mine:
		return
	default:
	}
	l.mu.Lock()
	out, done := l.next, l.group
	l.next, l.group = nil, make(chan struct{})
	l.mu.Unlock()
	if _, err := l.f.Write(out); err != nil {
		t.Error(err)
	}
	if err := unix.Fdatasync(int(l.f.Fd())); err != nil {
		t.Error(err)
	}
	close(done)
}

// TestAppend is F1: append with fsync before acknowledge against write and fdatasync of the same rows'
// raw bytes with the same grouping. Goal: at least 1.0.
func TestAppend(t *testing.T) {
	batches := spots(64, blockRows)
	raw := make([][]byte, len(batches))
	for i, b := range batches {
		raw[i] = rawBytes(b)
	}
	t.Logf("%d bytes raw a row", len(raw[0])/blockRows)
	for _, writers := range []int{1, 4, 16} {
		t.Run(fmt.Sprintf("%d writers", writers), func(t *testing.T) {
			var ours, theirs float64
			for range 3 { // by turns, so that both meet the same weather
				ours += appendSpool(t, writers, batches)
				theirs += appendPlain(t, writers, raw)
			}
			ratio := ours / theirs
			t.Logf("F1: %2d writers: spool %8.0f rows/s, raw file %8.0f rows/s, ratio %.2f", writers, ours/3,
				theirs/3, ratio)
			if ratio < 1 {
				t.Errorf("ratio %.2f, want at least 1.0", ratio)
			}
		})
	}
}

// turn is long enough for a store to reach its steady state: the first logs are new files, those behind
// them are overwritten, which costs a file system half as much to make durable.
const turn = 5 * time.Second

func appendSpool(t *testing.T, writers int, batches []arrow.RecordBatch) float64 {
	st, err := store.Open(t.TempDir(), store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	sp, err := spool.Open(st, "bench")
	if err != nil {
		t.Fatal(err)
	}
	cursor := []byte("6040000001")
	return measure(writers, turn, func(i int) {
		b, err := spool.Build(1, spot.Schema(), batches[i%len(batches)], cursor)
		if err == nil {
			err = st.Update(func(tx *store.Tx) error { _, err := sp.Append(tx, b); return err })
		}
		if err != nil {
			t.Error(err)
		}
	})
}

func appendPlain(t *testing.T, writers int, raw [][]byte) float64 {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l := &plainLog{f: f, group: make(chan struct{})}
	return measure(writers, turn, func(i int) { l.append(t, raw[i%len(raw)]) })
}
