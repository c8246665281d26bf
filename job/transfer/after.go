package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/kernel/queue"
	"holdfast/kernel/store"
)

// tidies makes the task that gives back what a file holds that goes no further: its claim in the ledger, and its packed form.
// It waits for the last destination that has, or may have, something to do for the file: what is dead at a destination may be
// retried.
func (f *file) tidies(tx *store.Tx, queues named) error {
	if !f.Held && f.Packed == nil {
		return nil
	}
	for _, s := range f.To {
		q, err := queues(shipPrefix + s.Name)
		if fault.Is(err, fault.NotFound) { // the job has that destination no more
			continue
		}
		if err != nil {
			return err
		}
		if fate, _, err := q.Find(tx, f.task().Key); err != nil || fate.ID != 0 {
			return err
		}
	}
	after, err := queues(afterName)
	if err != nil {
		return err
	}
	if _, err := after.Forget(tx, f.task().Key); err != nil {
		return err
	}
	_, err = after.Put(tx, f.task())
	return err
}

// finish does with the original of a file that is everywhere what the configuration wants, and ends the file.
func (j *Job) finish(ctx context.Context, l queue.Lease, f *file) error {
	began := time.Now()
	f, did, err := j.treat(ctx, f)
	var e end
	if errors.As(err, &e) { // somebody took it away already, or a former life
		did, err = WasGone, j.clear(f)
	}
	if err == nil && j.ledger != nil {
		err = j.ledger.ask(ctx, func(ctx context.Context) error { return j.ledger.Unlock(ctx, j.original(f)) })
	}
	if err != nil {
		return j.settle(ctx, j.after, l, f, err)
	}
	_, err = j.change(f, func(tx *store.Tx, f *file) error {
		if f.Packed, f.Held = nil, false; f.State == Finishing {
			f.becomes(Done, "")
		}
		if did != "" {
			f.did(did, "", time.Since(began), "%s", e.why)
		}
		return j.after.Done(tx, l)
	})
	if err == nil {
		j.discard(f)
		if j.ledger != nil {
			j.ledger.gaveBack(f.ID)
		}
	}
	return err
}

// treat does with the original what the configuration wants, and returns what that was; "" for a file that went no further.
func (j *Job) treat(ctx context.Context, f *file) (_ *file, did Act, err error) {
	switch {
	case (f.State == Known || f.State == Done) && f.Overwrite:
		if f, err = j.overwrite(ctx, f); f.Own != "" {
			did = Replaced
		}
		return f, did, err
	case f.State != Finishing:
		return f, "", nil
	case j.cfg.After == Replace && f.Packed != nil:
		return f, Replaced, j.replace(ctx, f)
	case j.cfg.After == Remove:
		return f, Deleted, j.remove(ctx, f)
	}
	return f, Kept, nil
}

// overwrites reports whether the packed form of a file that the ledger had already is to take its place.
func (j *Job) overwrites(f *file) bool {
	o, p := j.cfg.Overwrite, j.cfg.Pack
	return o != nil && p != nil && p.Matches(string(f.Path)) && (o.Within == 0 || time.Since(time.Unix(0, f.Mtime)) <= o.Within)
}

// overwrite packs a file that is somewhere already, and puts its packed form in its place. One that is bad stays as it is.
func (j *Job) overwrite(ctx context.Context, f *file) (*file, error) {
	var err error
	for _, step := range []func(context.Context, *file) (*file, error){j.read, j.judge, j.pack} {
		if f, err = step(ctx, f); err != nil {
			return f, err
		}
	}
	if f.Packed == nil {
		return f, nil
	}
	return f, j.replace(ctx, f)
}

// remove deletes the original, once every destination was asked once more and has it.
func (j *Job) remove(ctx context.Context, f *file) error {
	in, err := j.open(f)
	if err != nil {
		return err
	}
	defer in.Close()
	if f.Packed != nil {
		if f, err = j.repack(ctx, f); err != nil {
			return err
		}
		if err := j.proven(ctx, in, f); err != nil {
			return err
		}
	}
	for _, t := range j.destinations {
		if err := t.gate.Wait(ctx); err != nil {
			return err
		}
		sums, how, err := t.To.Sums(ctx, []string{string(f.Name)})
		if err != nil {
			if ofTheFile(err) {
				return err
			}
			t.gate.Report(err)
			return fault.As(fault.Transient, err)
		}
		if how == connector.BySize {
			return fault.WithHint(fault.New(fault.Permanent, "it is not deleted: nothing proves what %s has of it", t.Name),
				"have the destination read files back (verify: read-back), or keep originals")
		}
		if sum, ok := sums[string(f.Name)]; !ok || sum != f.to(t).SHA256.sha256() {
			return fault.New(fault.Conflict, "it is not deleted: what %s has of it is gone, or something else", t.Name)
		}
	}
	return j.drop(f)
}

// proven is nil if the packed form unpacks to the data of the original.
func (j *Job) proven(ctx context.Context, in *os.File, f *file) error {
	packed := filepath.Join(j.env.Dir, string(f.Packed.Path))
	return j.room.makes(ctx, f.Size, 0, func() error { return j.cfg.Pack.proves(ctx, in, packed, f.Size) })
}

// replace puts the packed form in the place of the original, once it is proved that it unpacks to the same data. The packed
// form is remembered as the job's own before it gets its name, so that it is never taken for a new file.
func (j *Job) replace(ctx context.Context, f *file) error {
	in, err := j.open(f)
	if err != nil {
		return err
	}
	defer in.Close()
	if f, err = j.repack(ctx, f); err != nil {
		return err
	}
	packed := filepath.Join(j.env.Dir, string(f.Packed.Path))
	if err := j.proven(ctx, in, f); err != nil {
		return err
	}
	name, path := in.Name()+j.cfg.Pack.Suffix, string(f.Path)+j.cfg.Pack.Suffix
	if j.cfg.Pack.SameName {
		name, path = in.Name(), string(f.Path)
	} else if there, err := j.isThere(name, path, f); err != nil {
		return err
	} else if there {
		return j.drop(f)
	}
	part := connector.PartName(name)
	var own Identity
	err = j.room.when(ctx, func() (err error) {
		if err = j.room.at(filepath.Dir(name), f.Packed.Size); err == nil {
			own, err = copyTo(packed, part, in)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := j.own(f, path, own); err != nil {
		return err
	}
	if j.cfg.Pack.SameName {
		return j.exchange(f, part)
	}
	if err := moveTo(part, name); err != nil {
		return err
	}
	return j.drop(f)
}

// own remembers that the job put a file there, in the place of another.
func (j *Job) own(f *file, path string, i Identity) error {
	i.Path = Name(path)
	text, err := json.Marshal(i)
	if err != nil {
		return err
	}
	f.Own = i.Path
	_, err = j.change(f, func(tx *store.Tx, f *file) error {
		f.Own = i.Path
		tx.Set(ownKey(path), text)
		return nil
	})
	return err
}

// isThere reports whether a file is the one that an earlier life put there. If it is something else, the error is a Conflict.
func (j *Job) isThere(name, path string, f *file) (bool, error) {
	in, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer in.Close()
	sum, _, err := hashOf(in)
	if err != nil {
		return false, err
	}
	if sum != f.Packed.SHA256 {
		return false, fault.New(fault.Conflict, "the original is not replaced: %s is something else", path)
	}
	own, err := identityOf(in)
	if err != nil {
		return false, err
	}
	return true, j.own(f, path, own)
}
