// Package supervise watches what happens on a machine, and acts on it: the job supervise.
//
// A watcher tells lines and values with the position that it has reached. The rules step their states over them, and ONE
// commit keeps the position, the states, and the actions that were decided, in the queue. So nothing is missed between two
// lives of this process, and nothing is decided twice. An action is leased, written down as begun, done, and how it went is
// written down: one that was under way at a crash is known to be that, and its rule says what becomes of it.
//
// Called by app.
package supervise

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"holdfast/connector"
	"holdfast/job/supervise/action"
	"holdfast/job/supervise/decide"
	"holdfast/job/supervise/rule"
	"holdfast/kernel/engine"
	"holdfast/kernel/queue"
	"holdfast/kernel/store"
)

// Config is what the job is to do.
type Config struct {
	// Rules reads the rule file.
	Rules func() (*rule.Set, error)
	// Watcher opens what watches a source.
	Watcher func(*rule.Source) (connector.Watcher, error)
	// Tools are what actions are done with; their Life and Secrets are the job's.
	Tools action.Tools
	// AtOnce is how many actions are done at once; default 32.
	AtOnce int
	// Keep is how long it is known what was done; default 90 days.
	Keep time.Duration

	patience, breakFor time.Duration // shorter in tests
}

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	if c.AtOnce == 0 {
		c.AtOnce = 32
	}
	if c.Keep == 0 {
		c.Keep = 90 * 24 * time.Hour
	}
	if c.patience == 0 {
		c.patience = patience
	}
	if c.breakFor == 0 {
		c.breakFor = breakFor
	}
	return c
}

// queueName is the name of the queue. A task is a decision, with all its actions.
const queueName = "decisions"

// Job is a supervise job at work.
type Job struct {
	env   engine.Env
	cfg   Config
	tools action.Tools
	queue *queue.Queue
	epoch string // of this process: what another one had begun was under way when that ended
	life  string
	// restored is when this life of the store began, if it began with a checkpoint of another life. What happened before that
	// may have been acted on in the other life.
	restored time.Time
	locks    *locks
	places   *places
	lines    *lines
	breakers *breakers

	mu      sync.Mutex // guards what is below, and orders what is seen
	set     *rule.Set
	machine *decide.Machine
	alarm   *time.Timer // calls tick when the machine wants one; nil before Run and after
	broken  error       // a commit failed, so the machine is ahead of the store, and the job has to begin anew

	watching sync.Mutex        // guards what is below; taken before mu
	running  context.Context   // in which sources are watched; nil before Run
	watches  map[string]*watch // by the ID of the source
	failed   chan error        // why the job can't go on
	group    sync.WaitGroup
}

// New reads the rules and what is known of their states. It watches nothing yet.
func New(env engine.Env, cfg Config) (*Job, error) {
	j := &Job{env: env, cfg: cfg.WithDefaults(), epoch: rand.Text(), life: env.Store.Lineage().String(), locks: newLocks(),
		watches: map[string]*watch{}, failed: make(chan error, 1)}
	j.places, j.lines = newPlaces(j.cfg.AtOnce, j.cfg.patience), newLines()
	j.breakers = newBreakers(j.cfg.breakFor, env.History.Gate, func(id string, all bool) {
		j.lines.free(ruleOfBreaker(id), id, all)
	})
	j.tools = cfg.Tools
	j.tools.Life, j.tools.Secrets, j.tools.Origins = j.life, j.secrets, action.NewOrigins()
	var err error
	if j.set, err = cfg.Rules(); err != nil {
		return nil, err
	}
	if j.machine, err = j.load(j.set); err != nil {
		return nil, err
	}
	if err := j.begins(); err != nil {
		return nil, err
	}
	j.queue, err = queue.Open(env.Store, queueName, queue.Options{Horizon: j.cfg.Keep})
	return j, err
}

// load returns a machine for a set of rules, with the states that the store has.
func (j *Job) load(set *rule.Set) (*decide.Machine, error) {
	m := decide.New(set)
	return m, j.env.Store.Latest(func(r store.Reader) error {
		entries, failed := r.Scan(key('M'), key('M').End())
		for k, v := range entries {
			if err := m.Load(string(k[2:]), v); err != nil {
				return err
			}
		}
		return failed()
	})
}

// known reports whether there is a rule of this name.
func (j *Job) known(name string) bool { return j.set.Rule(name) != nil }

// begins notes the life of the store, finds out whether it began with a restore, and drops what belongs to rules that no
// longer exist.
func (j *Job) begins() error {
	type life struct {
		Is       string    `json:"is"`
		Restored time.Time `json:"restored,omitzero"`
	}
	return j.env.Store.Update(func(tx *store.Tx) error {
		var l life
		known, err := tx.Look(key('L'), func(v []byte) error { return json.Unmarshal(v, &l) })
		if err != nil {
			return err
		}
		if known && l.Is != j.life {
			l.Restored = time.Now()
		}
		j.restored, l.Is = l.Restored, j.life
		b, err := json.Marshal(l)
		if err != nil {
			return err
		}
		tx.Set(key('L'), b)
		if err := forgetRules(tx, j.known); err != nil {
			return err
		}
		return j.loadBreakers(tx)
	})
}

// Run watches and acts until ctx ends. What is being done then has time to end.
func (j *Job) Run(ctx context.Context) error {
	defer j.queue.Close()
	j.leftover()
	watching, stop := context.WithCancel(ctx)
	defer stop()
	j.mu.Lock()
	err := j.settle(j.set)
	if err == nil {
		j.alarm = time.AfterFunc(0, j.tick)
	}
	j.mu.Unlock()
	if err != nil {
		return err
	}
	j.watching.Lock()
	j.running = watching
	j.watching.Unlock()
	j.watch()
	j.group.Go(func() { j.act(watching) })
	j.group.Go(func() { j.tidy(watching) })
	select {
	case <-ctx.Done():
	case err = <-j.failed:
	}
	j.watching.Lock()
	stop() // so that watch starts nothing more, which group would not wait for
	j.watching.Unlock()
	j.mu.Lock()
	j.alarm.Stop()
	j.alarm = nil
	j.mu.Unlock()
	j.group.Wait()
	return err
}

// fail ends the job with an error, so that it is started again.
func (j *Job) fail(err error) {
	select {
	case j.failed <- err:
	default:
	}
}

// tidyEvery is how often records that are too old are dropped.
const tidyEvery = time.Hour

// tidy drops records that are too old, every tidyEvery, until ctx ends.
func (j *Job) tidy(ctx context.Context) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		if err := j.forgetOld(ctx); err != nil {
			j.fail(fmt.Errorf("forget old actions: %w", err))
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// forgetOld drops what is too old: lines and positions at once, of which there are few, and records, of which there may be very
// many, a limited number in each transaction.
func (j *Job) forgetOld(ctx context.Context) error {
	err := j.env.Store.Update(func(tx *store.Tx) error {
		if err := forgetLed(tx, time.Now()); err != nil {
			return err
		}
		return forgetPlaces(tx, time.Now())
	})
	for more := true; more && err == nil && ctx.Err() == nil; {
		err = j.env.Store.Update(func(tx *store.Tx) (err error) {
			if more, err = forget(tx, time.Now().Add(-j.cfg.Keep)); err != nil {
				return err
			}
			_, keys, err := j.queue.Expire(tx, time.Now(), 500)
			more = more || keys
			return err
		})
	}
	return err
}
