// Package transfer is the job that brings every file of a directory to one or more destinations, checked, packed, verified
// and recorded, once.
//
//	jobs:
//	  frames:
//	    transfer:
//	      from: /data/goto/images
//	      to: "goto@gateway:/export/raw"
//	      patterns: ["t?_r*_ut?.fits"]
//
// The way of a file: it is found and becomes a task, by its path and identity; a worker makes sure of it, hashes it, claims
// it in the ledger, packs it and gives it a name, which ends in one task for each destination; there it is placed and
// verified, then recorded; and when it is everywhere, what is to become of the original is done. What a step found is in the
// store before the next one begins, or with the next commit if it was quick; so whatever dies in between, the file goes on
// from there, and what is done again has no effect: a destination that has the bytes says so, and a ledger that has the row
// too.
//
// An outage of a destination or of the ledger closes its gate. Files wait then, and no attempt is spent.
package transfer

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/kernel/queue"
	"holdfast/kernel/store"
)

// Destination is one place where the job brings all files.
type Destination struct {
	Name    string
	To      connector.Destination
	Limited bool // what goes there counts for the limit
}

// After says what becomes of an original that is everywhere.
type After string

// What may become of an original.
const (
	Keep    After = "keep"
	Replace After = "replace" // by its packed form, once that is proved to be the same data
	Remove  After = "delete"  // once every destination was asked and has it
)

// Age bounds how old a file is.
type Age struct {
	Within  time.Duration // at most; 0 is any age
	Recency time.Duration // at least
}

// Config tunes the job.
type Config struct {
	// Root is the directory that the files stand in; absolute.
	Root string
	Find Finder
	// Destinations are where all files go; the first is the one that the ledger's table of old shows.
	Destinations []Destination
	// Ledger is nil for none: what was transferred is in the job's store alone then.
	Ledger connector.Ledger
	// Workers is how many files are prepared at once, and how many are under way to each destination at least; default 4. In the
	// place of a large one that is prepared there are several small ones; to a destination as many are under way as make up its
	// Streams, and mostLarge large ones.
	Workers int
	// Ahead is about how many files may be prepared and not be anywhere yet; default 4 for each worker, and 32 if none is
	// packed.
	Ahead int
	// Attempts is how often a file that fails by its own fault is tried before it becomes a dead letter; default 5.
	Attempts int
	// Pack packs the files whose names match; nil: none.
	Pack *Packer
	// ShipBad ships files too whose integrity is bad. People are told of them.
	ShipBad bool
	// Place gives a file its name at the destinations.
	Place Placer
	// Meta finds the values of the ledger's further columns in a name, by its named groups; nil: none.
	Meta  *regexp.Regexp
	After After // default Keep
	// Overwrite, if it is set, replaces originals that are still there unpacked, and whose packed form the ledger had already,
	// by that form.
	Overwrite *Age
	// CopyTimeout is how long a file may be under way to a destination, at least: a large one has as long as it takes at
	// Slowest. Default 60 s.
	CopyTimeout time.Duration
	Slowest     int64 // bytes a second; default 1 MB/s
	// Limit bounds what goes out to all Destinations together that are Limited.
	Limit Limit
	// Canary is the time between two looks at destinations and ledger while all is well; 0: none.
	Canary time.Duration
	// KeepRecords is how long the record of a file stays after the file has come to its end; default 90 days. The record of a
	// file that still stands in the source directory stays in any case.
	KeepRecords time.Duration
	// Once ends the job when what one scan found is done.
	Once bool
}

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	if c.Workers == 0 {
		c.Workers = 4
	}
	if c.Ahead == 0 {
		c.Ahead = 4 * c.Workers
		if c.Pack == nil { // it takes no room
			c.Ahead *= 8
		}
	}
	if c.Attempts == 0 {
		c.Attempts = 5
	}
	if c.KeepRecords == 0 {
		c.KeepRecords = defaultKeepRecords
	}
	if c.After == "" {
		c.After = Keep
	}
	if c.CopyTimeout == 0 {
		c.CopyTimeout = time.Minute
	}
	if c.Slowest == 0 {
		c.Slowest = 1 << 20
	}
	return c
}

// lanes: files that come while the directory is watched go out first, the newest first; files that a scan found get a quarter
// of the work.
const (
	liveLane     = 0
	backfillLane = 1
)

var lanes = []queue.Lane{{Weight: 3, Newest: true}, {Weight: 1, Newest: true}}

// The gates that belong to no destination.
const (
	sourceGate = "source"
	ledgerGate = "ledger"
	diskGate   = "disk"
)

// OwnGates are names that no destination has.
var OwnGates = []string{sourceGate, ledgerGate, diskGate}

// The queues of a file's way. Between the first and the last there is one for each destination.
const (
	prepareName = "prepare"
	shipPrefix  = "ship-"
	afterName   = "after"
)

// Job is a transfer job at work.
type Job struct {
	env engine.Env
	cfg Config

	prepare      *queue.Queue
	after        *queue.Queue
	destinations []*destination
	ledger       *ledger // nil for none

	ahead  *ahead
	room   *room
	below  below
	origin *origin
	limit  *limiter

	repacking sync.Mutex // held while a packed form that is missing is made anew, or one is compared with another

	found atomic.Bool   // Once: the scan is over
	again chan struct{} // holds one while the source should be looked through
	idle  chan struct{} // holds one while untilDone should look
}

// destination is a destination at work.
type destination struct {
	Destination
	index int
	job   *Job
	queue *queue.Queue
	gate  *gate.Gate
	sent  atomic.Int64 // bytes, in this life
}

var _ engine.Job = (*Job)(nil)

// New builds the job. What an earlier life had leased is ready again.
func New(env engine.Env, cfg Config) (*Job, error) {
	cfg = cfg.WithDefaults()
	if len(cfg.Destinations) == 0 {
		return nil, fault.New(fault.Permanent, "job %s has no destination", env.Name)
	}
	j := &Job{env: env, cfg: cfg, again: make(chan struct{}, 1), idle: make(chan struct{}, 1), limit: &limiter{limit: cfg.Limit}}
	open := func(name string) (*queue.Queue, error) {
		return queue.Open(env.Store, name, queue.Options{Lanes: lanes}) // attempts are counted here: a crash is none
	}
	var err error
	if j.prepare, err = open(prepareName); err != nil {
		return nil, err
	}
	for i, t := range cfg.Destinations {
		made := &destination{Destination: t, index: i, job: j}
		if made.queue, err = open(shipPrefix + t.Name); err != nil {
			return nil, err
		}
		made.gate = j.newGate(t.Name, t.To.Probe)
		j.destinations = append(j.destinations, made)
	}
	if j.after, err = open(afterName); err != nil {
		return nil, err
	}
	if err := j.keepPlaces(); err != nil {
		return nil, err
	}
	if cfg.Ledger != nil {
		j.ledger = newLedger(j, cfg.Ledger)
	}
	j.ahead, j.room, j.origin = newAhead(env.Store, j.destinations, cfg.Ahead), newRoom(env), newOrigin(j)
	return j, nil
}

// newGate makes the gate of what the job depends on. It begins closed: nothing is tried before it is known to work.
func (j *Job) newGate(name string, probe func(context.Context) error) *gate.Gate {
	return gate.New(name, gate.Options{Probe: probe, Every: j.cfg.Canary, Closed: true, OnChange: j.env.History.Gate})
}

// Run finds files and brings them to their destinations until ctx ends; with Once, until what one scan found is done.
func (j *Job) Run(ctx context.Context) error {
	if err := j.removeLeft(); err != nil {
		return err
	}
	g, ctx := engine.NewGroup(ctx)
	work, end := context.WithCancel(ctx) // of what leases and looks
	defer end()
	for _, t := range j.destinations {
		g.Go(func() error { return j.ended(t.gate.Run(work)) })
		g.Go(func() error { return j.ended(t.sweep(work)) })
		g.Go(func() error { return t.shipAll(work, g) })
	}
	if j.ledger != nil {
		g.Go(func() error { return j.ended(j.ledger.gate.Run(work)) })
		g.Go(func() error { return j.ended(j.ledger.run(work)) })
	}
	g.Go(func() error { return j.ended(j.origin.gate.Run(work)) })
	g.Go(func() error { return j.spread(work, g, j.prepare, aside*j.cfg.Workers, aside, j.mayPrepare, j.ready) })
	for range j.cfg.Workers {
		g.Go(func() error { return j.each(work, j.after, j.mayFinish, j.finish) })
	}
	g.Go(func() error { return j.ended(j.find(work)) })
	g.Go(func() error { return j.ended(j.backfill(work)) })
	g.Go(func() error { return j.ended(j.runLetGo(work)) })
	if j.cfg.Once {
		g.Go(func() error {
			err := j.untilDone(work)
			end()
			return j.ended(err)
		})
	}
	return g.Wait()
}

// ended returns nil for the error of a worker that was told to end.
func (j *Job) ended(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// mayPrepare waits until originals can be read, and one more may be prepared.
func (j *Job) mayPrepare(ctx context.Context) error {
	if err := j.origin.gate.Wait(ctx); err != nil {
		return err
	}
	return j.ahead.wait(ctx)
}

// mayFinish waits until originals can be read, if anything is to become of them.
func (j *Job) mayFinish(ctx context.Context) error {
	if j.cfg.After == Keep && j.cfg.Overwrite == nil {
		return nil
	}
	return j.origin.gate.Wait(ctx)
}

// each works on the tasks of a queue one after the other, and waits for begin before each. An error of the work itself ends
// the job, which is started again; what is wrong with a file, its destination or the ledger is not such an error.
func (j *Job) each(ctx context.Context, q *queue.Queue, begin func(context.Context) error,
	work func(context.Context, queue.Lease, *file) error) error {
	for {
		if err := begin(ctx); err != nil {
			return j.ended(err)
		}
		files, err := j.lease(ctx, q, 1)
		if err != nil {
			return j.ended(err)
		}
		if err := j.do(ctx, q, files[0], work); err != nil {
			return err
		}
	}
}

// aside is how many small files are prepared in the place of a large one: they wait for the disk and the ledger more than they
// use the processor, and they share commits.
const aside = 8

// packs reports whether a file is to be packed, by its name.
func (j *Job) packs(f *file) bool { return j.cfg.Pack != nil && j.cfg.Pack.Matches(string(f.Path)) }

// spread works on the files of a queue at once, in so many places. A small file takes one place, a large or packed one takes
// several. Small files are leased several at a time and begin at once; a large one waits for its places, and nothing else is
// leased meanwhile.
func (j *Job) spread(ctx context.Context, g *engine.Group, q *queue.Queue, places, large int, begin func(context.Context) error,
	work func(context.Context, queue.Lease, *file) error) error {
	free := semaphore.NewWeighted(int64(places))
	start := func(f leasedFile, takes int) {
		g.Go(func() error {
			defer free.Release(int64(takes))
			return j.do(ctx, q, f, work)
		})
	}
	for most := 1; ; {
		if err := free.Acquire(ctx, 1); err != nil {
			return j.ended(err)
		}
		if err := begin(ctx); err != nil {
			return j.ended(err)
		}
		taken := 1
		for taken < most && free.TryAcquire(1) {
			taken++
		}
		files, err := j.lease(ctx, q, taken)
		if err != nil {
			return j.ended(err)
		}
		var waiting []leasedFile
		for _, f := range files {
			if f.size() > small || q == j.prepare && j.packs(f.file) {
				waiting = append(waiting, f)
			} else {
				start(f, 1)
			}
		}
		free.Release(int64(taken - len(files) + len(waiting))) // none keeps a place that another one waits for
		if most = mostLeased; len(waiting) > 0 {
			most = 1
		}
		for _, f := range waiting {
			if err := free.Acquire(ctx, int64(large)); err != nil {
				return j.ended(err)
			}
			if err := begin(ctx); err != nil {
				return j.ended(err)
			}
			start(f, large)
		}
	}
}

// mostLeased is how many small files are leased at once: to lease one takes a commit.
const mostLeased = 16

// leasedFile is a file of a queue, leased.
type leasedFile struct {
	queue.Lease
	*file
}

// lease waits for files of a queue.
func (j *Job) lease(ctx context.Context, q *queue.Queue, most int) (files []leasedFile, err error) {
	var leases []queue.Lease
	err = j.room.when(ctx, func() (err error) {
		leases, err = q.LeaseMany(ctx, most)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = j.env.Store.Latest(func(r store.Reader) error {
		for _, l := range leases {
			f, err := leasedFrom(r, l)
			if err != nil {
				return err
			}
			files = append(files, leasedFile{l, f})
		}
		return nil
	})
	return files, err
}

// do works on a file. If it has to be repeated, for want of room, it starts from what is known of the file by then.
func (j *Job) do(ctx context.Context, q *queue.Queue, l leasedFile, work func(context.Context, queue.Lease, *file) error) error {
	again := false
	err := j.room.when(ctx, func() (err error) {
		f := l.file
		if again {
			if f, err = j.now(&file{ID: f.ID}); err != nil {
				return err
			}
		}
		again = true
		return work(ctx, l.Lease, f)
	})
	if ctx.Err() != nil && err != nil { // the next life has its lease again
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", q.Name(), l.Key, err)
	}
	j.look()
	return nil
}

// look makes untilDone look again.
func (j *Job) look() {
	select {
	case j.idle <- struct{}{}:
	default:
	}
}

// untilDone waits until everything that was found is done, or dead.
func (j *Job) untilDone(ctx context.Context) error {
	for {
		select {
		case <-j.idle:
		case <-ctx.Done():
			return ctx.Err()
		}
		if !j.found.Load() {
			continue
		}
		open := uint64(0)
		err := j.env.Store.View(ctx, func(r store.Reader) error {
			for _, q := range j.queues() {
				c, err := q.Counts(r)
				if err != nil {
					return err
				}
				open += c.Open()
			}
			return nil
		})
		if err != nil || open == 0 {
			return err
		}
	}
}

// queues returns all queues of the job, in the order of a file's way.
func (j *Job) queues() (all []*queue.Queue) {
	all = append(all, j.prepare)
	for _, t := range j.destinations {
		all = append(all, t.queue)
	}
	return append(all, j.after)
}
