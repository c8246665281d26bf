package engine

import (
	"context"
	"time"

	"holdfast/kernel/store"
)

// Rates are rows, or tasks, a second, over the last minute or since the job began to run.
type Rates struct {
	Read      float64            `json:"read"`
	Delivered map[string]float64 `json:"delivered"` // by sink, or queue: what is done
}

const (
	meterEvery = 5 * time.Second
	meterSpan  = time.Minute
)

// meter turns a running job's counters into rates.
type meter struct {
	seen []reading // the oldest first; guarded by the runner's mu
}

type reading struct {
	at        time.Time
	read      int64
	delivered map[string]int64
}

func readingOf(b Books, at time.Time) reading {
	out := reading{at: at, read: b.Read, delivered: map[string]int64{}}
	for _, k := range b.Sinks {
		out.delivered[k.Sink] = k.Delivered
	}
	for _, q := range b.Queues {
		out.delivered[q.Queue] = q.Done
	}
	return out
}

func (m *meter) add(now reading) {
	m.seen = append(m.seen, now)
	for len(m.seen) > 2 && now.at.Sub(m.seen[1].at) >= meterSpan {
		m.seen = m.seen[1:]
	}
}

// rates is nil until there are two readings.
func (m *meter) rates() *Rates {
	if len(m.seen) < 2 {
		return nil
	}
	from, to := m.seen[0], m.seen[len(m.seen)-1]
	seconds := to.at.Sub(from.at).Seconds()
	out := &Rates{Read: float64(to.read-from.read) / seconds, Delivered: map[string]float64{}}
	for name, n := range to.delivered {
		out.Delivered[name] = float64(n-from.delivered[name]) / seconds
	}
	return out
}

// watch reads the counters until ctx ends. A store that can't be read is told by those who work in it.
func (r *runner) watch(ctx context.Context, st *store.Store) {
	tick := time.NewTicker(meterEvery)
	defer tick.Stop()
	for {
		_ = st.Latest(func(rd store.Reader) error {
			b, _, err := r.counters(rd)
			if err != nil {
				return err
			}
			r.mu.Lock()
			r.meter.add(readingOf(b, time.Now()))
			r.mu.Unlock()
			return nil
		})
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
