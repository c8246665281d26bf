package streamer

import (
	"context"
	"math"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// pacer lets windows go at their time. When it let one go stands in the store, so that a restart neither
// hurries nor delays the next; after a longer halt it goes on from there and does not catch up.
//
// kernel/schedule does not fit: when the work is due again follows from a window that is not read yet.
type pacer struct {
	interval time.Duration
	speedup  float64
	last     paced
	hurry    chan struct{} // lets the next window go at once; holds one
}

// punctual is how much too late a window may go without moving those behind it.
const punctual = time.Second

func newPacer(c Config, last paced, now time.Time) *pacer {
	if last.At.After(now) { // the clock went back
		last.At = now
	}
	return &pacer{interval: c.Interval, speedup: c.Speedup, last: last, hurry: make(chan struct{}, 1)}
}

// paces reports whether windows wait for their time.
func (p *pacer) paces() bool { return p.interval > 0 || p.speedup > 0 }

// due is when a window may go.
func (p *pacer) due(w *window) time.Time {
	if !p.paces() || w.Late || p.last.At.IsZero() {
		return time.Time{}
	}
	gap := p.interval
	if p.speedup > 0 {
		gap = time.Duration(min(float64(w.From.Sub(p.last.From))/p.speedup, math.MaxInt64/2))
	}
	return p.last.At.Add(max(gap, 0))
}

// let says that a window goes now.
func (p *pacer) let(w *window, due, now time.Time) {
	p.last.Released = w.Number
	if w.Late {
		return
	}
	p.last.From, p.last.At = w.From, now
	if late := now.Sub(due); late >= 0 && late < punctual {
		p.last.At = due
	}
}

// runPace lets windows go, one after the other.
func (j *Job) runPace(ctx context.Context) error {
	for {
		var w *window
		changed := j.desk.look(func() {
			if n := j.desk.released + 1; n < j.desk.next {
				w = j.desk.windows[n]
			}
		})
		var due time.Time
		wait := time.Duration(0)
		if w != nil {
			due = j.pacer.due(w)
			wait = time.Until(due)
		}
		if w != nil && wait <= 0 {
			if err := j.letGo(w, due); err != nil {
				return err
			}
			continue
		}
		if err := j.untilDue(ctx, w, wait, changed); err != nil {
			return err
		}
	}
}

// untilDue waits for the time of a window, or for a window if there is none.
func (j *Job) untilDue(ctx context.Context, w *window, wait time.Duration, changed <-chan struct{}) error {
	var timer <-chan time.Time
	var hurry chan struct{}
	if w != nil {
		t := time.NewTimer(wait)
		defer t.Stop()
		timer, hurry, changed = t.C, j.pacer.hurry, nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changed:
	case <-timer:
	case <-hurry:
		return j.letGo(w, time.Time{})
	}
	return nil
}

// letGo lets a window go. If the time of the next one follows from that, it is durable before.
func (j *Job) letGo(w *window, due time.Time) error {
	j.pacer.let(w, due, time.Now())
	if j.pacer.paces() {
		err := j.env.Store.Update(func(tx *store.Tx) error {
			put(tx, keyPace(), j.pacer.last)
			return nil
		})
		if err != nil && !fault.Is(err, fault.Full) { // else the next one writes it
			return err
		}
	}
	j.desk.change(func() { j.desk.release(w.Number) })
	return nil
}
