package gate

import (
	"context"
	"errors"
	"time"

	"holdfast/base/fault"
)

// landing is how long Run waits at its end for a canary that does not heed its context.
const landing = 2 * time.Second

// canary is a probe in flight.
type canary struct {
	began   time.Time
	result  chan error  // holds one
	overdue *time.Timer // fires when the probe has ignored its time-out
	cancel  func()      // ends the probe's context
}

// Run drives the canary until ctx ends, and returns its error; or until the canary panics, and returns the *fault.Panic: a bug
// ends the job that runs the gate, which is started again, and not the process.
func (g *Gate) Run(ctx context.Context) error {
	var flying *canary
	for {
		timer, now := g.timer(flying != nil)
		if now && ctx.Err() == nil {
			flying = g.fly(ctx)
		}
		select {
		case <-ctx.Done():
			stop(timer)
			return errors.Join(ctx.Err(), flying.land())
		case <-g.wake:
		case <-fires(timer):
			flying = g.fly(ctx)
		case err := <-flying.landed():
			flying.end()
			took := time.Since(flying.began)
			flying = nil
			g.judge(ctx, err, took)
			if bug, ok := errors.AsType[*fault.Panic](err); ok {
				stop(timer)
				return bug
			}
		case <-flying.late():
			g.Report(fault.New(fault.Transient, "probe %s: no answer after %v", g.Status().Name,
				g.opts.ProbeTimeout))
		}
		stop(timer)
	}
}

// timer fires when the next canary is due; it is nil if none is. A canary that is due now needs no
// timer: one that has expired before it is waited for can crash Go's race detector in virtual time.
func (g *Gate) timer(flying bool) (t *time.Timer, now bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if flying || g.due.IsZero() {
		return nil, false
	}
	d := time.Until(g.due)
	if d <= 0 {
		return nil, true
	}
	return time.NewTimer(d), false
}

func stop(t *time.Timer) {
	if t != nil {
		t.Stop()
	}
}

func fires(t *time.Timer) <-chan time.Time {
	if t == nil {
		return nil
	}
	return t.C
}

// fly starts a probe. It has a moment more than its context, to return by itself.
func (g *Gate) fly(ctx context.Context) *canary {
	ctx, cancel := context.WithTimeout(ctx, g.opts.ProbeTimeout)
	c := &canary{began: time.Now(), result: make(chan error, 1), cancel: cancel,
		overdue: time.NewTimer(g.opts.ProbeTimeout + g.opts.Slowest)}
	go func() { c.result <- fault.Catch(func() error { return g.opts.Probe(ctx) }) }() // land waits for it
	return c
}

func (c *canary) landed() <-chan error {
	if c == nil {
		return nil
	}
	return c.result
}

func (c *canary) late() <-chan time.Time {
	if c == nil {
		return nil
	}
	return c.overdue.C
}

func (c *canary) end() {
	c.overdue.Stop()
	c.cancel()
}

// land ends a probe that may be in flight, and waits for it.
func (c *canary) land() error {
	if c == nil {
		return nil
	}
	c.end()
	bound := time.NewTimer(landing)
	defer bound.Stop()
	select {
	case <-c.result:
		return nil
	case <-bound.C:
		return errors.New("the canary did not heed the end of its context")
	}
}

// judge opens or closes the gate by what the canary met, and how long it was in flight.
func (g *Gate) judge(ctx context.Context, err error, took time.Duration) {
	if ctx.Err() != nil {
		return // it was called back, so it says nothing
	}
	g.mu.Lock()
	now := time.Now()
	if err == nil {
		g.open(now)
	} else {
		if fault.KindOf(err) == fault.Unknown && errors.Is(err, context.DeadlineExceeded) {
			err = fault.As(fault.Transient, err)
		}
		g.report(err, now)
		g.schedule(now, took)
	}
	g.mu.Unlock()
	g.tell()
}
