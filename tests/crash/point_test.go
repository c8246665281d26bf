package crash

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast/kernel/checkpoint"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// copy makes a checkpoint while others work.
func (j *job) copy() error {
	name := fmt.Sprintf("c%d-%d", j.life, j.serial.Add(1))
	if err := j.w.tell(event{What: copying, Name: name}); err != nil {
		return err
	}
	if _, err := checkpoint.Create(context.Background(), j.st, checkpoint.Options{Name: name}); err != nil {
		return err
	}
	return j.w.tell(event{What: copied, Name: name})
}

// verifyPoints checks after a crash that each checkpoint is whole or is not there, that the ones that
// were acknowledged are there, and that the newest holds what was acknowledged when it was asked for.
func (w *witness) verifyPoints(fs store.FS, dir string) error {
	if len(w.points) == 0 {
		return nil
	}
	ctx, work := context.Background(), checkpoint.Work{FS: fs, Store: w.options(fs)}
	all, err := checkpoint.List(dir, work)
	if err != nil {
		return err
	}
	for name, p := range w.points {
		at := slices.IndexFunc(all, func(c checkpoint.Checkpoint) bool { return c.Name == name })
		if at < 0 && p.Made {
			return fmt.Errorf("checkpoint %s was acknowledged and is gone", name)
		}
		if at < 0 {
			continue
		}
		if all[at].Err != nil {
			return fmt.Errorf("checkpoint %s: %w", name, all[at].Err)
		}
		if r, err := checkpoint.Verify(ctx, all[at].Path, work); err != nil || r.Err() != nil {
			return fmt.Errorf("verify checkpoint %s: %w", name, errors.Join(err, r.Err()))
		}
	}
	for _, c := range all {
		if w.points[c.Name] == nil {
			return fmt.Errorf("checkpoint %s was never asked for", c.Name)
		}
	}
	if len(all) > 0 {
		err = w.goBack(all[len(all)-1], work)
	}
	for _, c := range all {
		err = errors.Join(err, checkpoint.Remove(dir, c.Name, work))
	}
	clear(w.points)
	return err
}

// goBack restores a checkpoint beside the store and looks at it.
func (w *witness) goBack(c checkpoint.Checkpoint, work checkpoint.Work) error {
	into := c.Path + ".back"
	if _, err := checkpoint.Restore(context.Background(), c.Path, into, work); err != nil {
		return err
	}
	st, err := store.Open(into, work.Store)
	if err != nil {
		return fmt.Errorf("open restored store: %w", err)
	}
	if st.Lineage().String() == w.line {
		err = errors.New("the restored store has the lineage of the one it was made of")
	}
	err = errors.Join(err, st.View(context.Background(), func(r store.Reader) error {
		n, err := readJournal(r)
		if err != nil || n < w.points[c.Name].From {
			return fmt.Errorf("checkpoint %s ends at transaction %d, %d was acknowledged before (%v)", c.Name, n,
				w.points[c.Name].From, err)
		}
		for i := w.pruned + 1; i <= n; i++ {
			if _, ok, err := r.Get(entryKey(i)); err != nil || !ok {
				return fmt.Errorf("checkpoint %s ends at transaction %d and lacks %d (%v)", c.Name, n, i, err)
			}
		}
		b, err := engine.ReadBooks(r, jobName)
		if err == nil && !b.Balanced() {
			err = fmt.Errorf("the laws do not hold in checkpoint %s: %v", c.Name, b.Broken)
		}
		return err
	}))
	err = errors.Join(err, st.Close())
	return errors.Join(err, removeAll(work.FS, into))
}

func removeAll(fs store.FS, dir string) error {
	if fs == nil {
		fs = store.Disk
	}
	return fs.RemoveAll(dir)
}

// patience bounds every wait of the tests that run in real time.
const patience = 20 * time.Second
