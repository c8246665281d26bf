package cli

import (
	"time"

	"holdfast/kernel/engine"
)

// meterSpan is the time that rates are over: short, so that they move when something happens.
const meterSpan = 10 * time.Second

// meter makes rates of counters that are looked at again and again.
type meter struct{ seen []reading }

// reading is what one look saw: for each job what came in and what went out, ever.
type reading struct {
	at time.Time
	of map[string][2]int64
}

func (m *meter) add(at time.Time, jobs []engine.Status) {
	r := reading{at, map[string][2]int64{}}
	for _, j := range jobs {
		r.of[j.Name] = [2]int64{cameIn(j), wentOut(j)}
	}
	if n := len(m.seen); n > 0 && !at.After(m.seen[n-1].at) { // the clock went back
		m.seen = nil
	}
	m.seen = append(m.seen, r)
	for len(m.seen) > 2 && at.Sub(m.seen[1].at) >= meterSpan {
		m.seen = m.seen[1:]
	}
}

// rates are how much of a job came in and went out a second; ok is false until two looks saw it.
func (m *meter) rates(job string) (in, out float64, ok bool) {
	if len(m.seen) < 2 {
		return 0, 0, false
	}
	first, last := m.seen[0], m.seen[len(m.seen)-1]
	from, was := first.of[job]
	to, is := last.of[job]
	seconds := last.at.Sub(first.at).Seconds()
	if !was || !is || seconds <= 0 {
		return 0, 0, false
	}
	// A store that went back has counted back.
	return float64(max(0, to[0]-from[0])) / seconds, float64(max(0, to[1]-from[1])) / seconds, true
}

// cameIn is how many rows or tasks came into a job, ever.
func cameIn(j engine.Status) int64 {
	switch {
	case j.Taken > 0:
		return j.Taken
	case len(j.Balance.Queues) > 0:
		return j.Balance.Queues[0].Put
	}
	return j.Balance.Read
}

// wentOut is how many of them its slowest way out has done with, ever.
func wentOut(j engine.Status) int64 {
	if n := len(j.Balance.Queues); n > 0 {
		q := j.Balance.Queues[n-1]
		return q.Done + q.Dropped
	}
	if j.Taken > 0 {
		return j.Taken - j.Backlog.Rows
	}
	least := int64(-1)
	for _, s := range j.Balance.Sinks {
		if least < 0 || s.Delivered < least {
			least = s.Delivered
		}
	}
	return max(least, 0)
}
