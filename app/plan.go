package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"holdfast/app/datadir"
	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/connector"
	"holdfast/connector/journald"
	"holdfast/job/collect"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// Plan is everything that a process needs to run jobs.
type Plan struct {
	Place       datadir.Place
	Jobs        []Job
	Listen      string // NoListen for none
	Token       secret.Text
	ReadToken   secret.Text
	Public      bool // whoever shows no token may ask
	Checkpoints Checkpoints
	Disk        Disk
	Notify      map[string]secret.Text
	Alerts      Alerts
	Log         *slog.Logger
	// Notices are told at start and stay in status.
	Notices []string
	// Once says that the work ends by itself.
	Once bool
	// TakesBegun says that jobs run, too, that a person began at the running process.
	TakesBegun bool
	// Outages can be switched on by a person; nil for none.
	Outages Outages

	readonly *readonly // to be set up at start, nil for none

	config *Config // that the plan was made of, nil for none

	before func(ctx context.Context) error // what is done before anything runs; nil for nothing

	desk atomic.Pointer[Desk] // of the running engine; nil before it is set

	mu            sync.Mutex // guards Jobs, which a reload changes, and those below
	begun         map[string]bool
	begunWarnings []string

	running   sync.Map // job name -> the *collect.Job of its last start
	ingesters sync.Map // job name -> the *ingester.Source of its last start
	passes    sync.Map // job name -> where the last scan of one pass is
	streamers sync.Map // job name -> the *streamer.Job of its last start
	bells     journald.Bells
	serves    sync.Map // job name -> the *serve.Job of its last start
	endings   sync.Map // job name -> the ending of its work
	brokers   brokers

	// Ask puts a question to the engine of another data directory; nil if nobody can.
	Ask func(ctx context.Context, dir, path string, answer any) error
}

// Close ends what the jobs of the plan shared, once they have ended.
func (p *Plan) Close() error { return p.brokers.Close() }

// Plan makes a plan of a configuration. dataDir and listen, if not empty, are stronger than the
// file.
func (c *Config) Plan(dataDir, listen string, log *slog.Logger) (*Plan, error) {
	place, err := datadir.Locate(orElse(dataDir, c.DataDir), "")
	if err != nil {
		return nil, err
	}
	p, err := c.PlanAt(place, listen, log)
	if err == nil {
		p.TakesBegun = c.file != ""
	}
	return p, err
}

// PlanAt is Plan for a data directory that was found.
func (c *Config) PlanAt(place datadir.Place, listen string, log *slog.Logger) (*Plan, error) {
	p := &Plan{Place: place, Jobs: c.Jobs, Listen: orElse(listen, c.Listen), Token: c.Token,
		ReadToken:   c.ReadToken,
		Checkpoints: c.Checkpoints, Disk: c.Disk, Notify: c.Notify, Alerts: c.Alerts, Log: log,
		config: c}
	return p, CheckListen(orElse(p.Listen, NoListen), p.Token)
}

// Lock takes the data directory for this process. A Busy fault names the process that has it.
func (p *Plan) Lock() (io.Closer, error) {
	l, err := disk.Acquire(datadir.LockFile(p.Place.Dir))
	if err != nil {
		return nil, err
	}
	return closer(l.Release), nil
}

type closer func() error

func (c closer) Close() error { return c() }

// Begin does what comes before anything runs. The caller holds the lock.
func (p *Plan) Begin(ctx context.Context) error {
	if p.before == nil {
		return nil
	}
	return p.before(ctx)
}

// Engine returns an engine for the plan's jobs and those that were begun beside them; the caller holds the lock. fatal is
// called when a store can't be written any more; it must not return.
func (p *Plan) Engine(fatal func(error)) (*engine.Engine, error) {
	begun, err := p.begunBeside(p.Jobs)
	if err != nil {
		return nil, err
	}
	for _, j := range begun.jobs {
		p.Put(j)
	}
	p.settle(begun)
	if err := p.Record(p.Jobs); err != nil {
		return nil, err
	}
	var specs []engine.Spec
	for _, j := range p.Jobs {
		s, err := p.Spec(j)
		if err != nil {
			return nil, err
		}
		specs = append(specs, s)
	}
	o := engine.Options{Dir: p.Place.Dir, Log: p.Log, Fatal: fatal, Stay: p.File() != "" && !p.Once,
		Room: engine.RoomLimits{Soft: uint64(p.Disk.Soft), Hard: uint64(p.Disk.Hard)}}
	if p.Outages != nil {
		o.Full = p.Outages.DiskIsFull
	}
	return engine.New(o, specs)
}

// Spec declares a job to the engine.
func (p *Plan) Spec(j Job) (engine.Spec, error) {
	if w, ok := j.work.(interface{ needs() error }); ok {
		if err := w.needs(); err != nil {
			return engine.Spec{}, err
		}
	}
	w, ok := j.work.(interface{ spec(*Plan, Job) engine.Spec })
	if !ok {
		return engine.Spec{}, fault.New(fault.Permanent, "job %s: a %s can't run", j.Name, j.Kind)
	}
	return w.spec(p, j), nil
}

// Job returns the job of a name.
func (p *Plan) Job(name string) (Job, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := p.index(name); i >= 0 {
		return p.Jobs[i], true
	}
	return Job{}, false
}

// all are the jobs as they stand.
func (p *Plan) all() []Job {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.Jobs)
}

// index is the place of a job in Jobs, -1 if it is not there. The caller holds mu.
func (p *Plan) index(name string) int {
	return slices.IndexFunc(p.Jobs, func(j Job) bool { return j.Name == name })
}

const RecordedName = "config.yaml"

// configFile is where the configuration of a job stands that ran last, for who asks while none
// runs.
func configFile(dir, job string) string {
	return filepath.Join(engine.JobDir(dir, job), RecordedName)
}

// Record writes down the configuration of jobs, without secrets.
func (p *Plan) Record(list []Job) error {
	// By it a data directory is known, also while there is no job.
	if err := disk.MkdirAll(filepath.Join(p.Place.Dir, "jobs"), 0o755); err != nil {
		return fmt.Errorf("make the directory of jobs: %w", err)
	}
	for _, j := range list {
		if err := disk.MkdirAll(engine.JobDir(p.Place.Dir, j.Name), 0o755); err != nil {
			return fmt.Errorf("make directory of job %s: %w", j.Name, err)
		}
		if err := disk.WriteFile(configFile(p.Place.Dir, j.Name), []byte(j.Text), 0o600); err != nil {
			if disk.NoRoom(err) { // it must not keep a job from starting
				p.Log.Warn(fmt.Sprintf("configuration of job %s is not written down: %v", j.Name, err))
				continue
			}
			return fmt.Errorf("write down configuration of job %s: %w", j.Name, err)
		}
	}
	return nil
}

// Sink opens a sink of a job for questions; the caller closes it.
func (p *Plan) Sink(ctx context.Context, job, name string) (connector.Sink, error) {
	j, ok := p.Job(job)
	if !ok {
		return nil, fault.New(fault.NotFound, "the configuration has no job %s", job)
	}
	w, ok := j.work.(interface {
		sinkNamed(ctx context.Context, p *Plan, job, name string) (connector.Sink, error)
	})
	if !ok {
		return nil, fault.New(fault.NotFound, "job %s has no sinks", job)
	}
	return w.sinkNamed(ctx, p, job, name)
}

// Unread says why a source could not be read when the work of the plan ended, nil if all could.
func (p *Plan) Unread() (err error) {
	p.running.Range(func(name, j any) bool {
		if g := j.(*collect.Job).Gates()[0]; !g.Open {
			e := fault.New(fault.Transient, "job %s did not read all: %s", name, g.Cause)
			err = errors.Join(err, fault.WithHint(e, "%s", orElse(g.Hint,
				"the next cycle goes on where this one ended")))
		}
		return true
	})
	return err
}

// Running is a collect job as it was started last, if it was; it may have ended since.
func (p *Plan) Running(job string) (j *collect.Job, ok bool) {
	v, ok := p.running.Load(job)
	if ok {
		j = v.(*collect.Job)
	}
	return j, ok
}

// AtRest runs f with the store of a job that nobody has open, and closes it.
func (p *Plan) AtRest(job string, f func(engine.Env) error) (err error) {
	dir := engine.JobDir(p.Place.Dir, job)
	// A command that finds a full disk says so, and goes on to what can be read; it is no process to restart.
	st, err := store.Open(dir, store.Options{Log: p.Log, Survive: true, Fatal: func(error) {}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	return f(engine.Env{Name: job, Dir: dir, Store: st, History: engine.HistoryOf(st, job, p.Log), Log: p.Log})
}
