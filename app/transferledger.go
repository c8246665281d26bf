package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/job/transfer"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// records are the ledger and the destinations of a transfer job, for a person's command.
type records struct {
	config       *transferConfig
	dir          string // of the job
	ledger       connector.Ledger
	destinations []transfer.Destination
	open         opens
}

func (r *records) close() error { return r.open.close() }

// records opens them. To compare makes no table of the ledger, and needs no columns of metadata.
func (p *Plan) records(ctx context.Context, name string, compare bool) (r *records, err error) {
	job, ok := p.Job(name)
	if !ok {
		return nil, fault.New(fault.NotFound, "there is no job %s", name)
	}
	c, ok := job.work.(*transferConfig)
	if !ok {
		return nil, fault.New(fault.Invalid, "job %s is no transfer", name)
	}
	r = &records{config: c, dir: engine.JobDir(p.Place.Dir, name)}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	o := opening{dataDir: p.Place.Dir, jobDir: r.dir, log: p.Log}
	if r.destinations, err = c.To.open(o, &r.open); err != nil {
		return r, err
	}
	if compare {
		as := *c
		as.Ledger = c.Ledger.asItIs()
		c = &as
	}
	if r.ledger, err = c.openLedger(fmt.Sprintf("command-%d", os.Getpid()), o); err != nil {
		return r, err
	}
	if r.ledger == nil {
		return r, fault.New(fault.Invalid, "job %s has no ledger", name)
	}
	r.open = append(r.open, r.ledger)
	var meta []string
	if !compare {
		meta = transfer.Columns(c.meta())
	}
	return r, r.ledger.Check(ctx, meta)
}

// Difference is a file that a destination has not as the ledger says.
type Difference = transfer.Difference

// Compare compares the ledger of a transfer job with its destinations.
func (p *Plan) Compare(ctx context.Context, name string, since time.Time, each func(Difference)) (found transfer.Compared,
	err error) {
	r, err := p.records(ctx, name, true)
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	return transfer.Compare(ctx, r.ledger, r.destinations, since, each)
}

// RebuildOrder says how a ledger is made anew.
type RebuildOrder struct {
	Dry  bool
	Tell func(done, total int64) // in files
	Left func(Difference)        // of each that no entry can be made of
}

// Rebuild makes the ledger of a transfer job anew from its destinations. The job must not run meanwhile: its records are read.
func (p *Plan) Rebuild(ctx context.Context, name string, o RebuildOrder) (found transfer.Rebuilt, err error) {
	lock, err := p.Lock()
	if err != nil {
		return found, fault.WithHint(err, "stop it first: what the job has done is read from its store")
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	r, err := p.records(ctx, name, false)
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	c := r.config
	b := &transfer.Rebuild{Ledger: r.ledger, Destinations: r.destinations, Root: c.From, Pack: c.packer(), Meta: c.meta(),
		Replaces: c.After == string(transfer.Replace) || c.OverwriteUnpacked != nil, Dir: p.Place.Dir, Dry: o.Dry,
		Tell: o.Tell, Left: o.Left}
	if _, err := os.Stat(r.dir); err == nil {
		st, err := store.Open(r.dir, store.Options{Log: slog.New(slog.DiscardHandler), Survive: true, Fatal: func(error) {}})
		if err != nil {
			return found, err
		}
		defer func() { err = errors.Join(err, st.Close()) }()
		b.Store = st
	}
	return b.Run(ctx)
}

// From is the directory that a transfer job brings files from; "" for a job of another kind.
func (j Job) From() string {
	if c, ok := j.work.(*transferConfig); ok {
		return c.From
	}
	return ""
}
