package frontier

import (
	"testing"
	"time"
	"unsafe"
)

// jumped is a time as a process has it whose wall clock was set by so much.
func jumped(t *testing.T, at time.Time, by time.Duration) time.Time {
	t.Helper()
	const seconds = 30 // where they begin in the first word of a time.Time that has both clocks
	was := at
	*(*uint64)(unsafe.Pointer(&at)) += uint64(int64(by/time.Second)) << seconds
	if d := at.Round(0).Sub(was.Round(0)); d != by || at.Sub(was) != 0 {
		t.Fatalf("the wall clock jumped by %v, want %v, and the other by %v", d, by, at.Sub(was))
	}
	return at
}

// TestClockJumps: while a frontier is open, its hosts and the URLs that are put off are due when so much time has passed, whatever the
// wall clock was set to meanwhile.
func TestClockJumps(t *testing.T) {
	for _, by := range []time.Duration{0, time.Hour, -time.Hour, -12 * time.Hour, 36 * time.Hour, -36 * time.Hour} {
		r := newRig(t, Options{})
		r.now = time.Now()
		r.add(item(1, 1), item(1, 2), item(2, 1))
		begun := r.now
		first, second := r.take(), r.take()
		r.f.Release(first, begun.Add(10*time.Second))
		r.f.Release(second, begun)
		r.batch(func(b *Batch) error { return b.Retry(second, begun.Add(30*time.Minute), begun) })
		r.batch(func(b *Batch) error { return b.Done(first, Outcome{Status: 200, Due: begun.Add(10 * time.Second)}) })
		for _, c := range []struct {
			after time.Duration
			comes bool
		}{{9 * time.Second, false}, {10 * time.Second, true}, {29 * time.Minute, false}, {30 * time.Minute, true}} {
			r.now = jumped(t, begun.Add(c.after), by)
			l := r.take()
			if (l != nil) != c.comes {
				t.Errorf("the clock jumped by %v: after %v there is %v", by, c.after, l)
			}
			if l != nil { // with the jump in what it is told
				r.f.Release(l, r.now)
				r.batch(func(b *Batch) error { return b.Done(l, Outcome{Status: 200, Due: r.now}) })
			}
		}
		if c := r.counts(); c.Done != 3 {
			t.Errorf("the clock jumped by %v: %+v", by, c)
		}
	}
}
