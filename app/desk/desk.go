// Package desk carries out what people ask of jobs, and tells them what they must know: status, audits, checkpoints, dead
// letters, spools, files, windows, crawls, actions of rules; alerts to whom the configuration names (Notify) and checkpoints
// by the clock (KeepCheckpoints).
//
// A Desk answers alike whether the jobs run in this process (New) or not at all (Open). For jobs of another process the API
// of that one's desk is asked: face/api. Answers are structs that the API writes as JSON, so their fields are a promise to
// its clients.
//
// It asks app for what only the kind of a job knows, and fulfils app.Desk, by which rules order jobs. The API and the
// commands of the face call it.
package desk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/app"
	"holdfast/app/datadir"
	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/visible"
	"holdfast/job/crawl"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/kernel/store"
)

// Desk is where people ask questions and give orders to the jobs of one data directory. Beside a
// running engine it works through the engine; else it opens the stores itself, and holds the lock
// of the directory so that no engine starts meanwhile.
type Desk struct {
	plan  *app.Plan
	eng   *engine.Engine // nil while none runs
	since time.Time
	lock  *disk.Lock

	reloading sync.Mutex // held by the one reload that is under way
	replaying sync.Mutex // held by the one replay of rules that is under way

	mu   sync.Mutex
	work map[*Work]struct{} // long work under way; guarded by mu
}

var _ app.Desk = (*Desk)(nil)

// New returns the desk of a running engine.
func New(p *app.Plan, e *engine.Engine) *Desk {
	d := newDesk(p)
	d.eng, d.since = e, time.Now()
	p.SetDesk(d)
	return d
}

func newDesk(p *app.Plan) *Desk { return &Desk{plan: p, work: map[*Work]struct{}{}} }

// Open returns the desk of a data directory in which no engine runs. A Busy fault says that one
// does. config, if not nil, is the configuration of its jobs.
func Open(place datadir.Place, config *app.Config) (*Desk, error) {
	lock, err := disk.Acquire(datadir.LockFile(place.Dir))
	if err != nil {
		return nil, err
	}
	d := newDesk(&app.Plan{Place: place, Log: slog.New(slog.DiscardHandler)})
	d.lock = lock
	if config != nil {
		d.plan.Jobs = config.Jobs
		return d, nil
	}
	names, err := datadir.Jobs(place.Dir)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	for _, name := range names {
		d.plan.Jobs = append(d.plan.Jobs, app.Recorded(place.Dir, name))
	}
	return d, nil
}

// Close gives the directory up.
func (d *Desk) Close() error {
	if d.lock == nil {
		return nil
	}
	return d.lock.Release()
}

// names are the jobs that can be asked for.
func (d *Desk) names() ([]string, error) {
	if d.eng != nil {
		return d.eng.Names(), nil
	}
	return datadir.Jobs(d.plan.Place.Dir)
}

// only returns the jobs that are meant: one, or all for "".
func (d *Desk) only(job string) ([]string, error) {
	names, err := d.names()
	if err != nil || job == "" {
		return names, err
	}
	if !slices.Contains(names, job) {
		return nil, fault.WithHint(fault.New(fault.NotFound, "there is no job %s in %s", job, d.plan.Place.Dir),
			"%s", jobsHint(names))
	}
	return []string{job}, nil
}

func jobsHint(names []string) string {
	if len(names) == 0 {
		return "there are no jobs at all"
	}
	return fmt.Sprintf("jobs are: %v", names)
}

// with runs f with the open store of a job.
func (d *Desk) with(ctx context.Context, job string, f func(*store.Store) error) (err error) {
	if _, err := d.only(job); err != nil {
		return err
	}
	if d.eng != nil {
		return d.withEngine(ctx, job, f)
	}
	return d.atRest(job, f)
}

// atRest runs f with the store of a job that nobody has open.
func (d *Desk) atRest(job string, f func(*store.Store) error) error {
	return d.plan.AtRest(job, func(env engine.Env) error { return f(env.Store) })
}

// openFor is how long a request waits for a job that is just starting.
const openFor = 5 * time.Second

// withEngine runs f with the store that the engine has open. That of a job whose work is done is opened for it.
func (d *Desk) withEngine(ctx context.Context, job string, f func(*store.Store) error) error {
	called := false
	err := d.soon(ctx, job, func() error {
		return d.eng.WithStore(job, func(st *store.Store) error {
			called = true
			return f(st)
		})
	})
	if called || !fault.Is(err, fault.Transient) {
		return err
	}
	if d.eng.State(job) == engine.Stopped {
		return d.eng.Offline(ctx, job, func() error { return d.atRest(job, f) })
	}
	return fault.WithHint(err, "see `holdfast status %s`", job)
}

// soon tries something that a job which is just starting can't do yet, again and again for openFor. One that failed, and waits
// for its next try, is not waited for: that may be minutes off.
func (d *Desk) soon(ctx context.Context, job string, try func() error) error {
	for deadline := time.Now().Add(openFor); ; {
		err := try()
		if !fault.Is(err, fault.Transient) || time.Now().After(deadline) {
			return err
		}
		if state := d.eng.State(job); state != engine.Starting && state != engine.Offline {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// view runs f over the durable state of a job's store.
func (d *Desk) view(ctx context.Context, job string, f func(r store.Reader) error) error {
	return d.with(ctx, job, func(st *store.Store) error { return st.View(ctx, f) })
}

// Report is what people see of a data directory.
type Report struct {
	Place   datadir.Place `json:"place"`
	Running bool          `json:"running"`
	Pid     int           `json:"pid,omitempty"`
	Since   time.Time     `json:"since,omitzero"`
	Version string        `json:"version"`
	Tour    bool          `json:"tour,omitempty"` // there are outages to switch on
	Notices []string      `json:"notices,omitempty"`
	// ShortSince is from when on sources wait for room on the disk; zero while there is room.
	ShortSince time.Time  `json:"short_since,omitzero"`
	Work       []Progress `json:"work,omitempty"`
	// Checkpoints are those that are being made, from their first moment on. The jobs go on meanwhile.
	Checkpoints []Checkpointing `json:"checkpointing,omitempty"`
	Jobs        []engine.Status `json:"jobs"`
	// Letters are the dead letters of each job, Stayed the cache files that could not be taken in.
	Letters map[string]int64        `json:"dead_letters"`
	Stayed  map[string][]app.Stayed `json:"stayed,omitempty"`
}

// Status returns the state of all jobs, or of one.
func (d *Desk) Status(ctx context.Context, job string) (Report, error) {
	rep := Report{Place: d.plan.Place, Version: app.Version, Tour: d.plan.Outages != nil, Notices: d.plan.Notices,
		Work: d.underWay(),
		Jobs: []engine.Status{}, Letters: map[string]int64{}, Stayed: map[string][]app.Stayed{}}
	names, err := d.only(job)
	if err != nil {
		return rep, err
	}
	for _, name := range names {
		if stayed := app.ReadStayed(engine.JobDir(d.plan.Place.Dir, name)); len(stayed) > 0 {
			rep.Stayed[name] = stayed
		}
	}
	if d.eng == nil {
		for _, name := range names {
			rep.Jobs = append(rep.Jobs, d.statusAtRest(ctx, name, rep.Letters))
		}
		return rep, ctx.Err()
	}
	rep.Running, rep.Pid, rep.Since = true, os.Getpid(), d.since
	if short, since := d.eng.Room().Short(); short {
		rep.ShortSince = since.UTC()
	}
	rep.Notices = slices.Concat(rep.Notices, d.warnings())
	all, err := d.eng.Status(ctx)
	for _, s := range all {
		if !slices.Contains(names, s.Name) {
			continue
		}
		if s.Readable { // who only asks waits for no store to be opened
			d.countLetters(ctx, &s, rep.Letters)
			if len(s.Notes) == 0 {
				d.noteCrawl(ctx, &s)
				d.noteSupervise(ctx, &s)
			}
		}
		d.noteBegun(&s)
		rep.Jobs = append(rep.Jobs, s)
	}
	rep.tellCheckpoints(d.checkpointing(names))
	return rep, err
}

// warnings tell of rows that no job looks after.
func (d *Desk) warnings() (out []string) {
	out = append(out, d.plan.BegunWarnings()...)
	dirs, err := os.ReadDir(filepath.Join(d.plan.Place.Dir, "jobs"))
	if err != nil {
		return out
	}
	for _, e := range dirs {
		_, begun := os.Stat(app.BegunFile(d.plan.Place.Dir, e.Name()))
		if e.IsDir() && !slices.Contains(d.eng.Names(), e.Name()) && begun != nil { // what is begun is told above
			out = append(out, fmt.Sprintf("%s holds a job that is not configured: what waits in it is delivered "+
				"when a job of that name runs", filepath.Join("jobs", e.Name())))
		}
	}
	return out
}

// statusAtRest is the status of a job while nothing runs. What can't be read is told in it: it must not hide
// what can, nor the other jobs.
func (d *Desk) statusAtRest(ctx context.Context, job string, dead map[string]int64) engine.Status {
	s := engine.Status{Name: job, State: engine.Stopped, Gates: []gate.Status{}, Balance: engine.EmptyBooks(job)}
	err := d.view(ctx, job, func(r store.Reader) (err error) {
		if s, err = engine.ReadStatus(r, job); err == nil {
			dead[job], err = balance.Letters(r)
		}
		return err
	})
	if j, _ := d.plan.Job(job); j.Role() != "" {
		s.Role = j.Role()
	}
	if s.Kind = d.kindOf(job); err != nil {
		s.Tell(err)
	} else {
		d.noteCrawl(ctx, &s)
		d.noteSupervise(ctx, &s)
	}
	d.noteBegun(&s)
	return s
}

// countLetters counts the dead letters of a job at work. One that is not open just now is no mistake.
func (d *Desk) countLetters(ctx context.Context, s *engine.Status, dead map[string]int64) {
	err := d.view(ctx, s.Name, func(r store.Reader) (err error) {
		dead[s.Name], err = balance.Letters(r)
		return err
	})
	if err != nil && !fault.Is(err, fault.Transient) && !errors.Is(err, store.ErrClosed) {
		s.Tell(err)
	}
}

func (d *Desk) kindOf(job string) string {
	j, _ := d.plan.Job(job)
	return j.Kind
}

// Pause stops a job's work, until Resume, restarts included.
func (d *Desk) Pause(job string) error {
	return d.setPaused(job, func(st *store.Store) error { return engine.SetPaused(st, true) }, (*engine.Engine).Pause)
}

// Resume ends a pause, and lets a running job try at once what it waits for: a person has mended it.
func (d *Desk) Resume(job string) error {
	undrain := func(*store.Store) error { return nil }
	if d.kindOf(job) == app.CrawlKind {
		undrain = crawl.EndDrain
	}
	atRest := func(st *store.Store) error { return errors.Join(undrain(st), engine.SetPaused(st, false)) }
	return d.setPaused(job, atRest, func(e *engine.Engine, job string) error {
		if err := e.WithStore(job, undrain); err != nil {
			return err
		}
		if err := e.Resume(job); err != nil {
			return err
		}
		_, err := e.Command(context.Background(), job, "try", nil)
		if fault.Is(err, fault.Transient) { // it begins just now, and tries everything
			return nil
		}
		return err
	})
}

// OpenGate opens a gate of a running job on the word of a person, for a reason that the history keeps.
func (d *Desk) OpenGate(job, gate, reason string) error {
	switch {
	case strings.TrimSpace(reason) == "":
		return fault.New(fault.Invalid, "a reason is missing: the history keeps why the gate was opened")
	case d.eng == nil:
		return d.notRunning(job)
	}
	return d.eng.OpenGate(job, gate, visible.Line(reason))
}

// setPaused has running tell the engine, or atRest write it down where the store is not open.
func (d *Desk) setPaused(job string, atRest func(*store.Store) error, running func(*engine.Engine, string) error) error {
	if _, err := d.only(job); err != nil {
		return err
	}
	if d.eng == nil {
		return d.atRest(job, atRest)
	}
	err := running(d.eng, job)
	if !fault.Is(err, fault.Transient) && !errors.Is(err, store.ErrClosed) {
		return err
	}
	// Its store is closed, for it failed and waits for its next try: a person may want to end that.
	ctx, cancel := context.WithTimeout(context.Background(), openFor)
	defer cancel()
	closed := func() error { return d.atRest(job, atRest) }
	if offline := d.eng.Offline(ctx, job, closed); offline != context.DeadlineExceeded {
		return offline
	}
	return err
}

func (d *Desk) notRunning(job string) error {
	if _, err := d.only(job); err != nil {
		return err
	}
	return fault.WithHint(fault.New(fault.Transient, "job %s does not run", job),
		"start it with `holdfast run` or the command that it belongs to")
}

// Command hands an order to a running job.
func (d *Desk) Command(ctx context.Context, job, name string, args ...string) (string, error) {
	if d.eng == nil {
		return "", d.notRunning(job)
	}
	return d.eng.Command(ctx, job, name, args)
}

// commandSoon is Command, which waits for a job that is just starting.
func (d *Desk) commandSoon(ctx context.Context, job, name string, args ...string) (text string, err error) {
	if d.eng == nil {
		return "", d.notRunning(job)
	}
	err = d.soon(ctx, job, func() (err error) {
		text, err = d.eng.Command(ctx, job, name, args)
		return err
	})
	return text, err
}

// Outages are those of the tour; another process has none.
func (d *Desk) Outages() (app.Outages, error) {
	if d.plan.Outages == nil {
		return nil, fault.WithHint(fault.New(fault.NotFound, "this is no tour"), "`holdfast demo` is one")
	}
	return d.plan.Outages, nil
}
