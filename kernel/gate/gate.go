// Package gate keeps the health of one dependency: open or closed, why, and since when.
//
// Any worker reports what it met; the gate closes at once, and the work behind it waits without
// spending attempts. While it is closed, Run drives a canary: a real operation that shows that work
// would succeed. The pauses between canaries follow the kind of the fault: an outage is probed often,
// so that work goes on within a second of recovery; a dependency that asked for time is left alone
// for that time; what needs a person (credentials, a schema) is probed rarely and told once.
package gate

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"holdfast/base/fault"
)

// Options tune a gate.
type Options struct {
	// Probe is the canary. It is never run twice at a time, and bounded by ProbeTimeout.
	Probe        func(ctx context.Context) error
	ProbeTimeout time.Duration // default 30 s
	// Closed gates begin closed, without a cause, and are probed at once.
	Closed bool
	// Fastest and Slowest bound the pause between canaries in an outage; default 100 ms and 700 ms.
	Fastest, Slowest time.Duration
	// Person is the pause between canaries while a person must act; default 1 min.
	Person time.Duration
	// OnChange is called after each change, in order, and must not call back into the gate.
	OnChange func(Status)
}

func (o Options) withDefaults() Options {
	if o.ProbeTimeout == 0 {
		o.ProbeTimeout = 30 * time.Second
	}
	if o.Fastest == 0 {
		o.Fastest = 100 * time.Millisecond
	}
	if o.Slowest == 0 {
		o.Slowest = 700 * time.Millisecond
	}
	if o.Person == 0 {
		o.Person = time.Minute
	}
	if o.OnChange == nil {
		o.OnChange = func(Status) {}
	}
	return o
}

// Status is the state of a gate.
type Status struct {
	Name  string    `json:"name"`
	Open  bool      `json:"open"`
	Since time.Time `json:"since"`
	Kind  string    `json:"kind,omitempty"`  // of the fault that closed it
	Cause string    `json:"cause,omitempty"` // in words
	Hint  string    `json:"hint,omitempty"`  // what a person can do
}

// Gate is the health of one dependency. All methods are safe for concurrent use.
type Gate struct {
	opts Options

	mu     sync.Mutex // guards what is below; OnChange is called with it held, to keep the order
	status Status
	kind   fault.Kind
	wait   time.Duration // a throttling dependency asked for
	opened chan struct{} // closed while the gate is open
	closed chan struct{} // closed while the gate is closed
}

// New returns a gate of the dependency's name.
func New(name string, o Options) *Gate {
	g := &Gate{opts: o.withDefaults(), opened: make(chan struct{}), closed: make(chan struct{})}
	g.status = Status{Name: name, Open: !o.Closed, Since: time.Now()}
	if o.Closed {
		close(g.closed)
		g.status.Cause = "not tried yet"
	} else {
		close(g.opened)
	}
	return g
}

// Status returns the state.
func (g *Gate) Status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.status
}

// Wait returns nil once the gate is open.
func (g *Gate) Wait(ctx context.Context) error {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	select {
	case <-opened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Report closes the gate for an error that a worker met. The first cause stays until a canary or a
// worker meets one of another kind.
func (g *Gate) Report(err error) {
	if err == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	kind := fault.KindOf(err)
	g.wait = fault.WaitOf(err)
	if !g.status.Open && g.kind == kind && g.status.Kind != "" {
		g.status.Cause, g.status.Hint = err.Error(), fault.HintOf(err)
		return
	}
	since := g.status.Since
	if g.status.Open {
		since = time.Now()
		g.opened, g.closed = make(chan struct{}), closedChan(g.closed)
	}
	g.kind = kind
	g.status = Status{Name: g.status.Name, Since: since, Kind: kind.String(), Cause: err.Error(),
		Hint: fault.HintOf(err)}
	g.opts.OnChange(g.status)
}

func closedChan(c chan struct{}) chan struct{} { close(c); return c }

// OpenByHand opens the gate, as a canary that succeeded does.
func (g *Gate) OpenByHand() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.status.Open {
		return
	}
	told := g.status.Kind != ""
	g.status = Status{Name: g.status.Name, Open: true, Since: time.Now()}
	g.closed = make(chan struct{})
	close(g.opened)
	if told {
		g.opts.OnChange(g.status)
	}
}

// Run drives the canary while the gate is closed, until ctx ends.
func (g *Gate) Run(ctx context.Context) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = g.opts.Fastest, g.opts.Slowest
	for {
		g.mu.Lock()
		closed := g.closed
		g.mu.Unlock()
		select {
		case <-closed:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := sleep(ctx, g.pause(pause)); err != nil {
			return err
		}
		if g.probe(ctx) {
			pause.Reset()
		}
	}
}

// pause is how long to wait before the next canary.
func (g *Gate) pause(b *backoff.ExponentialBackOff) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.status.Kind == "":
		return 0
	case g.kind == fault.Throttled && g.wait > 0:
		return g.wait
	case g.kind == fault.Credentials || g.kind == fault.Permanent:
		return g.opts.Person
	}
	return min(b.NextBackOff(), g.opts.Slowest)
}

// probe flies the canary and reports whether the gate is open now.
func (g *Gate) probe(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, g.opts.ProbeTimeout)
	defer cancel()
	err := g.opts.Probe(ctx)
	if err == nil {
		g.OpenByHand()
		return true
	}
	if context.Cause(ctx) != context.Canceled {
		g.Report(err)
	}
	return false
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
