// Package gate keeps the health of one dependency: open or closed, why, and since when.
//
// Any worker reports what it met; the gate closes at once, and the work behind it waits without
// spending attempts. While it is closed, Run drives a canary: a real operation that shows that work
// would succeed. The pauses between canaries follow the kind of the fault: an outage is probed
// often, so that work goes on within a second of recovery; a dependency that asked for time is left
// alone for that time; what needs a person (credentials, a schema, damage) is probed rarely and
// told once.
//
// It does not decide what is whose fault: who reports has an error with a kind, and reports only
// what speaks of the dependency. Nor does it retry work: that is for the worker, after Wait.
package gate

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/cenkalti/backoff/v5"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/base/visible"
)

// Options tune a gate.
type Options struct {
	// Probe is the canary. It is never run twice at a time. One that outlives ProbeTimeout is told as
	// an outage, and no other begins until it has returned.
	Probe        func(ctx context.Context) error
	ProbeTimeout time.Duration // default 30 s
	// Every is the pause between canaries while the gate is open; by default there are none.
	Every time.Duration
	// Closed gates begin closed, without a cause, and are probed at once.
	Closed bool
	// Fastest and Slowest bound the pause between canaries in an outage; default 100 ms and 700 ms.
	Fastest, Slowest time.Duration
	// Jitter is by which part of itself such a pause may be shorter or longer, up to 1; default 0.5, and
	// below 0 none. Many that wait for one dependency do not all come at once then.
	Jitter float64
	// Throttle is the pause when a dependency asks for time and not for how much; default 10 s.
	Throttle time.Duration
	// Person is the pause between canaries while a person must act; default 1 min.
	Person time.Duration
	// OnChange is called once for each change, in order and one at a time, by the goroutine that caused the
	// change or one that is telling an earlier change. No lock is held. Another cause of the same kind is a change
	// too, but at most once a minute, and not for other numbers or another operation that met it.
	OnChange func(Status)
}

// WithDefaults returns o with everything filled in that has a default.
func (o Options) WithDefaults() Options {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&o.ProbeTimeout, 30*time.Second)
	set(&o.Fastest, 100*time.Millisecond)
	set(&o.Slowest, 700*time.Millisecond)
	set(&o.Throttle, 10*time.Second)
	set(&o.Person, time.Minute)
	if o.Jitter == 0 {
		o.Jitter = 0.5
	}
	if o.OnChange == nil {
		o.OnChange = func(Status) {}
	}
	return o
}

const (
	// steady is how long a gate must have been open to count as recovered. Shorter openings are
	// those of a canary that succeeds where the work fails.
	steady = time.Second
	// flapsFree is how many short openings in a row cost nothing; each further one doubles the pause.
	flapsFree = 3
	// retell is the time before another cause of the same kind is told.
	retell = time.Minute
)

// Status is the state of a gate.
type Status struct {
	Name string `json:"name"`
	Open bool   `json:"open"`
	// Since is from when on it is as it is. A closed gate was not open for longer than a moment since then:
	// where a canary succeeds and the work fails, the openings between do not count.
	Since time.Time `json:"since"`
	Kind  string    `json:"kind,omitempty"`  // of the fault that closed it
	Cause string    `json:"cause,omitempty"` // in words
	Hint  string    `json:"hint,omitempty"`  // what a person can do
	Next  time.Time `json:"next,omitzero"`   // when the next canary is due, while closed
	// Forced says that a person opened it: that the other side is back has not been seen yet.
	Forced bool `json:"forced,omitempty"`
	// Tells says that nothing waits for the gate: it tells what the work meets, and no person can open it.
	Tells bool `json:"tells,omitempty"`

	seldom time.Duration // the pause between canaries, where a person must act
}

// String says why a closed gate is closed, what a person can do, and when it is tried again if that is seldom.
func (s Status) String() string {
	text := s.Name + ": " + s.Cause
	if s.Hint != "" {
		text += "; " + s.Hint
	}
	if s.seldom > 0 {
		text += fmt.Sprintf("; tried again every %v, and at once by holdfast resume", s.seldom)
	}
	return text
}

// Gate is the health of one dependency. All methods are safe for concurrent use.
type Gate struct {
	opts Options
	wake chan struct{} // tells Run to look again; holds one

	mu      sync.Mutex // guards what is below
	status  Status
	was     bool // open, at some time
	kind    fault.Kind
	opened  chan struct{} // closed while the gate is open
	due     time.Time     // of the next canary; zero: none
	until   time.Time     // no canary before: a dependency asked for time
	back    *backoff.ExponentialBackOff
	flaps   int       // short openings in a row
	closed  time.Time // since when it was not open for longer than steady; zero: it never was closed
	told    string    // root of the cause that was put into pending last
	toldAt  time.Time
	pending []Status // changes that OnChange has not been told
	telling bool     // somebody is telling them
}

// New returns a gate of the dependency's name.
func New(name string, o Options) *Gate {
	g := &Gate{opts: o.WithDefaults(), wake: make(chan struct{}, 1), opened: make(chan struct{}),
		back: backoff.NewExponentialBackOff()}
	g.back.InitialInterval, g.back.MaxInterval = g.opts.Fastest, g.opts.Slowest
	g.back.RandomizationFactor = max(g.opts.Jitter, 0)
	now := time.Now()
	g.status, g.was = Status{Name: name, Open: !o.Closed, Since: now}, !o.Closed
	if o.Closed {
		g.status.Cause = "not tried yet"
		g.closed = now
		g.due = now
	} else {
		close(g.opened)
		g.rest(now)
	}
	return g
}

// rest sets when an open gate is probed next.
func (g *Gate) rest(now time.Time) {
	g.due = time.Time{}
	if g.opts.Every > 0 {
		g.due = now.Add(g.opts.Every)
	}
}

// Status returns the state.
func (g *Gate) Status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.status
	if !s.Open {
		s.Next = g.due
	}
	s.Tells = g.opts.Probe == nil
	return s
}

// Wait returns nil once the gate is open, and the error of ctx if that ends first.
func (g *Gate) Wait(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
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

// Report closes the gate for an error that a worker met; nil changes nothing. While the gate is
// closed, another error of the same kind changes only the words, and one of another kind also when
// the canary flies next; but never before a time that the dependency asked for.
func (g *Gate) Report(err error) {
	if err == nil {
		return
	}
	g.mu.Lock()
	now := time.Now()
	if news := g.report(err, now); news {
		g.schedule(now, 0)
	} else {
		g.due = later(g.due, g.until)
	}
	g.stir()
	g.mu.Unlock()
	g.tell()
}

// report closes the gate, and says whether that or the kind of the fault is news.
func (g *Gate) report(err error, now time.Time) (news bool) {
	kind := fault.KindOf(err)
	if kind == fault.Throttled && fault.WaitOf(err) > 0 {
		if until := now.Add(fault.WaitOf(err)); until.After(g.until) {
			g.until = until
		}
	}
	known := !g.status.Open && g.status.Kind != "" && g.kind == kind
	since := g.status.Since
	if g.status.Open {
		if now.Sub(since) < steady && !g.closed.IsZero() {
			g.flaps++
		} else {
			g.flaps = 0
			g.back.Reset()
			g.closed = now
		}
		since = g.closed
		g.opened = make(chan struct{})
	}
	g.kind = kind
	g.status = Status{Name: g.status.Name, Since: since, Kind: kind.String(),
		Cause: visible.Line(secret.Mask(err.Error())), Hint: visible.Line(secret.Mask(fault.HintOf(err)))}
	if g.waitsForPerson() {
		g.status.seldom = g.opts.Person
	}
	root := rootOf(g.status.Cause)
	if !known || root != g.told && now.Sub(g.toldAt) >= retell {
		g.told, g.toldAt = root, now
		g.pending = append(g.pending, g.status)
	}
	return !known
}

// rootOf is what tells one cause from another: the innermost words, without numbers. What they were
// met at, and ports, times and sizes, differ with every attempt.
func rootOf(cause string) string {
	if i := strings.LastIndex(cause, ": "); i >= 0 {
		cause = cause[i+2:]
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, cause)
}

// schedule sets when a closed gate is probed next. The pause counts from when the canary set out, so that a slow one does
// not put off the next; but half of it always comes behind its return, and all of it behind an answer that asks for time.
func (g *Gate) schedule(now time.Time, took time.Duration) {
	pause := g.pause(now)
	if g.kind != fault.Throttled {
		pause -= min(took, pause/2)
	}
	g.due = later(now.Add(pause), g.until)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// waitsForPerson reports whether the gate stays closed until somebody does something.
func (g *Gate) waitsForPerson() bool {
	switch g.kind {
	case fault.Throttled, fault.Unknown, fault.Transient, fault.Full, fault.Busy:
		return false
	}
	return true
}

// pause is how long to wait before the next canary.
func (g *Gate) pause(now time.Time) time.Duration {
	var d time.Duration
	switch {
	case g.waitsForPerson():
		return g.opts.Person
	case g.kind != fault.Throttled:
		d = min(g.back.NextBackOff(), g.opts.Slowest)
	case !g.until.After(now): // else it said how long
		d = g.opts.Throttle
	}
	if over := g.flaps - flapsFree; over > 0 {
		d = min(max(d, g.opts.Fastest)<<min(over, 16), g.opts.Person)
	}
	return d
}

// OpenByHand opens the gate, as a canary that succeeded does.
func (g *Gate) OpenByHand() {
	g.mu.Lock()
	g.open(time.Now())
	g.mu.Unlock()
	g.tell()
}

func (g *Gate) open(now time.Time) { g.openBy(now, false) }

// openBy opens it because something went well, or because a person said so.
func (g *Gate) openBy(now time.Time, person bool) {
	g.until = time.Time{}
	g.rest(now)
	if g.status.Open {
		return
	}
	if g.status.Kind != "" { // a first opening is no news
		defer func() { g.pending = append(g.pending, g.status) }()
	}
	g.status, g.was = Status{Name: g.status.Name, Open: true, Since: now, Forced: person}, true
	close(g.opened)
	g.stir()
}

// Kick flies the canary of a closed gate now: a person has done something about the cause. Work at an open
// one is going on, and a canary beside it would show nothing.
func (g *Gate) Kick() {
	g.mu.Lock()
	if !g.status.Open {
		g.due = later(time.Now(), g.until)
	}
	g.mu.Unlock()
	g.stir()
}

// stir makes Run look again.
func (g *Gate) stir() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// tell calls OnChange for the changes that no other goroutine is telling.
func (g *Gate) tell() {
	for {
		g.mu.Lock()
		if g.telling || len(g.pending) == 0 {
			g.mu.Unlock()
			return
		}
		s := g.pending[0]
		g.pending = g.pending[1:]
		g.telling = true
		g.mu.Unlock()
		g.change(s)
	}
}

// change tells one change; OnChange is not ours and may panic.
func (g *Gate) change(s Status) {
	defer func() {
		g.mu.Lock()
		g.telling = false
		g.mu.Unlock()
	}()
	g.opts.OnChange(s)
}
