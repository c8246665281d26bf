// Package simulator is a feed of WSPR spots that speaks the protocol of wsprnet.org: login, session
// cookie, and pages of the spots behind an id. It stands behind `holdfast demo`, behind tests, and,
// at full speed, behind benchmarks; every fault of a real feed can be switched on while it runs, by
// a call or on its status page.
//
// A spot is a pure function of seed, first id and id, so that a test can compare a table with
// Expected row by row without keeping what was served. Instead of made-up spots it can serve those
// of a file (LoadSpots).
package simulator

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/connector/wsprnet/spot"
)

// Options says what the feed holds and how it behaves. The zero Options is an endless feed without
// login, holes or garbage, 80 spots a second.
type Options struct {
	Seed  uint64
	Start uint64 // first id; default 6,040,000,001
	// Rate is in spots a second, default 80, about what the real feed has. Negative: nothing comes
	// after the backlog.
	Rate float64
	// Backlog is how many ids there are when it starts, spread over the time before at Rate, but
	// over 20 hours at most.
	Backlog uint64
	// Epoch is when it starts; default when New is called. An id has the same spot in all simulators of one Seed and Rate
	// in which it comes at the same time.
	Epoch time.Time
	// Keep is how long the feed keeps a spot; default 24h, negative for ever.
	Keep time.Duration
	// Holes is the share of ids that never exist, Garbage that of spots with a value that no row can
	// hold; 0 to 1, default 0.
	Holes, Garbage float64
	PageLimit      int // most spots a page; default 10,000
	// Username and Password of the account; default none: no session is needed.
	Username, Password string
	SessionLife        time.Duration // default 1h
	LateBy             time.Duration // how much later late ids appear; default 5m
	Gzip               bool          // compress for who takes it
	Spots              *File         // serve these instead of made-up ones
}

// Realistic returns what `holdfast demo` runs: an hour's backlog, holes, garbage and sessions that
// expire.
func Realistic() Options {
	return Options{Seed: 1, Rate: 80, Backlog: 80 * 3600, Holes: 0.002, Garbage: 0.0001,
		Username: "demo", Password: "demo", SessionLife: 10 * time.Minute, Gzip: true}
}

func (o Options) withDefaults() Options {
	if o.Start == 0 {
		o.Start = 6_040_000_001
	}
	if o.Rate == 0 {
		o.Rate = 80
	}
	if o.Epoch.IsZero() {
		o.Epoch = time.Now()
	}
	if o.Keep == 0 {
		o.Keep = 24 * time.Hour
	}
	if o.PageLimit <= 0 {
		o.PageLimit = 10_000
	}
	if o.SessionLife <= 0 {
		o.SessionLife = time.Hour
	}
	if o.LateBy <= 0 {
		o.LateBy = 5 * time.Minute
	}
	return o
}

// content is what the feed can serve. Ids are dense but for those that do not exist.
type content interface {
	exists(id uint64) bool
	render(dst []byte, id uint64) []byte
	// spot returns the row that ought to come of the id; ok is false if none can.
	spot(id uint64) (s spot.Spot, ok bool)
}

// Simulator is a running feed. It is an http.Handler too.
type Simulator struct {
	opts    Options
	clock   clock
	content content
	mux     http.Handler

	mu       sync.Mutex // guards what follows
	faults   Faults
	since    map[string]time.Time // when each fault was switched on
	changed  chan struct{}        // closed when faults change
	sessions map[string]time.Time // by cookie value: when it expires
	logins   uint64

	served struct {
		requests, pages, spots, bytes, logins, refused, faults atomic.Int64
		lastAfter                                              atomic.Uint64
		last                                                   atomic.Int64 // Unix nanoseconds
	}
}

// New returns a feed that serves nothing before it is run or handed to a server.
func New(o Options) *Simulator {
	o = o.withDefaults()
	s := &Simulator{opts: o, since: map[string]time.Time{}, changed: make(chan struct{}),
		sessions: map[string]time.Time{}}
	if o.Spots != nil {
		s.clock = fileClock(o)
		s.content = o.Spots
	} else {
		s.clock = newClock(o)
		s.content = newWorld(o, s.clock)
	}
	s.mux = s.routes()
	return s
}

// ServeHTTP serves the feed and, at /, its status page.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Run serves on ln until ctx ends. Whoever hangs on a fault is let go.
func (s *Simulator) Run(ctx context.Context, ln net.Listener) error {
	base, cancel := context.WithCancel(ctx)
	defer cancel()
	srv := &http.Server{Handler: s, ReadHeaderTimeout: 30 * time.Second,
		BaseContext: func(net.Listener) context.Context { return base }}
	done := make(chan error, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { done <- srv.Serve(ln) }) // ends with Shutdown or Close below
	select {
	case err := <-done:
		return fmt.Errorf("serve simulator: %w", err)
	case <-ctx.Done():
	}
	stop, end := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer end()
	if srv.Shutdown(stop) != nil {
		_ = srv.Close()
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve simulator: %w", err)
	}
	return nil
}

// Publish lets n more ids come at once: for tests, beside a negative rate.
func (s *Simulator) Publish(n uint64) { s.clock.published.Add(n) }

// Newest returns the highest id that has come so far, whether it exists or not; 0 for none.
func (s *Simulator) Newest() uint64 { return s.clock.newest(time.Now()) }

// Oldest returns the lowest id that is still kept.
func (s *Simulator) Oldest() uint64 { return s.clock.oldest(time.Now(), s.opts.Keep) }

// Expected returns the rows that a reader of the ids from and to must have, in ascending order.
// Ids that never exist and spots that can't be a row are left out; switched faults do not matter.
func (s *Simulator) Expected(from, to uint64) iter.Seq[spot.Spot] {
	return func(yield func(spot.Spot) bool) {
		for id := range s.ids(from, to) {
			if sp, ok := s.content.spot(id); ok && !yield(sp) {
				return
			}
		}
	}
}

// Faulty returns the ids between from and to whose spots can't become rows, ascending.
func (s *Simulator) Faulty(from, to uint64) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for id := range s.ids(from, to) {
			if _, ok := s.content.spot(id); !ok && !yield(id) {
				return
			}
		}
	}
}

// ids are those that exist.
func (s *Simulator) ids(from, to uint64) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		from, to = max(from, s.clock.first()), min(to, s.clock.last())
		for id := from; id <= to && to != 0; id++ {
			if s.content.exists(id) && !yield(id) {
				return
			}
		}
	}
}
