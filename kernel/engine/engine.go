// Package engine runs jobs: it opens their stores, starts them again when they fail, pauses, resumes
// and stops them, keeps the history of what happened to each, and reads their books.
//
// A job that ends with an error or a panic is started again with a growing pause, from its store; the
// other jobs never notice. A job whose store is damaged is salvaged first. kill -9 is a normal exit:
// nothing here has to run for the data to be right at the next start.
//
// engine joins the other rooms of the kernel; it knows no kind of job and no connector.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/kernel/checkpoint"
	"holdfast/kernel/gate"
	"holdfast/kernel/store"
)

// Job is a job at work. An error of Run restarts it; nil means that its work is done for good.
type Job interface {
	Run(ctx context.Context) error
	// Gates returns the state of everything that the job depends on.
	Gates() []gate.Status
	// OpenGate opens one of them on the word of a person, as gate.Open has it.
	OpenGate(name string) error
	// Notes returns further lines for status, as name and value, in the order to show them.
	Notes() [][2]string
	// Quotas returns what the job may take of the disk, and takes; nil if it may take all.
	Quotas() []Quota
	// Promises says of each sink how often a row arrives there: "exactly once" or "at least once". A sink that
	// meets its server may promise less from then on.
	Promises() map[string]string
	// Tasks reads what the job has to do, if its work is tasks and not rows.
	Tasks(r store.Reader) (Tasks, error)
	// Command carries out what a person asked of the running job.
	Command(ctx context.Context, name string, args []string) (string, error)
}

// Tasks is what a job has to do whose work is tasks, or rows that it keeps without a spool.
type Tasks struct {
	Open  int64            // items on their way
	Since time.Time        // when the one came that has been on its way for longest; zero if none is
	Taken int64            // items that came in, ever
	Bytes map[string]int64 // that each destination got, ever
	Sinks []SinkBooks      // of rows that are kept without a spool
}

// Env is what a job is given to work with. It lives as long as one run of the job.
type Env struct {
	Name    string
	Dir     string // the job's directory: what belongs beside the store goes here
	Store   *store.Store
	History *History
	Room    *Room
	Log     *slog.Logger
}

// Spec declares a job.
type Spec struct {
	Name   string
	Kind   string
	Role   string // of several jobs that do one work together; "" for none
	Once   bool   // it ends by itself, and must not wait for a person
	Config string // as written, secrets unexpanded: it is kept with checkpoints
	// New builds the job for one run.
	New func(ctx context.Context, env Env) (Job, error)
}

// Options tune an engine.
type Options struct {
	Dir   string // the data directory
	Log   *slog.Logger
	Room  RoomLimits
	Cache int64 // bytes of block cache that all stores share; default 32 MiB
	// Stay has Run go on until its context ends, though no job is at work: others may be added. A job that failed for good
	// ends it all the same.
	Stay bool
	// Full, if it is set, reports whether to treat the disk as full whatever room it has: for demonstrations and tests.
	Full func() bool
	// Fatal is handed to the stores.
	Fatal func(error)
}

// Engine runs a set of jobs in one data directory.
type Engine struct {
	opts  Options
	room  *Room
	cache *store.Cache

	// changing is held while the set of jobs changes, and while a closed store is worked on that no runner
	// looks after: else a job that is added meanwhile would open it. It comes before mu.
	changing sync.Mutex

	mu      sync.Mutex // guards what is below
	runners []*runner
	launch  func(*runner)      // starts a runner; nil while the engine does not run
	came    chan struct{}      // closed when a runner is started; nil if nobody waits for that
	series  map[string]*recent // by job
}

// ErrPaused ends a job that is to do its work once, and that a person has paused.
var ErrPaused = errors.New("it is paused")

// JobDir is where a job lives in a data directory.
func JobDir(dataDir, job string) string { return filepath.Join(dataDir, "jobs", job) }

// New returns an engine for the jobs; nothing runs yet.
func New(o Options, specs []Spec) (*Engine, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Cache == 0 {
		o.Cache = 32 << 20
	}
	room, err := NewRoom(o.Dir, o.Room, o.Log)
	if err != nil {
		return nil, err
	}
	room.full = o.Full
	e := &Engine{opts: o, room: room}
	for _, s := range specs {
		e.runners = append(e.runners, newRunner(e, s))
	}
	return e, nil
}

// Run runs all jobs until ctx ends or, without Options.Stay, every job's work is done. How long a job takes to drain then
// is its own.
func (e *Engine) Run(ctx context.Context) error {
	e.sweep() // before room is asked for
	if err := e.room.Start(ctx); ctx.Err() != nil {
		return nil // told to stop while it waited for room
	} else if err != nil {
		return err
	}
	e.cache = store.NewCache(e.opts.Cache)
	defer e.cache.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	sampling, stop := context.WithCancel(ctx)
	defer stop()
	wg.Go(func() { e.sample(sampling) })
	e.begin(func(r *runner) {
		run, leave := context.WithCancel(ctx)
		r.leave = leave
		wg.Go(func() {
			defer close(r.ended)
			defer leave()
			r.err = r.run(run)
		})
	})
	return e.wait(ctx)
}

// Room is the disk under the data directory.
func (e *Engine) Room() *Room { return e.room }

// runner keeps one job going.
type runner struct {
	e      *Engine
	spec   Spec
	log    *slog.Logger
	met    atomic.Bool    // damage was met while the store was open: it is salvaged at the next start
	life   record.Lineage // of the store that was opened last; of run's goroutine
	unread int            // failures in a row by a disk that can't be read; of run's goroutine

	errands chan errand   // what is to be done while the store is closed
	leave   func()        // ends run; set when it is started
	ended   chan struct{} // closed when run has returned
	err     error         // of run, once it has ended

	// beginning is held while the job is made, or while an errand is done in the place of a job that does not run; taken
	// before mu.
	beginning sync.Mutex

	pausing sync.Mutex // makes one step of paused in the store and here; taken before mu, also across a commit

	mu       sync.Mutex // guards what is below
	state    State
	since    time.Time
	last     string // last error
	restarts int64
	failing  time.Time // since when it fails again and again
	env      *Env
	job      Job
	stop     context.CancelFunc // ends the run under way
	done     bool               // its work is done for good
	paused   bool
	resume   chan struct{} // closed to end a pause
	// toldPaused says that the history has it.
	toldPaused bool
	progress   *Progress
	meter      meter
}

// State is what a job is doing.
type State string

// The states of a job.
const (
	Starting  State = "starting"
	Running   State = "running"
	Paused    State = "paused"
	BackOff   State = "restarting" // it failed and waits for its next try
	Salvaging State = "salvaging"
	Offline   State = "offline" // it waits while a person's command works on its closed store
	Stopped   State = "stopped" // its work is done, or the engine ended
)

// States are all of them.
var States = []State{Starting, Running, Paused, BackOff, Salvaging, Offline, Stopped}

// Progress is how far long work has come.
type Progress struct {
	What    string        `json:"what"`
	Percent float64       `json:"percent"`
	Left    time.Duration `json:"left"`
}

func newRunner(e *Engine, s Spec) *runner {
	return &runner{e: e, spec: s, log: e.opts.Log.With("job", s.Name), state: Starting, since: time.Now(),
		errands: make(chan errand), ended: make(chan struct{})}
}

func (r *runner) set(s State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != s {
		r.state, r.since = s, time.Now()
	}
}

// setProgress says how far long work has come; nil is that it has ended.
func (r *runner) setProgress(p *Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress = p
}

// run starts the job again and again until its work is done or ctx ends.
func (r *runner) run(ctx context.Context) error {
	defer r.set(Stopped)
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 500*time.Millisecond, time.Minute
	for {
		began := time.Now()
		e, err := r.untilErrand(ctx)
		if e != nil {
			r.do(*e)
			continue
		}
		if ctx.Err() != nil || err == nil {
			return nil
		}
		_, hopeless := errors.AsType[*hopeless](err)
		if fault.Is(err, fault.Busy) || errors.Is(err, ErrPaused) || hopeless {
			return err
		}
		worked := time.Since(began) > time.Minute
		if worked {
			pause.Reset()
		}
		r.suspect(err)
		wait := pause.NextBackOff()
		r.failed(err, wait, worked)
		select {
		case <-ctx.Done():
			return nil
		case e := <-r.errands:
			r.do(e)
		case <-time.After(wait):
		}
	}
}

// hopeless is why a job can't be built that must not wait for a person.
type hopeless struct{ error }

// Hopeless marks an error of Spec.New after which the engine ends instead of trying again: a person must act, and the work
// is not to wait for that.
func Hopeless(err error) error { return &hopeless{err} }

func (h *hopeless) Unwrap() error { return h.error }

// unreadTries is how many failures in a row by a disk that can't be read make a damaged store of it.
const unreadTries = 6

// suspect counts them. A bad sector would else stop the job for ever: salvaged, it loses what stands there,
// and the store stays in quarantine for a disk that recovers.
func (r *runner) suspect(err error) {
	if !errors.Is(err, store.ErrUnreadable) {
		r.unread = 0
		return
	}
	if r.unread++; r.unread == unreadTries {
		r.unread = 0
		r.met.Store(true)
		r.log.Error(fmt.Sprintf("job %s: the disk did not give its store %d times in a row: what can't be read "+
			"counts as damage now", r.spec.Name, unreadTries))
	}
}

// failed tells that the job ended with err; worked says that it was at work for a while before.
func (r *runner) failed(err error, wait time.Duration, worked bool) {
	r.set(BackOff)
	r.mu.Lock()
	r.last = err.Error()
	r.restarts++
	if worked || r.failing.IsZero() {
		r.failing = time.Now()
	}
	attrs := []any{"in", wait.Round(time.Millisecond)}
	if hint := fault.HintOf(err); hint != "" {
		r.last += "; " + hint
		attrs = append(attrs, "hint", hint)
	}
	r.mu.Unlock()
	if p, ok := errors.AsType[*fault.Panic](err); ok {
		attrs = append(attrs, "stack", string(p.Stack))
	}
	r.log.Error(fmt.Sprintf("job %s failed and starts again: %v", r.spec.Name, err), attrs...)
}

// once opens the store, runs the job until it ends, and closes the store.
func (r *runner) once(ctx context.Context) (err error) {
	r.set(Starting)
	env, err := r.open(ctx)
	if err != nil {
		return err
	}
	recording, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { r.record(recording, env.Store) })
	defer func() {
		stop()
		wg.Wait()
		r.mu.Lock()
		r.env, r.job = nil, nil
		r.mu.Unlock()
		err = errors.Join(err, env.Store.Close())
	}()
	for {
		if err := r.whilePaused(ctx, env); err != nil {
			return err
		}
		done, err := r.work(ctx, env)
		if done || err != nil {
			return err
		}
	}
}

// work runs the job until it ends, is paused (done is false then) or ctx ends.
func (r *runner) work(ctx context.Context, env Env) (done bool, err error) {
	run, stop := context.WithCancel(ctx)
	defer stop()
	job, err := r.begin(run, stop, env)
	if err != nil {
		if r.spec.Once && fault.Is(err, fault.Permanent) {
			err = &hopeless{err}
		}
		return true, err
	}
	keepOutline(env.Store, job, false)
	r.set(Running)
	env.History.Note("job.started", "job %s runs (lineage %s)", env.Name, env.Store.Lineage())
	var watching sync.WaitGroup
	watching.Go(func() { r.watch(run, env.Store) })
	err = fault.Catch(func() error { return job.Run(run) })
	cut := run.Err() != nil // by a pause, which may be over already, or by damage
	stop()
	watching.Wait()
	if _, panicked := errors.AsType[*fault.Panic](err); !panicked { // else it may have left something locked
		keepOutline(env.Store, job, true)
	}
	r.mu.Lock()
	r.meter = meter{}
	paused := r.paused
	r.job = nil
	r.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		env.History.Note("job.stopped", "job %s stopped", env.Name)
		return true, nil
	case r.met.Load():
		return true, fault.New(fault.Corrupt, "the store is damaged")
	case paused || cut:
		return false, nil
	case err != nil:
		env.History.Warn("job.failed", "job %s failed: %v", env.Name, err)
		return true, err
	}
	r.mu.Lock()
	r.done = true
	r.mu.Unlock()
	env.History.Note("job.done", "job %s has done its work", env.Name)
	return true, nil
}

// begin makes the job, which stop ends.
func (r *runner) begin(ctx context.Context, stop context.CancelFunc, env Env) (Job, error) {
	r.beginning.Lock()
	defer r.beginning.Unlock()
	job, err := r.spec.New(ctx, env)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.env, r.job, r.stop = &env, job, stop
	if r.paused || r.met.Load() { // since the run before ended: there was nothing to stop then
		stop()
	}
	return job, nil
}

func (r *runner) open(ctx context.Context) (Env, error) {
	dir := JobDir(r.e.opts.Dir, r.spec.Name)
	st, err := r.openStore(ctx, dir)
	if err != nil {
		return Env{}, err
	}
	if err := r.loadPaused(st); err != nil { // before anyone finds the store and pauses it
		return Env{}, errors.Join(err, st.Close())
	}
	env := Env{Name: r.spec.Name, Dir: dir, Store: st, Room: r.e.room, Log: r.log,
		History: newHistory(st, r.spec.Name, r.log)}
	r.mu.Lock()
	r.env = &env
	r.mu.Unlock()
	return env, nil
}

// openStore opens the store of the job. A restore or a salvage that a crash interrupted is brought to
// its end first, and a damaged store is salvaged.
func (r *runner) openStore(ctx context.Context, dir string) (*store.Store, error) {
	out, err := checkpoint.Recover(dir, checkpoint.Work{})
	if err != nil {
		return nil, err
	}
	if out != checkpoint.Nothing {
		r.log.Warn(fmt.Sprintf("job %s: %s", r.spec.Name, out))
	}
	o := store.Options{Cache: r.e.cache, Log: r.log, Admit: r.e.room.Admit, Fatal: r.e.opts.Fatal,
		Damaged: r.damaged}
	met := r.met.Load()
	st, err := store.Open(dir, o)
	if met && err == nil && st.Lineage() != r.life {
		r.met.Store(false) // another store is in the place of the damaged one: it was restored
	}
	if _, damaged := errors.AsType[*store.Damage](err); !damaged && !r.met.Load() {
		return r.opened(st, err)
	}
	if err == nil { // damage that only reading showed
		err = errors.Join(errors.New("damage was met while the job ran"), st.Close())
	}
	r.set(Salvaging)
	r.log.Error(fmt.Sprintf("job %s is damaged and will be salvaged: %v", r.spec.Name, err))
	if err := r.salvage(ctx, dir, err); err != nil {
		return nil, err
	}
	r.met.Store(false)
	return r.opened(store.Open(dir, o))
}

func (r *runner) opened(st *store.Store, err error) (*store.Store, error) {
	if err == nil {
		r.life = st.Lineage()
	}
	return st, err
}

// salvage leaves as much of the disk to the other jobs as intake does.
func (r *runner) salvage(ctx context.Context, dir string, found error) error {
	defer r.setProgress(nil)
	_, err := Salvage(ctx, dir, r.spec.Name, found, SalvageOptions{Log: r.log, Reserve: r.e.room.limits.Hard,
		Tell: func(p Progress) { r.setProgress(&p) }})
	return err
}

// damaged is called when a table turns out to be damaged while the job runs: the run ends, and the
// next one finds the damage before it opens the store.
func (r *runner) damaged(err error) {
	r.met.Store(true)
	r.log.Error("damage: " + err.Error())
	r.mu.Lock()
	stop := r.stop
	r.mu.Unlock()
	if stop != nil {
		stop()
	}
}

var keyPaused = store.Meta.K().Str("paused")

func (r *runner) loadPaused(st *store.Store) error {
	r.pausing.Lock()
	defer r.pausing.Unlock()
	return st.Latest(func(rd store.Reader) error {
		_, paused, err := rd.Get(keyPaused)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.paused = paused; paused {
			r.resume = make(chan struct{}) // that of an earlier pause may be closed
		}
		return err
	})
}

// whilePaused blocks while the job is paused. A pause survives restarts.
func (r *runner) whilePaused(ctx context.Context, env Env) error {
	r.mu.Lock()
	paused, resume, told := r.paused, r.resume, r.toldPaused
	r.toldPaused = paused
	r.mu.Unlock()
	if !paused {
		return nil
	}
	r.set(Paused)
	if r.spec.Once {
		return fault.WithHint(fault.New(fault.Permanent, "job %s: %w", r.spec.Name, ErrPaused),
			"`holdfast resume %s` lets it go on", r.spec.Name)
	}
	if !told { // its store may have been away for an order meanwhile
		env.History.Note("job.paused", "job %s is paused", env.Name)
	}
	select {
	case <-resume:
		r.mu.Lock()
		r.toldPaused = false
		r.mu.Unlock()
		env.History.Note("job.resumed", "job %s goes on", env.Name)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SetPaused pauses or resumes the job of a store while no engine runs it.
func SetPaused(st *store.Store, paused bool) error {
	return st.Update(func(tx *store.Tx) error {
		if paused {
			tx.Set(keyPaused, nil)
		} else {
			tx.Delete(keyPaused)
		}
		return nil
	})
}

// setPaused pauses or resumes the job, durably: the store first, so that the job has not stopped by a pause, nor
// gone on, that a crash takes back. Orders that come at once are done one behind the other, as a whole: else the
// one that is durable last could be another than the one that the job obeys, until a restart.
func (r *runner) setPaused(paused bool) error {
	r.pausing.Lock()
	defer r.pausing.Unlock()
	r.mu.Lock()
	env, state := r.env, r.state
	r.mu.Unlock()
	if env == nil {
		return fault.New(fault.Transient, "job %s is not open now (%s); try again", r.spec.Name, state)
	}
	if err := SetPaused(env.Store, paused); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case paused && !r.paused:
		r.paused, r.resume = true, make(chan struct{})
		if r.stop != nil {
			r.stop()
		}
	case !paused && r.paused:
		r.paused = false
		close(r.resume)
	}
	return nil
}
