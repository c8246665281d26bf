package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/kernel/gate"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// Status is what a person sees of a job.
type Status struct {
	Name     string        `json:"name"`
	Kind     string        `json:"kind"`
	Role     string        `json:"role,omitempty"` // of a part of a stream: streamer, ingester, processor, api
	State    State         `json:"state"`
	Since    time.Time     `json:"since"`
	Error    string        `json:"error,omitempty"` // why it last failed, or can't be read
	Restarts int64         `json:"restarts"`        // how often it failed since the process began
	Gates    []gate.Status `json:"gates"`
	Backlog  Backlog       `json:"backlog"`
	// Lag is, for each sink, how many seconds the oldest row that it has not got has waited.
	Lag      map[string]float64 `json:"lag"`
	Rates    *Rates             `json:"rates,omitempty"` // while the job runs
	Spool    spool.Stats        `json:"spool"`
	Balance  Books              `json:"balance"`
	Notes    [][2]string        `json:"notes,omitempty"`
	Quotas   []Quota            `json:"quotas,omitempty"`   // while the job runs
	Promises map[string]string  `json:"promises,omitempty"` // of each sink, as the job last said
	Needs    []string           `json:"needs,omitempty"`    // the gates of its last run, while it does not run
	Damage   *Event             `json:"damage,omitempty"`   // the last, until a verification finds all whole
	// Acknowledged are the losses that a person knows of, nil for none.
	Acknowledged *Acknowledged `json:"acknowledged,omitempty"`

	Replays  bool             `json:"replays,omitempty"` // its rows can be delivered again, while the job runs
	Progress *Progress        `json:"progress,omitempty"`
	Taken    int64            `json:"taken,omitempty"` // tasks that came in, ever, while the job runs
	Bytes    map[string]int64 `json:"bytes,omitempty"` // that each destination of tasks got, ever, while the job runs
	// Readable says that the store is open and could be read: without it the numbers are not known.
	Readable bool `json:"-"`
}

// Backlog is the largest that any sink of the job has, or its tasks.
type Backlog struct {
	Rows   int64     `json:"rows"` // or tasks
	Bytes  int64     `json:"bytes"`
	Oldest time.Time `json:"oldest,omitzero"`
	// Seconds is the age of the oldest row.
	Seconds float64 `json:"seconds"`
}

// lag is how long what came in at that time has waited, 0 if nothing did.
func lag(oldest, now time.Time) float64 {
	if oldest.IsZero() {
		return 0
	}
	return max(0, now.Sub(oldest).Seconds())
}

// Status returns the state of every job. A job whose store can't be read says so in its Error, and hides
// no other: it is when something is wrong that people ask. The error is that of ctx.
func (e *Engine) Status(ctx context.Context) ([]Status, error) { return e.statuses(ctx, listed) }

// Counters is Status without the lists of gaps. It costs the same however much the jobs hold, so it may be
// asked for as often as one likes.
func (e *Engine) Counters(ctx context.Context) ([]Status, error) { return e.statuses(ctx, counted) }

func (e *Engine) statuses(ctx context.Context, to depth) ([]Status, error) {
	runners := e.all()
	out := make([]Status, 0, len(runners))
	for _, r := range runners {
		s, err := r.status(ctx, to)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			s.Tell(err)
		}
		out = append(out, s)
	}
	return out, nil
}

// Tell adds to the status what kept it from being read.
func (s *Status) Tell(err error) {
	text := "read status: " + secret.Mask(err.Error())
	if s.Error != "" {
		text = s.Error + "; " + text
	}
	s.Error = text
}

func (r *runner) status(ctx context.Context, to depth) (Status, error) {
	r.mu.Lock()
	s := Status{Name: r.spec.Name, Kind: r.spec.Kind, Role: r.spec.Role, State: r.state, Since: r.since, Error: secret.Mask(r.last),
		Restarts: r.restarts, Gates: []gate.Status{}, Lag: map[string]float64{}, Progress: r.progress,
		Rates: r.meter.rates(), Balance: EmptyBooks(r.spec.Name)}
	if !r.failing.IsZero() && (r.state == BackOff || r.state == Starting) {
		s.Since = r.failing
	}
	env, job := r.env, r.job
	r.mu.Unlock()
	if job != nil {
		s.Gates = append(s.Gates, job.Gates()...)
		for _, n := range job.Notes() {
			s.Notes = append(s.Notes, [2]string{n[0], secret.Mask(n[1])})
		}
		s.Quotas, s.Promises = job.Quotas(), job.Promises()
		if p, ok := job.(Replayer); ok {
			s.Replays = p.Replays()
		}
	}
	if env == nil {
		if why := r.e.room.startsLater(); s.State == Starting && why != "" {
			s.Error = why
		}
		return s, nil
	}
	err := env.Store.View(ctx, func(rd store.Reader) error {
		if err := s.read(rd, to); err != nil {
			return err
		}
		if job == nil {
			return s.recall(rd)
		}
		return s.readTasks(rd, job)
	})
	if err == store.ErrClosed {
		err = nil
	}
	return s, err
}

func (s *Status) readTasks(r store.Reader, job Job) error {
	t, err := job.Tasks(r)
	if err != nil {
		return err
	}
	s.Taken, s.Bytes = t.Taken, t.Bytes
	s.Balance.addKept(t.Sinks)
	s.weigh(t.Sinks, time.Now())
	if t.Open > s.Backlog.Rows {
		s.Backlog = Backlog{Rows: t.Open, Oldest: t.Since, Seconds: lag(t.Since, time.Now())}
	}
	return nil
}

// ReadStatus returns what can be told of a job from its store alone, while nothing runs.
func ReadStatus(r store.Reader, name string) (Status, error) {
	s := Status{Name: name, State: Stopped, Gates: []gate.Status{}, Lag: map[string]float64{}, Balance: EmptyBooks(name)}
	_, paused, err := r.Get(keyPaused)
	if err != nil {
		return s, err
	}
	if paused {
		s.State = Paused
	}
	if err := s.read(r, listed); err != nil {
		return s, err
	}
	return s, s.recall(r)
}

func (s *Status) read(r store.Reader, to depth) (err error) {
	if s.Balance, err = readBooks(r, s.Name, to); err != nil {
		return err
	}
	s.weigh(s.Balance.Sinks, time.Now())
	if s.Damage, err = readDamage(r); err != nil {
		return err
	}
	if s.Acknowledged, err = readAcknowledged(r); err != nil {
		return err
	}
	s.Spool, err = spool.ReadStats(r)
	s.Readable = err == nil
	return err
}

// weigh adds what waits for these sinks.
func (s *Status) weigh(sinks []SinkBooks, now time.Time) {
	for _, k := range sinks {
		s.Lag[k.Sink] = lag(k.Oldest, now)
		if k.Pending > s.Backlog.Rows {
			s.Backlog = Backlog{Rows: k.Pending, Bytes: k.PendingBytes, Oldest: k.Oldest, Seconds: s.Lag[k.Sink]}
		}
	}
}

// Pause stops a job's work, Resume lets it go on. Both survive restarts.
func (e *Engine) Pause(job string) error {
	return e.with(job, func(r *runner) error { return r.setPaused(true) })
}

// Resume ends a pause.
func (e *Engine) Resume(job string) error {
	return e.with(job, func(r *runner) error { return r.setPaused(false) })
}

// ErrNotRunning is part of the error of an order that only a running job can carry out.
var ErrNotRunning = errors.New("does not run now")

// Command hands a person's request to a running job.
func (e *Engine) Command(ctx context.Context, job, name string, args []string) (out string, err error) {
	err = e.with(job, func(r *runner) error {
		r.mu.Lock()
		j, state := r.job, r.state
		r.mu.Unlock()
		if j == nil {
			return fault.New(fault.Transient, "job %s %w (%s)", job, ErrNotRunning, state)
		}
		out, err = j.Command(ctx, name, args)
		return err
	})
	return out, err
}

// OpenGate opens a gate of a running job on the word of a person, whose reason goes into the history.
func (e *Engine) OpenGate(job, name, reason string) error {
	return e.with(job, func(r *runner) error {
		r.mu.Lock()
		j, env, state := r.job, r.env, r.state
		r.mu.Unlock()
		if j == nil {
			return fault.New(fault.Transient, "job %s %w (%s)", job, ErrNotRunning, state)
		}
		closed := ""
		for _, g := range j.Gates() {
			if g.Name == name && !g.Open {
				closed = fmt.Sprintf("; it was closed since %s UTC: %s", g.Since.UTC().Format(time.DateTime), g.Cause)
			}
		}
		if err := j.OpenGate(name); err != nil {
			return err
		}
		env.History.Warn("gate.forced", "a person opened the gate of %s: %s%s", name, reason, closed)
		return nil
	})
}

// Replayer is a Job that may be able to deliver its rows again.
type Replayer interface {
	Replays() bool
}

// Preparer is a Job that has something to do in front of a checkpoint: what it writes beside its store ends there.
type Preparer interface {
	Prepare(ctx context.Context, checkpoint string) error
}

// Prepare has a job do what comes in front of a checkpoint. If it does not run, atRest does it in its place; the job does
// not begin meanwhile.
func (e *Engine) Prepare(ctx context.Context, job, checkpoint string, atRest func() error) error {
	return e.with(job, func(r *runner) error {
		j := r.working()
		if j == nil {
			r.beginning.Lock()
			defer r.beginning.Unlock()
			if j = r.working(); j == nil { // it could have begun
				return atRest()
			}
		}
		if p, ok := j.(Preparer); ok {
			return p.Prepare(ctx, checkpoint)
		}
		return nil
	})
}

// working is the job that runs, nil for none.
func (r *runner) working() Job {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.job
}

// WithStore runs f with the open store of a job.
func (e *Engine) WithStore(job string, f func(*store.Store) error) error {
	return e.with(job, func(r *runner) error {
		r.mu.Lock()
		env := r.env
		r.mu.Unlock()
		if env == nil {
			return fault.New(fault.Transient, "job %s is not open now; try again", job)
		}
		return f(env.Store)
	})
}

// Names returns the names of the jobs.
func (e *Engine) Names() []string {
	runners := e.all()
	out := make([]string, len(runners))
	for i, r := range runners {
		out[i] = r.spec.Name
	}
	return out
}

// State is what a job is doing: Stopped if its work is done, and its store closed. It is empty for a job that there is not.
func (e *Engine) State(job string) State {
	r := e.find(job)
	if r == nil {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

func (e *Engine) with(job string, f func(*runner) error) error {
	if r := e.find(job); r != nil {
		return f(r)
	}
	return fault.WithHint(fault.New(fault.NotFound, "there is no job %q", job), "jobs: %v", e.Names())
}

// Unready says of each job that is not fit for work what it is doing instead: its store is not open, or it
// failed and waits for its next try. A paused job is fit, and so is one whose work is done.
func (e *Engine) Unready() map[string]State {
	out := map[string]State{}
	for _, r := range e.all() {
		r.mu.Lock()
		if r.state != Stopped && (r.env == nil || r.state != Running && r.state != Paused) {
			out[r.spec.Name] = r.state
		}
		r.mu.Unlock()
	}
	return out
}
