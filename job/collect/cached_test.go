package collect_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/wsprnet/simulator"
	"holdfast/kernel/engine"
)

// journal keeps a log.
type journal struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(b)
}

// sum adds up the first number of every match.
func (j *journal) sum(pattern string) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(j.b.String(), -1) {
		k, _ := strconv.Atoi(m[1])
		n += k
	}
	return n
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

// switched is a sink that is away while down is set, and panics in its canary or its write when
// told.
type switched struct {
	connector.Sink
	down, panicPrepare, panicWrite *atomic.Bool
}

func newSwitched() switched {
	return switched{down: new(atomic.Bool), panicPrepare: new(atomic.Bool),
		panicWrite: new(atomic.Bool)}
}

func (s switched) away() error {
	if s.down.Load() {
		return fault.New(fault.Transient, "it is away")
	}
	return nil
}

func (s switched) Prepare(ctx context.Context, schema record.Schema) error {
	if s.panicPrepare.CompareAndSwap(true, false) {
		panic("a bug in Prepare")
	}
	if err := s.away(); err != nil {
		return err
	}
	return s.Sink.Prepare(ctx, schema)
}

func (s switched) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	if s.panicWrite.CompareAndSwap(true, false) {
		panic("a bug in Write")
	}
	if err := s.away(); err != nil {
		return connector.Verdict{}, err
	}
	return s.Sink.Write(ctx, d)
}

// loop runs the job until the returned function is called, and keeps its log.
func (r *rig) loop(log *journal) (stop func()) {
	r.t.Helper()
	r.cfg.Once = false
	r.cfg.NextPoll = func(last time.Time) time.Time { return last.Add(10 * time.Millisecond) }
	e, err := engine.New(engine.Options{Dir: r.dir, Log: slog.New(slog.NewTextHandler(log, nil)),
		Room: engine.RoomLimits{Soft: 1, Hard: 1, Ballast: 1}}, []engine.Spec{r.spec()})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
	}
}

func (r *rig) until(log *journal, pattern string, want int) {
	r.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for ; log.sum(pattern) < want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("the log tells of %d by %q, want %d:\n%s", log.sum(pattern), pattern, want, log)
		}
	}
}

func TestEveryCachedRowIsToldOnce(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 3, Rate: -1, Backlog: 300, PageLimit: 40,
		Epoch: time.Now().Add(-time.Hour)})
	s, log := newSwitched(), &journal{}
	r.wrap = func(k connector.Sink) connector.Sink { s.Sink = k; return s }
	stop := r.loop(log)
	defer func() { stop() }()
	const kept = `Cached (\d+) spots`
	r.until(log, `(?:Inserted|replayed) (\d+) (?:cached )?spots`, 300)
	if n := log.sum(kept); n != 0 {
		t.Errorf("the log tells of %d cached spots, and no sink was away", n)
	}
	before := log.sum(`replayed (\d+) cached`)
	s.down.Store(true)
	for i := range 3 {
		r.sim.Publish(100)
		r.until(log, kept, 100*(i+1))
	}
	s.down.Store(false)
	r.until(log, `Cache replay: (\d+) succeeded, 0 still pending`, before+300)
	if n, m := log.sum(kept), log.sum(`replayed (\d+) cached`); n != 300 || m != before+300 {
		t.Errorf("the log tells of %d cached and %d replayed spots, want 300:\n%s", n, m-before, log)
	}

	// A start with the sink away tells of what comes from then on.
	s.down.Store(true)
	r.sim.Publish(50)
	r.until(log, kept, 350)
	stop()
	r.sim.Publish(30)
	stop = r.loop(log)
	r.until(log, kept, 380)
	s.down.Store(false)
	r.until(log, `replayed (\d+) cached`, before+380)
	if n := log.sum(kept); n != 380 {
		t.Errorf("the log tells of %d cached spots, want 380:\n%s", n, log)
	}
	if got, want := r.ids(), r.expected(); !slices.Equal(got, want) {
		t.Errorf("got %d rows, want %d", len(got), len(want))
	}
}

func TestAPanicRestartsTheJob(t *testing.T) {
	for name, flag := range map[string]func(switched) *atomic.Bool{
		"in the canary": func(s switched) *atomic.Bool { return s.panicPrepare },
		"in a write":    func(s switched) *atomic.Bool { return s.panicWrite },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, simulator.Options{Seed: 3, Rate: -1, Backlog: 300, PageLimit: 40,
				Epoch: time.Now().Add(-time.Hour)})
			s, log := newSwitched(), &journal{}
			flag(s).Store(true)
			r.wrap = func(k connector.Sink) connector.Sink { s.Sink = k; return s }
			stop := r.loop(log)
			r.until(log, `(?:Inserted|replayed) (\d+) (?:cached )?spots`, 300)
			stop()
			if !bytes.Contains([]byte(log.String()), []byte("failed and starts again: panic: a bug")) {
				t.Errorf("the log does not tell of the panic:\n%s", log)
			}
			if got := r.ids(); len(got) != 300 {
				t.Errorf("got %d rows, want 300", len(got))
			}
		})
	}
}

// startled is a source that panics at the page behind a cursor, once.
type startled struct {
	connector.Source
	at   string
	done *atomic.Bool
}

func (s startled) Fetch(ctx context.Context, q connector.Request) (connector.Page, error) {
	if string(q.Cursor) == s.at && s.done.CompareAndSwap(false, true) {
		panic(fmt.Sprintf("a bug behind %s", s.at))
	}
	return s.Source.Fetch(ctx, q)
}

func TestAPanicOfTheSourceRestartsTheJob(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 3, Rate: -1, Backlog: 300, PageLimit: 40,
		Epoch: time.Now().Add(-time.Hour)})
	done, log := new(atomic.Bool), &journal{}
	r.wrapSource = func(s connector.Source) connector.Source {
		return startled{s, fmt.Sprint(r.sim.Oldest() + 79), done}
	}
	stop := r.loop(log)
	r.until(log, `(?:Inserted|replayed) (\d+) (?:cached )?spots`, 300)
	stop()
	if !done.Load() {
		t.Error("the source did not panic")
	}
	if got := r.ids(); len(got) != 300 {
		t.Errorf("got %d rows, want 300", len(got))
	}
}
