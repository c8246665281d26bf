package crawl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/job/crawl/frontier"
	"holdfast/kernel/checkpoint"
	"holdfast/kernel/store"
)

// CheckpointName is how Heritrix names checkpoints: cp00001-20260111232425.
func CheckpointName(serial uint64, at time.Time) string {
	return fmt.Sprintf("cp%05d-%s", serial, at.UTC().Format("20060102150405"))
}

// Facts are the numbers that a checkpoint records about its moment.
func Facts(r store.Reader) (map[string]int64, error) {
	c, err := frontier.ReadCounts(r)
	return map[string]int64{"URLs done": int64(c.Done), "URLs queued": int64(c.Queued + c.Waiting)}, err
}

// Prepare ends the WARC file and the logs before a checkpoint, so that everything that the checkpoint has is in files that
// are not written to any more. What is fetched meanwhile goes into the next files.
func (j *Job) Prepare(ctx context.Context, name string) error {
	return j.errand(ctx, func() error {
		if err := errors.Join(j.line(), j.roll(), j.logs.rotate(name)); err != nil {
			return err
		}
		if j.journal != nil {
			if err := j.journal.Rotate(name); err != nil {
				return err
			}
		}
		return j.commit(nil)
	})
}

// Checkpointed is called after Prepare, when the snapshot of the checkpoint stands, or when there will be none.
func (j *Job) Checkpointed(ctx context.Context) error {
	return j.errand(ctx, func() error {
		j.logs.checkpointed()
		if j.journal != nil {
			j.journal.Checkpointed()
		}
		return j.commit(nil)
	})
}

// noteStart tells how many URLs were in flight when the last run ended, as far as the store and the file of flights know.
// After a restore it is the number at the moment of the checkpoint.
func (j *Job) noteStart(inFlight int) error {
	urls := fmt.Sprintf("%d %s", inFlight, plural.Noun(inFlight, "URL"))
	if !j.logs.restored {
		if inFlight > 0 {
			j.env.History.Note("crawl.resumed", "resumed after an unclean stop: %s in flight returned to the frontier", urls)
		}
		return nil
	}
	return j.env.Store.Latest(func(r store.Reader) error {
		from, known, err := checkpoint.Restored(r)
		switch {
		case err == nil && !known: // it was salvaged
			j.env.History.Warn("crawl.salvaged", "goes on with what could be read of a damaged store: %s that %s in flight returned to the frontier",
				urls, wasOrWere(inFlight))
		case err == nil:
			j.env.History.Note("crawl.restored", "restored from checkpoint %s of %s: %s that %s in flight then returned to the frontier",
				from.Name, from.Created.UTC().Format(time.DateTime), urls, wasOrWere(inFlight))
		}
		return err
	})
}

func wasOrWere(n int) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

// errand runs do in the goroutine that writes.
func (j *Job) errand(ctx context.Context, do func() error) error {
	if j.resting {
		return do()
	}
	e := errand{do: do, done: make(chan error, 1)}
	select {
	case j.errands <- e:
		return <-e.done
	case <-j.broken:
		return fault.New(fault.Transient, "job %s ends just now", j.env.Name)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Prepare is Job.Prepare for a crawl that does not run. Its WARC file has ended already, if the last run ended in good order.
func Prepare(st *store.Store, cfg Config, log *slog.Logger, name string) (err error) {
	cfg.Earlier = nil // nothing is compared
	f, _, err := openFiles(st, cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	f.index.Roll()
	if err := errors.Join(f.archive.Roll(), f.index.Sync(), f.logs.rotate(name)); err != nil {
		return err
	}
	if f.journal != nil {
		if err := f.journal.Rotate(name); err != nil {
			return err
		}
	}
	err = st.Update(func(tx *store.Tx) error {
		err := errors.Join(f.archive.Commit(tx), f.index.Commit(tx), f.logs.commit(tx))
		if f.journal != nil {
			err = errors.Join(err, f.journal.Begin().Commit(tx))
		}
		return err
	})
	if err != nil {
		return err
	}
	err = errors.Join(f.archive.Committed(), f.logs.committed())
	if f.journal != nil {
		err = errors.Join(err, f.journal.Committed())
	}
	return err
}
