package engine

import (
	"cmp"
	"context"
	"slices"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/gate"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// Status is what a person sees of a job.
type Status struct {
	Name     string        `json:"name"`
	Kind     string        `json:"kind"`
	State    State         `json:"state"`
	Since    time.Time     `json:"since"`
	Error    string        `json:"error,omitempty"` // why it last failed, or can't be read
	Gates    []gate.Status `json:"gates"`
	Backlog  Backlog       `json:"backlog"`
	Rates    *Rates        `json:"rates,omitempty"` // while the job runs
	Spool    spool.Stats   `json:"spool"`
	Balance  Books         `json:"balance"`
	Notes    [][2]string   `json:"notes,omitempty"`
	Damage   *Event        `json:"damage,omitempty"` // the last, until a verification finds all whole
	Progress *Progress     `json:"progress,omitempty"`
}

// Backlog is the largest that any sink of the job has.
type Backlog struct {
	Rows   int64     `json:"rows"`
	Bytes  int64     `json:"bytes"`
	Oldest time.Time `json:"oldest,omitzero"`
}

// Status returns the state of every job. A job whose store can't be read says so in its Error, and hides
// no other: it is when something is wrong that people ask. The error is that of ctx.
func (e *Engine) Status(ctx context.Context) ([]Status, error) {
	out := make([]Status, 0, len(e.runners))
	for _, r := range e.runners {
		s, err := r.status(ctx)
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
	text := "read status: " + err.Error()
	if s.Error != "" {
		text = s.Error + "; " + text
	}
	s.Error = text
}

func (r *runner) status(ctx context.Context) (Status, error) {
	r.mu.Lock()
	s := Status{Name: r.spec.Name, Kind: r.spec.Kind, State: r.state, Since: r.since, Error: r.last,
		Gates: []gate.Status{}, Progress: r.progress, Rates: r.meter.rates()}
	env, job := r.env, r.job
	r.mu.Unlock()
	if job != nil {
		s.Gates = append(s.Gates, job.Gates()...)
		s.Notes = job.Notes()
	}
	if env == nil {
		return s, nil
	}
	err := env.Store.View(ctx, func(rd store.Reader) error { return s.read(rd) })
	if err == store.ErrClosed {
		err = nil
	}
	return s, err
}

// ReadStatus returns what can be told of a job from its store alone, while nothing runs.
func ReadStatus(r store.Reader, name string) (Status, error) {
	s := Status{Name: name, State: Stopped, Gates: []gate.Status{}}
	_, paused, err := r.Get(keyPaused)
	if err != nil {
		return s, err
	}
	if paused {
		s.State = Paused
	}
	return s, s.read(r)
}

func (s *Status) read(r store.Reader) (err error) {
	if s.Balance, err = readBooks(r, s.Name, false); err != nil {
		return err
	}
	for _, k := range s.Balance.Sinks {
		if k.Pending > s.Backlog.Rows {
			s.Backlog = Backlog{Rows: k.Pending, Bytes: k.PendingBytes, Oldest: k.Oldest}
		}
	}
	if s.Damage, err = readDamage(r); err != nil {
		return err
	}
	s.Spool, err = spool.ReadStats(r)
	return err
}

// Pause stops a job's work, Resume lets it go on. Both survive restarts.
func (e *Engine) Pause(job string) error {
	return e.with(job, func(r *runner) error { return r.setPaused(true) })
}

// Resume ends a pause.
func (e *Engine) Resume(job string) error {
	return e.with(job, func(r *runner) error { return r.setPaused(false) })
}

// Command hands a person's request to a running job.
func (e *Engine) Command(ctx context.Context, job, name string, args []string) (out string, err error) {
	err = e.with(job, func(r *runner) error {
		r.mu.Lock()
		j, state := r.job, r.state
		r.mu.Unlock()
		if j == nil {
			return fault.New(fault.Transient, "job %s does not run now (%s)", job, state)
		}
		out, err = j.Command(ctx, name, args)
		return err
	})
	return out, err
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
	out := make([]string, len(e.runners))
	for i, r := range e.runners {
		out[i] = r.spec.Name
	}
	return out
}

func (e *Engine) with(job string, f func(*runner) error) error {
	for _, r := range e.runners {
		if r.spec.Name == job {
			return f(r)
		}
	}
	return fault.WithHint(fault.New(fault.NotFound, "there is no job %q", job), "jobs: %v", e.Names())
}

// Events returns the newest max events of all jobs (or of one), oldest first.
func (e *Engine) Events(ctx context.Context, job string, max int) ([]Event, error) {
	var out []Event
	for _, r := range e.runners {
		r.mu.Lock()
		env := r.env
		r.mu.Unlock()
		if env == nil || (job != "" && job != r.spec.Name) {
			continue
		}
		err := env.Store.View(ctx, func(rd store.Reader) error {
			ev, err := ReadEvents(rd, 0, max)
			out = append(out, ev...)
			return err
		})
		if err != nil && err != store.ErrClosed {
			return nil, err
		}
	}
	slices.SortStableFunc(out, func(a, b Event) int { return cmp.Compare(a.At.UnixNano(), b.At.UnixNano()) })
	if len(out) > max {
		out = out[len(out)-max:]
	}
	return out, nil
}
