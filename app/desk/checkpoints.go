package desk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"holdfast/app"
	"holdfast/base/fault"
	"holdfast/base/identifier"
	"holdfast/kernel/checkpoint"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// Checkpoint is a checkpoint as people see it.
type Checkpoint struct {
	Job     string    `json:"job"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Pinned  bool      `json:"pinned"` // made by hand: it stays until it is removed by hand
	Bytes   int64     `json:"bytes"`
	// TookMS is how long its making took, in milliseconds; 0 if that is not known.
	TookMS int64  `json:"took_ms,omitempty"`
	Error  string `json:"error,omitempty"` // why it can't be used
	// Parent is the one before it, or that the store was restored from.
	Parent string `json:"parent,omitempty"`
	// Facts are what the job had at that moment.
	Facts map[string]int64 `json:"facts,omitempty"`
	// Held are bytes that nothing but checkpoints holds: the store has no such file any more.
	Held int64 `json:"held"`
	// Verified is when it was last read and compared with its checksums, and found whole.
	Verified time.Time `json:"verified,omitzero"`
}

func shown(job string, c checkpoint.Checkpoint) Checkpoint {
	out := Checkpoint{Job: job, Name: c.Name, Created: c.Created, Pinned: c.Pinned, Bytes: c.Bytes(),
		TookMS: c.Snapshot.Milliseconds(), Parent: c.Parent, Facts: c.Facts}
	if c.Err != nil {
		out.Error = c.Err.Error()
	}
	return out
}

func (d *Desk) jobDir(job string) (string, error) {
	if _, err := d.only(job); err != nil {
		return "", err
	}
	return engine.JobDir(d.plan.Place.Dir, job), nil
}

func (d *Desk) configOf(job string) string {
	j, _ := d.plan.Job(job)
	return j.Text
}

// CreateCheckpoint makes a checkpoint of a job, without a pause; name "" is one of the regular
// kind, which goes when it is old.
func (d *Desk) CreateCheckpoint(ctx context.Context, job, name string,
	tell func(Progress)) (out Checkpoint, err error) {
	w := d.begin(job, "making a checkpoint", tell)
	defer w.end()
	err = d.with(ctx, job, func(st *store.Store) error {
		o := checkpoint.Options{Name: name, Config: d.configOf(job), Before: func(name string) error { w.makes(name); return nil }}
		j, _ := d.plan.Job(job)
		if beside, ok := j.BesideStore(); ok {
			o.Numbered = beside.CheckpointName
			o.Before = func(name string) error {
				w.makes(name)
				return d.prepare(ctx, beside, job, st, name)
			}
			o.Facts = func() (facts map[string]int64, err error) {
				err = st.Latest(func(r store.Reader) error { facts, err = beside.Facts(r); return err })
				return facts, err
			}
		}
		c, err := checkpoint.Create(ctx, st, o)
		if o.Numbered != nil {
			err = errors.Join(err, d.checkpointed(ctx, job))
		}
		if err != nil {
			return err
		}
		out = shown(job, c)
		out.TookMS = c.Took.Milliseconds()
		return checkpoint.Seal(ctx, st, c.Name, w.onCheckpoint())
	})
	return out, err
}

// prepare has the files end that a job writes beside its store: by the job, if it runs.
func (d *Desk) prepare(ctx context.Context, w app.BesideStore, job string, st *store.Store, name string) error {
	atRest := func() error { return w.Prepare(st, d.plan.Log, d.plan.Place.Dir, job, name) }
	if d.eng != nil {
		return d.eng.Prepare(ctx, job, name, atRest)
	}
	return atRest()
}

// checkpointed has a job know that the snapshot stands, or that there is none.
func (d *Desk) checkpointed(ctx context.Context, job string) error {
	_, err := d.Command(context.WithoutCancel(ctx), job, "checkpointed")
	if fault.Is(err, fault.Transient) { // it does not run, or ends: its next start knows
		return nil
	}
	return err
}

// onCheckpoint is how work on checkpoints tells of its progress.
func (w *Work) onCheckpoint() checkpoint.Work {
	return checkpoint.Work{Progress: func(p checkpoint.Progress) { w.at(p.Done, p.Total) }}
}

// ListCheckpoints returns the checkpoints of one job or all, oldest first.
func (d *Desk) ListCheckpoints(job string) ([]Checkpoint, error) {
	names, err := d.only(job)
	if err != nil {
		return nil, err
	}
	out := []Checkpoint{}
	for _, name := range names {
		list, err := checkpoint.List(engine.JobDir(d.plan.Place.Dir, name), checkpoint.Work{})
		if err != nil {
			return nil, err
		}
		for _, c := range list {
			one := shown(name, c)
			one.Held = held(engine.JobDir(d.plan.Place.Dir, name), c)
			switch v, ok := c.Judged(); {
			case ok && v.Bad == "" && one.Error == "":
				one.Verified = v.At
			case ok && one.Error == "":
				one.Error = v.Bad
			}
			out = append(out, one)
		}
	}
	return out, nil
}

// Findings is the answer of a verification of a checkpoint.
type Findings struct {
	Job   string   `json:"job"`
	Name  string   `json:"name"`
	Bytes int64    `json:"bytes"` // read and compared
	Bad   []string `json:"bad"`
}

// VerifyCheckpoint reads a checkpoint and compares it with its checksums.
func (d *Desk) VerifyCheckpoint(ctx context.Context, job, name string,
	tell func(Progress)) (Findings, error) {
	out := Findings{Job: job, Name: name, Bad: []string{}}
	dir, err := d.findCheckpoint(job, name)
	if err != nil {
		return out, err
	}
	w := d.begin(job, "verifying checkpoint "+name, tell)
	defer w.end()
	rep, err := checkpoint.Verify(ctx, checkpoint.Path(dir, name), w.onCheckpoint())
	out.Bytes = rep.Bytes
	for _, f := range rep.Findings {
		out.Bad = append(out.Bad, f.String())
	}
	if err != nil && len(out.Bad) > 0 && ctx.Err() == nil {
		err = nil // it is in the findings
	}
	if err == nil {
		err = checkpoint.Judge(checkpoint.Path(dir, name), rep.Manifest.Created, out.Bad)
	}
	return out, err
}

// retainSome lets old checkpoints go.
func retainSome(ctx context.Context, dir string, p checkpoint.Policy) error {
	gone, err := checkpoint.Retain(ctx, dir, p, checkpoint.Work{})
	for _, name := range gone {
		err = errors.Join(err, checkpoint.Forget(checkpoint.Path(dir, name)))
	}
	return err
}

// held are the bytes of a checkpoint's files that the store of a job does not have any more.
func held(dir string, c checkpoint.Checkpoint) (bytes int64) {
	for _, f := range c.Files {
		there, err := os.Stat(filepath.Join(c.Path, f.Path))
		if err != nil {
			continue
		}
		if here, err := os.Stat(filepath.Join(dir, f.Path)); err != nil || !os.SameFile(here, there) {
			bytes += f.Size
		}
	}
	return bytes
}

// findCheckpoint returns the job's directory if it has the checkpoint.
func (d *Desk) findCheckpoint(job, name string) (dir string, err error) {
	if dir, err = d.jobDir(job); err != nil {
		return "", err
	}
	if err := checkpoint.CheckName(name); err != nil { // it may come from outside: a path is none
		return "", err
	}
	if _, err := os.Stat(checkpoint.Path(dir, name)); err != nil {
		return "", fault.WithHint(fault.New(fault.NotFound, "job %s has no checkpoint %s", job, name),
			"see `holdfast checkpoint ls %s`", job)
	}
	return dir, nil
}

// ExportCheckpoint writes a checkpoint into one file, verified, with bytes of its own: a backup.
func (d *Desk) ExportCheckpoint(ctx context.Context, job, name, file string,
	tell func(Progress)) (Checkpoint, error) {
	dir, err := d.findCheckpoint(job, name)
	if err != nil {
		return Checkpoint{}, err
	}
	w := d.begin(job, "exporting checkpoint "+name, tell)
	defer w.end()
	m, err := checkpoint.ExportFile(ctx, checkpoint.Path(dir, name), file, w.onCheckpoint())
	return shown(job, checkpoint.Checkpoint{Manifest: m}), err
}

// ImportCheckpoint reads a file that an export wrote; the checkpoint belongs to the job then, which
// need not exist yet.
func (d *Desk) ImportCheckpoint(ctx context.Context, job, file string,
	tell func(Progress)) (Checkpoint, error) {
	if why := identifier.Check("job", job); why != "" {
		return Checkpoint{}, fault.New(fault.Invalid, "%s", why)
	}
	f, err := os.Open(file)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("import checkpoint: %w", err)
	}
	defer f.Close()
	w := d.begin(job, "importing a checkpoint", tell)
	defer w.end()
	c, err := checkpoint.Import(ctx, f, engine.JobDir(d.plan.Place.Dir, job), w.onCheckpoint())
	return shown(job, c), err
}

// RemoveCheckpoint removes a checkpoint.
func (d *Desk) RemoveCheckpoint(job, name string) error {
	dir, err := d.findCheckpoint(job, name)
	if err != nil {
		return err
	}
	if err := checkpoint.Forget(checkpoint.Path(dir, name)); err != nil {
		return err
	}
	return checkpoint.Remove(dir, name, checkpoint.Work{})
}

// KeepCheckpoints makes checkpoints of all jobs on the plan's interval until ctx ends, and removes
// old ones. A failure is told and tried again at the next turn.
func (d *Desk) KeepCheckpoints(ctx context.Context) error {
	every := d.plan.Checkpoints.Every
	if every == nil || *every == 0 || d.eng == nil {
		return nil
	}
	tick := time.NewTicker(*every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			d.checkpointAll(ctx)
		}
	}
}

// checkpointAll makes one checkpoint of every job that is open, and lets old ones go.
func (d *Desk) checkpointAll(ctx context.Context) {
	for _, job := range d.eng.Names() {
		if d.eng.State(job) == engine.Stopped { // nobody wants to go back to its end
			continue
		}
		_, err := d.CreateCheckpoint(ctx, job, "", nil)
		if err == nil {
			err = retainSome(ctx, engine.JobDir(d.plan.Place.Dir, job), checkpoint.Policy{Keep: d.plan.Checkpoints.Keep})
		}
		if err != nil && ctx.Err() == nil && !fault.Is(err, fault.Transient) {
			d.plan.Log.Warn(fmt.Sprintf("no checkpoint of job %s: %v", job, err))
		}
	}
}

// CheckpointAtEnd makes a checkpoint of every job once the engine has ended; the caller holds the
// lock. Work that ends by itself, again and again, makes one only when the last is older than the
// interval.
func CheckpointAtEnd(ctx context.Context, p *app.Plan) error {
	every := p.Checkpoints.Every
	if every == nil || *every == 0 {
		return nil
	}
	d := newDesk(p)
	names, err := d.names()
	for _, job := range names {
		dir := engine.JobDir(p.Place.Dir, job)
		if all, lerr := checkpoint.List(dir, checkpoint.Work{}); p.Once && lerr == nil && len(all) > 0 &&
			time.Since(all[len(all)-1].Created) < *every {
			continue
		}
		if over, oerr := d.crawlIsOver(ctx, job); over || oerr != nil {
			err = errors.Join(err, oerr)
			continue
		}
		if _, cerr := d.CreateCheckpoint(ctx, job, "", nil); cerr != nil {
			err = errors.Join(err, cerr)
			continue
		}
		err = errors.Join(err, retainSome(ctx, dir, checkpoint.Policy{Keep: p.Checkpoints.Keep}))
	}
	return err
}

// CheckpointsIn returns the names of the checkpoints that stand in a job's directory, whole or not.
func CheckpointsIn(dir, job string) (names []string, err error) {
	if !identifier.Pattern.MatchString(job) {
		return nil, nil
	}
	return checkpoint.Names(engine.JobDir(dir, job))
}
