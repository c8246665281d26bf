package transfer

import (
	"context"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/connector"
	"holdfast/kernel/store"
)

// swept counts sweeps, each of which ends as it says, once somebody saw it.
type swept struct {
	connector.Destination
	n    atomic.Int64
	seen chan struct{}
	err  error
}

func (s *swept) Sweep(ctx context.Context, _ time.Duration) ([]string, error) {
	s.n.Add(1)
	select {
	case s.seen <- struct{}{}:
	case <-ctx.Done():
	}
	return nil, s.err
}

// TestSweepsAreOverAllLives: a destination with millions of files is not gone through at each start, but when that was long ago.
func TestSweepsAreOverAllLives(t *testing.T) {
	r := newRig(t, 1)
	s := &swept{seen: make(chan struct{}), err: errors.New("the link broke")}
	r.change = func(c *Config) {
		c.Once = false
		s.Destination = c.Destinations[0].To
		c.Destinations[0].To = s
	}
	at := func() (at time.Time) {
		r.view(func(rd store.Reader) error {
			v, ok, err := rd.Get(sweptKey(r.to[0]))
			if ok {
				at = time.UnixMilli(int64(binary.BigEndian.Uint64(v)))
			}
			return err
		})
		return at
	}
	sweeps := func(wait time.Duration) {
		t.Helper()
		before := s.n.Load()
		r.run(func() {
			until(t, "the job is there", func() bool { return r.job.Load() != nil })
			got, err := r.job.Load().destinations[0].untilSweep(time.Now())
			if err != nil || got > wait || got < wait-soon {
				t.Errorf("the first sweep comes in %v, %v; want %v", got, err, wait)
			}
			if wait == 0 {
				<-s.seen
				return
			}
			r.write("a", []byte("a file"))
			until(t, "a file is there", func() bool { return len(tree(t, r.to[0])) == 1 })
		})
		if n := s.n.Load() - before; (n == 0) != (wait > 0) {
			t.Errorf("it was swept %d times, and the first one was to come in %v", n, wait)
		}
	}
	sweeps(0)
	if !at().IsZero() {
		t.Error("a sweep that failed counts")
	}
	s.err = nil
	sweeps(0)
	sweeps(sweepEvery)
	for _, last := range []time.Time{time.Now().Add(-sweepEvery), time.Now().Add(time.Hour)} {
		r.open(func(st *store.Store) {
			err := st.Update(func(tx *store.Tx) error {
				tx.Set(sweptKey(r.to[0]), binary.BigEndian.AppendUint64(nil, uint64(last.UnixMilli())))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
		sweeps(0)
	}
}
