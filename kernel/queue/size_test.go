package queue

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
	"holdfast/tests/testenv"
)

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// busy is the processor time that this process has used: on a machine that others use too it says
// more than the clock.
func busy(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fill puts tasks like a crawl's: a URL as key, fifty at a time of one host, a little payload.
func fill(t testing.TB, st *store.Store, q *Queue, from, to int) {
	t.Helper()
	const page = 500
	tasks := make([]Task, 0, page)
	for i := from; i < to; i += page {
		tasks = tasks[:0]
		for j := i; j < min(i+page, to); j++ {
			tasks = append(tasks, Task{Key: fmt.Sprintf("https://host%d.example/some/path/%d.html",
				j/50*7919%1000, j), Lane: j % 2, Payload: []byte("depth 3, from 12345678")})
		}
		put(t, st, q, tasks...)
	}
}

// work leases and ends n tasks by the given workers, and returns how long that took.
func work(t testing.TB, st *store.Store, q *Queue, workers, n int) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	began := time.Now()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for range n/workers + min(1, max(0, n%workers-w)) {
				l, err := lease(ctx, q)
				if err == nil {
					err = st.Update(func(tx *store.Tx) error { return q.Done(tx, l) })
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(began)
}

// Nothing grows in memory with the number of tasks, neither putting nor leasing gets slower, and
// opening costs what was leased. Up to 5 million tasks under make torture.
func TestSizeAndSpeed(t *testing.T) {
	steps, leases := []int{5_000, 20_000}, 500
	if testenv.Torture() && !raceEnabled {
		steps, leases = []int{1_000_000, 5_000_000}, 20_000
	}
	dir := t.TempDir()
	cache := store.NewCache(32 << 20) // a part of the one that a process's jobs share
	defer cache.Close()
	so := storetest.Options(t, nil)
	so.Cache = cache
	st, err := store.Open(dir, so)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	o := Options{Lanes: lanes(3, 1)}
	q := openQueue(t, st, o)
	before, have := heap(), 0
	for _, n := range steps {
		began, used := time.Now(), busy(t)
		fill(t, st, q, have, n)
		puts := float64(n-have) / time.Since(began).Seconds()
		cost := (busy(t) - used) / time.Duration(n-have)
		have = n
		rates := ""
		for _, workers := range []int{1, 16, 128} {
			took := work(t, st, q, workers, leases)
			rates += fmt.Sprintf(" %.0f by %d", float64(leases)/took.Seconds(), workers)
		}
		left := take(t, q, 100)
		began = time.Now()
		q = openQueue(t, st, o)
		opened := time.Since(began)
		grown := heap() - before
		t.Logf("%d tasks: %.0f puts/s in pages of 500 (%v busy for each), lease+done/s%s, "+
			"opened with %d leases in %v, heap %+.1f MB", n, puts, cost, rates, len(left), opened, float64(grown)/1e6)
		if grown > 32<<20 {
			t.Errorf("%d tasks: the heap grew by %d bytes", n, grown)
		}
		if testenv.Torture() && !raceEnabled && (opened > 2*time.Second || cost > 250*time.Microsecond) {
			t.Errorf("%d tasks: opened in %v, %v busy for each put", n, opened, cost)
		}
	}
	if err := st.View(t.Context(), func(r store.Reader) error {
		c, err := q.Counts(r)
		if !c.Balanced() || c.Put != uint64(have) || c.Done != uint64(6*leases) {
			t.Errorf("counts: %+v", c)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
