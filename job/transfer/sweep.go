package transfer

import (
	"context"
	"encoding/binary"
	"time"

	"holdfast/base/plural"
	"holdfast/kernel/store"
)

const (
	// leftOver is the age from which a part at a destination belongs to no file any more: one that is still written to is
	// younger.
	leftOver = 24 * time.Hour
	// sweepEvery is the time between two sweeps of a destination, over all lives of the job: the first one of a life goes through
	// everything that is there.
	sweepEvery = leftOver / 4
)

// sweptKey has when what was left at a destination was last removed, in milliseconds(8).
func sweptKey(root string) store.Key { return store.Key{byte(store.Job), 'w'}.Str(root) }

// sweep removes now and then what was left at the destination.
func (t *destination) sweep(ctx context.Context) error {
	wait, err := t.untilSweep(time.Now())
	if err != nil {
		return err
	}
	next := time.NewTimer(wait)
	defer next.Stop()
	for {
		select {
		case <-next.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := t.gate.Wait(ctx); err != nil {
			return err
		}
		began := time.Now()
		removed, err := t.To.Sweep(ctx, leftOver)
		if len(removed) > 0 {
			t.job.env.History.Note("destination.swept", "%s: removed %s that had been under way for a day", t.Name,
				plural.Of(len(removed), "file"))
		}
		if err == nil {
			err := t.wasSwept(began)
			if err != nil && !noRoom(err) {
				return err
			}
		} else if ctx.Err() == nil {
			t.job.env.History.Warn("destination.unswept", "%s: what is left there can't be removed: %v", t.Name, err)
		}
		next.Reset(sweepEvery)
	}
}

// untilSweep is how long the first sweep of this life has to wait for.
func (t *destination) untilSweep(now time.Time) (wait time.Duration, err error) {
	err = t.job.env.Store.Latest(func(r store.Reader) error {
		v, ok, err := r.Get(sweptKey(t.To.Traits().Root))
		if err != nil || !ok || len(v) != 8 {
			return err
		}
		last := time.UnixMilli(int64(binary.BigEndian.Uint64(v)))
		if !last.After(now) { // else the clock was set back
			wait = max(0, last.Add(sweepEvery).Sub(now))
		}
		return nil
	})
	return wait, err
}

func (t *destination) wasSwept(at time.Time) error {
	return t.job.env.Store.Update(func(tx *store.Tx) error {
		tx.Set(sweptKey(t.To.Traits().Root), binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli())))
		return nil
	})
}
