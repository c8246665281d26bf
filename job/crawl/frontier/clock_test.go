package frontier

import (
	"encoding/binary"
	"testing"
	"time"
	"unsafe"

	"holdfast/kernel/store"
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

// TestClockJumps: while a frontier is open, its hosts and the URLs that are put off are due when so much time has passed,
// whatever the wall clock was set to meanwhile.
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

// TestTimeOf: people are told by the clock on the wall when something is due, also behind a start with one that was set back.
func TestTimeOf(t *testing.T) {
	r := newRig(t, Options{})
	r.add(item(1, 1))
	for _, by := range []time.Duration{0, 5 * time.Hour} {
		last := time.Now().Add(by) // of the last commit, by the clock before it was set back
		err := r.st.Update(func(tx *store.Tx) error {
			tx.Set(clockKey, binary.BigEndian.AppendUint64(nil, uint64(last.UnixMilli())))
			rec, err := readHost(tx, 0)
			rec.due = last.Add(10 * time.Minute).UnixMilli()
			tx.Set(hostKey(0), rec.encode())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		err = r.st.Latest(func(rd store.Reader) error {
			h, _, err := FindHost(rd, item(1, 1).Queue)
			if d := time.Until(h.Due) - 10*time.Minute; d < -time.Minute || d > time.Second {
				t.Errorf("set back by %v: it is due at %v", by, h.Due)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestDueInADay: what is put off for as long as can be is not due at once, also for who looked at the clock a moment before;
// and it is when the day is over.
func TestDueInADay(t *testing.T) {
	r := newRig(t, Options{})
	r.now = time.Now()
	r.add(item(1, 1), item(1, 2), item(2, 1))
	far := r.now.Add(time.Hour + Longest)
	first, second := r.take(), r.take()
	r.f.Release(first, far)
	r.f.Release(second, r.now)
	r.batch(func(b *Batch) error { return b.Done(first, Outcome{Status: 200, Due: far}) })
	r.batch(func(b *Batch) error { return b.Retry(second, far, r.now) })
	begun := r.now
	for _, c := range []struct {
		after time.Duration
		comes int
	}{{-time.Second, 0}, {0, 0}, {time.Second, 0}, {Longest - time.Second, 0}, {Longest + time.Second, 2}} {
		r.now = begun.Add(c.after)
		n := 0
		for r.take() != nil {
			n++
		}
		if n != c.comes {
			t.Errorf("after %v there are %d, want %d", c.after, n, c.comes)
		}
	}
}
