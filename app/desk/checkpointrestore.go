package desk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"holdfast/app"
	"holdfast/app/datadir"
	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/kernel/checkpoint"
	"holdfast/kernel/engine"
)

// Restored is the answer of a restore.
type Restored struct {
	Job        string    `json:"job"`
	Name       string    `json:"name"`
	Created    time.Time `json:"created"`
	Quarantine string    `json:"quarantine,omitempty"` // where the store is kept that was there before
	Into       string    `json:"into,omitempty"`       // the data directory that it was restored into, of another place
}

// RestoreCheckpoint takes a job back to a checkpoint. The store that is there now is kept in
// quarantine. A running job is stopped for it, and goes on behind it: what its sinks got since the
// checkpoint is compared by key then.
func (d *Desk) RestoreCheckpoint(ctx context.Context, job, name string,
	tell func(Progress)) (Restored, error) {
	dir, err := d.findCheckpoint(job, name)
	if err != nil {
		return Restored{}, err
	}
	w := d.begin(job, "restoring checkpoint "+name, tell)
	defer w.end()
	out := Restored{Job: job, Name: name}
	restore := func() error {
		o, quarantine, err := checkpoint.Replace(ctx, dir, name, w.onCheckpoint())
		out.Created, out.Quarantine = o.Created, quarantine
		return err
	}
	if d.eng == nil {
		err = restore()
	} else {
		err = d.eng.Offline(ctx, job, restore)
	}
	return out, err
}

// RestoreInto makes a job of a checkpoint in another data directory, which is made if need be and in which the job must not be.
// The job here does not notice. A crash leaves nothing there, or the job whole. What stands beside a store (WARC files, logs)
// stays where it is.
func (d *Desk) RestoreInto(ctx context.Context, job, name, into string, tell func(Progress)) (out Restored, err error) {
	dir, err := d.findCheckpoint(job, name)
	if err != nil {
		return out, err
	}
	if disk.Within(d.plan.Place.Dir, into) {
		return out, fault.WithHint(fault.New(fault.Invalid, "%s is this data directory or within it", into),
			"name another one; without a directory the job goes back in its place")
	}
	if err := dataDirOrEmpty(into); err != nil {
		return out, err
	}
	if err := disk.Writable(into); err != nil {
		return out, fault.New(fault.Invalid, "restore into %s: %w", into, err)
	}
	lock, err := disk.Acquire(datadir.LockFile(into))
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	w := d.begin(job, "restoring checkpoint "+name+" into "+into, tell)
	defer w.end()
	o, err := d.restoreNew(ctx, checkpoint.Path(dir, name), engine.JobDir(into, job), w)
	return Restored{Job: job, Name: name, Created: o.Created, Into: into}, err
}

// dataDirOrEmpty refuses a directory in which something else is at home: a name that was mistyped must not mix a store into it.
func dataDirOrEmpty(dir string) error {
	all, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.New(fault.Invalid, "restore into %s: %w", dir, err)
	}
	if _, err := os.Lstat(datadir.LockFile(dir)); err == nil {
		return nil
	}
	for _, e := range all {
		if e.Name() != "lost+found" { // of a file system that is new
			return fault.WithHint(fault.New(fault.Invalid,
				"%s is no data directory of Holdfast and holds other things, such as %s", dir, e.Name()),
				"name a new directory, an empty one, or the data directory of another Holdfast")
		}
	}
	return nil
}

// restoreNew makes the directory of a job of a checkpoint, with the configuration that was kept with it.
func (d *Desk) restoreNew(ctx context.Context, path, into string, w *Work) (o checkpoint.Origin, err error) {
	if err := disk.MkdirAll(filepath.Dir(into), 0o755); err != nil {
		return o, fmt.Errorf("make the directory of jobs: %w", err)
	}
	kept, err := checkpoint.Read(path)
	if err != nil {
		return o, err
	}
	if o, err = checkpoint.Restore(ctx, path, into, w.onCheckpoint()); err != nil {
		return o, err
	}
	return o, disk.WriteFile(filepath.Join(into, app.RecordedName), []byte(kept.Config), 0o600)
}
