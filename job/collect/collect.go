// Package collect is the job that polls a feed and delivers every row exactly once to each of its
// sinks.
//
//	jobs:
//	  spots:
//	    collect:
//	      source: {wsprnet: {username: "${WSPR_USER}", password: "${WSPR_PASS}"}}
//	      sinks:
//	        main: {clickhouse: {url: "http://127.0.0.1:8123", database: wsprnet, table: spots}}
//
// The way of a row: the source fetches the page behind its cursor; keys that are known are dropped as
// duplicates and items that are no rows become dead letters; rows, cursor, keys, dead letters, gaps
// and counts are one commit. Then, for each sink by itself: the next delivery, planned; the sink's
// write; and one commit that settles it. While a sink is away its gate is closed, the source goes on
// and the spool grows.
//
// Ids that a source with dense numbers left out are gaps: they are asked for again, politely, until
// they came or two complete answers did not have them.
package collect

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/kernel/schedule"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// Policy says what happens when a sink's backlog reaches its limit.
type Policy string

// The policies of a full backlog.
const (
	Hold   Policy = "hold"   // intake waits
	Expire Policy = "expire" // the sink's oldest undelivered blocks are given up, as counted gaps
)

// Sink is a sink of the job with its own terms.
type Sink struct {
	Name   string
	Sink   connector.Sink
	Rows   int           // most rows of a delivery; default 100,000
	Bytes  int64         // most compressed bytes of a delivery; default 32 MiB, never above a quarter of a quota
	Every  time.Duration // a smaller delivery goes out once its oldest row is this old; 0 at once
	Limit  int64         // bytes of backlog at which Policy acts; 0 is no limit
	Soft   int64         // bytes of backlog from which on people are told; default three quarters of Limit
	Policy Policy        // default Hold
	Retry  Retry
}

// Retry says how often a sink that is away is tried. Each sink has its own pauses: they delay no other.
type Retry struct {
	Initial time.Duration // pause after the first failure; default 100 ms
	Max     time.Duration // longest pause, which later ones grow to; default 700 ms, or Initial if that is more
	Jitter  float64       // part of itself by which a pause varies, up to 1; default 0.5, below 0 none
}

// Config tunes the job.
type Config struct {
	// Source is the name of the source; its cursor belongs to that name.
	Source string
	// NextPoll returns when the feed is asked again after a poll that began at last and found the end.
	NextPoll func(last time.Time) time.Time
	// Once ends the job after one cycle: all pages, then all deliveries that the sinks take.
	Once bool
	// Intake tunes how rows come in.
	Intake IntakeOptions
	// Retain says how long delivered blocks stay.
	Retain spool.Retain
	// Quota bounds what all blocks of the job take.
	Quota Quota
	// Forget names sinks that are not configured any more and whose pending rows are given up.
	Forget []string
	// Noun is what rows are called in the log; default "rows".
	Noun string
	// Mended, if set, is called when a person has mended what kept the source from working.
	Mended func()
	// Again says how often a source that is away is tried.
	Again Retry
	// Beside are the gates of whatever else the source depends on; the job runs and shows them.
	Beside []*gate.Gate
	// OnSettle, if set, is part of every commit by which a sink is done with blocks.
	OnSettle func(tx *store.Tx, done Done) error
	// OnLack, if set, is part, before OnSettle, of every commit by which a sink is done with blocks without having all of
	// their rows: it refused some, or they were given up.
	OnLack func(tx *store.Tx, sink string, blocks []uint64) error
	// FillEvery is the least time between two questions for the same gap; default 5 min.
	FillEvery time.Duration
	// FillPages is the most pages asked for gaps in one cycle; default 10.
	FillPages int
	// Grace is how long a delivery under way may take when the job stops; default 10 s.
	Grace time.Duration
	// OnStart runs before the first page: an import of older files, for example.
	OnStart func(ctx context.Context, j *Job) error
}

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	if c.Noun == "" {
		c.Noun = "rows"
	}
	if c.Quota.Policy == "" {
		c.Quota.Policy = Hold
	}
	if c.FillEvery == 0 {
		c.FillEvery = 5 * time.Minute
	}
	if c.FillPages == 0 {
		c.FillPages = 10
	}
	if c.Grace == 0 {
		c.Grace = 10 * time.Second
	}
	if c.Source == "" {
		c.Source = "source"
	}
	return c
}

// within keeps deliveries small compared with what the job or the backlog may take. Otherwise a delivery could be due by its
// size only beyond the hard mark: it would wait for its time, while intake waits or rows expire.
func (s Sink) within(quota int64) Sink {
	for _, hard := range []int64{quota, s.Limit} {
		if hard > 0 {
			s.Bytes = min(s.Bytes, max(hard/4, 1))
		}
	}
	return s
}

// DefaultRows is the most rows of a delivery to a sink that takes so many.
const DefaultRows = 100_000

// WithDefaults returns s with everything filled in that has a default.
func (s Sink) WithDefaults() Sink {
	if s.Rows == 0 {
		s.Rows = DefaultRows
	}
	if s.Bytes == 0 {
		s.Bytes = 32 << 20
	}
	if s.Policy == "" {
		s.Policy = Hold
	}
	if s.Retry.Max == 0 && s.Retry.Initial > 0 {
		s.Retry.Max = max(s.Retry.Initial, 700*time.Millisecond)
	}
	if m := s.Sink.Traits().MaxRows; m > 0 {
		s.Rows = min(s.Rows, m)
	}
	return s
}

// Job is a collect job at work.
type Job struct {
	env    engine.Env
	cfg    Config
	src    connector.Source
	intake *Intake
	sinks  []*delivery
	gate   *gate.Gate // of the source

	gauges gauges

	fetchMu sync.Mutex      // held while the source is used, by one goroutine at a time; guards what is below
	stash   *connector.Page // what the canary fetched, for the next fetch
	readTo  []byte          // the cursor of the last page that was fetched, which may not be committed yet; nil for none

	over bool // the source has come to its end; of runIntake

	overload overload

	begun      atomic.Bool        // OnStart is over
	intakeDone chan struct{}      // closed when no more rows will come
	due        *schedule.Schedule // of the next poll

	notesMu sync.Mutex
	notes   map[string]int64 // what the source had to remark, by name; guarded by notesMu
	warned  []string         // lines for status; guarded by notesMu
	paged   time.Time        // when the source last answered with a page; guarded by notesMu
	rowed   time.Time        // when new rows last came; guarded by notesMu
}

var _ engine.Job = (*Job)(nil)

// New builds the job: it registers the source and the sinks in the store, and looks after sinks that are
// not configured any more.
func New(ctx context.Context, env engine.Env, src connector.Source, sinks []Sink, cfg Config) (*Job, error) {
	cfg = cfg.WithDefaults()
	if len(sinks) == 0 {
		return nil, fault.New(fault.Permanent, "job %s has no sink", env.Name)
	}
	names := make([]string, len(sinks))
	for i, s := range sinks {
		names[i] = s.Name
	}
	in, err := OpenIntake(env.Store, env.Name, cfg.Source, src.Schema(), src.Traits(), cfg.Intake)
	if err != nil {
		return nil, err
	}
	j := &Job{env: env, cfg: cfg, src: src, intake: in, intakeDone: make(chan struct{}),
		notes: map[string]int64{}}
	in.done = j.done
	if err := j.retireSinks(ctx, names); err != nil {
		return nil, err
	}
	for _, s := range sinks {
		k, err := in.sp.Sink(s.Name)
		if err != nil {
			return nil, err
		}
		d, err := newDelivery(j, s.WithDefaults().within(cfg.Quota.Hard), k)
		if err != nil {
			return nil, err
		}
		j.sinks = append(j.sinks, d)
	}
	j.gauges = newGauges(cfg, j.sinks)
	if err := in.loadSinks(ctx); err != nil {
		return nil, err
	}
	j.due, err = schedule.Open(env.Store, "poll/"+cfg.Source, schedule.Options{Next: j.nextPoll,
		OnJump: func(jump schedule.Jump) {
			env.History.Warn("clock.jumped", "the clock jumped by %v; the next poll is at %s",
				jump.By.Round(time.Second), jump.Due.Format(time.TimeOnly))
		}})
	if err != nil {
		return nil, err
	}
	j.gate = gate.New(cfg.Source, gate.Options{Probe: j.probeSource, OnChange: env.History.Gate,
		Fastest: cfg.Again.Initial, Slowest: cfg.Again.Max, Jitter: cfg.Again.Jitter})
	return j, nil
}

// retireSinks looks after the sinks that are no longer configured. One that got all its rows is removed, and begins anew if
// its name comes back. One with pending rows keeps them, and those that come in, because its name may be mistyped or come back
// tomorrow. They are given up only if the configuration says so, by name.
func (j *Job) retireSinks(ctx context.Context, keep []string) error {
	env := j.env
	var gone map[string]uint32
	err := env.Store.View(ctx, func(r store.Reader) (err error) {
		gone, err = store.NamesOf(r, store.SinkName)
		return err
	})
	if err != nil {
		return err
	}
	for _, name := range keep {
		delete(gone, name)
	}
	for name, id := range gone {
		var flow balance.Flow
		given := slices.Contains(j.cfg.Forget, name)
		err := env.Store.Update(func(tx *store.Tx) (err error) {
			if flow, err = balance.ReadFlow(tx, id); err == nil && (flow.Pending == 0 || given) {
				j.intake.sp.RemoveSink(tx, name, id)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("retire sink %s: %w", name, err)
		}
		switch {
		case flow.Pending == 0:
			env.History.Note("sink.removed", "sink %s is not configured any more; it had got all its rows", name)
		case given:
			env.History.Warn("sink.forgotten", "sink %s is forgotten: its %d pending %s are given up, %d had been "+
				"delivered", name, flow.Pending, j.cfg.Noun, flow.Delivered)
		default:
			text := fmt.Sprintf("sink %s is not configured any more, and %d %s wait for it: configure it "+
				"again, or give them up with forget: [%s]", name, flow.Pending, j.cfg.Noun, name)
			env.History.Warn("sink.waiting", "%s", text)
			j.warned = append(j.warned, text)
		}
	}
	return nil
}

// Run works until ctx ends, or for one cycle. A delivery under way when ctx ends may still finish.
func (j *Job) Run(ctx context.Context) error {
	defer j.close()
	grace, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		t := time.AfterFunc(j.cfg.Grace, cancel)
		context.AfterFunc(grace, func() { t.Stop() })
	})
	defer stop()
	if err := j.start(ctx); err != nil {
		return err
	}
	g, ctx := engine.NewGroup(ctx)
	gates, endGates := context.WithCancel(ctx)
	defer endGates()
	// An error of one worker ends the others too: a job whose sink has no worker any more must not live on.
	work, ctx := engine.NewGroup(ctx)
	for _, one := range append([]*gate.Gate{j.gate}, j.cfg.Beside...) {
		g.Go(func() error { return ended(gates, one.Run(gates)) })
	}
	work.Go(func() error { return ended(ctx, j.runIntake(ctx)) })
	for _, d := range j.sinks {
		g.Go(func() error { return ended(gates, d.gate.Run(gates)) })
		work.Go(func() error { return ended(ctx, d.run(ctx, grace)) })
	}
	g.Go(func() error { return ended(gates, j.runTrim(gates)) })
	g.Go(func() error {
		defer endGates()
		return work.Wait()
	})
	return g.Wait()
}

// ended returns nil for an error that comes from the end of the context.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return nil
	}
	return err
}

func (j *Job) start(ctx context.Context) error {
	defer j.begun.Store(true)
	if j.cfg.OnStart == nil {
		return nil
	}
	return j.cfg.OnStart(ctx, j)
}

func (j *Job) close() {
	for _, d := range j.sinks {
		if err := d.Sink.Sink.Close(); err != nil {
			j.env.Log.Warn(fmt.Sprintf("close sink %s: %v", d.Name, err))
		}
	}
	if err := j.src.Close(); err != nil {
		j.env.Log.Warn(fmt.Sprintf("close source: %v", err))
	}
}

// Intake is where rows enter the job.
func (j *Job) Intake() *Intake { return j.intake }

// Schema returns the schema of the rows that the source gives.
func (j *Job) Schema() record.Schema { return j.src.Schema() }

// Gates returns the health of the source and of every sink.
func (j *Job) Gates() []gate.Status { return gate.Statuses(j.gates()...) }

// OpenGate opens a gate on the word of a person.
func (j *Job) OpenGate(name string) error { return gate.Open(name, j.gates()...) }

func (j *Job) gates() []*gate.Gate {
	all := append([]*gate.Gate{j.gate}, j.cfg.Beside...)
	for _, d := range j.sinks {
		all = append(all, d.gate)
	}
	return all
}

// Tasks: there are none.
func (j *Job) Tasks(store.Reader) (engine.Tasks, error) { return engine.Tasks{}, nil }

// Promises returns what each sink promises about repeats, as it stands since it last met its server.
func (j *Job) Promises() map[string]string {
	out := map[string]string{}
	for _, d := range j.sinks {
		out[d.Name] = string(d.Sink.Sink.Traits().Exactness)
	}
	return out
}

// Notes returns what the source had to remark, summed up, and the remarks of this run.
func (j *Job) Notes() [][2]string {
	j.notesMu.Lock()
	defer j.notesMu.Unlock()
	var out [][2]string
	for _, name := range slices.Sorted(maps.Keys(j.notes)) {
		out = append(out, [2]string{name, strconv.FormatInt(j.notes[name], 10)})
	}
	for _, line := range j.warned {
		out = append(out, [2]string{"note", line})
	}
	return append(out, [2]string{"last answer of the source", since(j.paged)},
		[2]string{"last new " + j.cfg.Noun, since(j.rowed)})
}

func since(t time.Time) string {
	if t.IsZero() {
		return "none since the start"
	}
	return time.Since(t).Round(time.Second).String() + " ago"
}

// answered remembers when the source gave a page, and whether there was news in it.
func (j *Job) answered(accepted int64) {
	j.notesMu.Lock()
	defer j.notesMu.Unlock()
	j.paged = time.Now()
	if accepted > 0 {
		j.rowed = j.paged
	}
}

// Remark adds a line to the job's status for as long as it runs.
func (j *Job) Remark(line string) {
	j.notesMu.Lock()
	defer j.notesMu.Unlock()
	j.warned = append(j.warned, line)
}

// runTrim removes delivered blocks beyond what is retained. The wall clock is compared with the monotonic one: after a jump
// nothing is removed because of its age until the clock has been steady for a while.
func (j *Job) runTrim(ctx context.Context) error {
	const every = 10 * time.Second
	tick := time.NewTicker(every)
	defer tick.Stop()
	last, forgot := time.Now(), time.Now()
	steady, err := j.intake.trusted(last)
	if err != nil && !fault.Is(err, fault.Full) {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := j.readQuotas(ctx); err != nil {
			return err
		}
		now := time.Now()
		if jump := now.Round(0).Sub(last.Round(0)) - now.Sub(last); jump > time.Minute || jump < -time.Minute {
			j.env.History.Warn("clock.jumped", "the clock jumped by %v; delivered blocks are kept for now",
				jump.Round(time.Second))
			steady = now.Add(time.Hour)
		}
		last = now
		if now.Sub(forgot) > 5*time.Minute {
			forgot = now
			if err := j.intake.forget(now); err != nil && !fault.Is(err, fault.Full) {
				return err
			}
			if _, err := j.intake.trusted(now); err != nil && !fault.Is(err, fault.Full) {
				return err
			}
		}
		when := now
		if now.Before(steady) {
			when = time.Time{}
		}
		for {
			n, err := j.intake.sp.Trim(j.cfg.Retain, when)
			if err != nil && !fault.Is(err, fault.Full) {
				return err
			}
			if n == 0 {
				break
			}
		}
	}
}
