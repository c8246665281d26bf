package transfer

import (
	"context"
	"time"
)

// leftOver is the age of what is under way at a destination, and belongs to no file any more: one that is gone on with is
// younger.
const leftOver = 24 * time.Hour

// sweep removes now and then what was left at the destination.
func (t *target) sweep(ctx context.Context) error {
	every := time.NewTicker(leftOver / 4)
	defer every.Stop()
	for {
		if err := t.gate.Wait(ctx); err != nil {
			return err
		}
		removed, err := t.To.Sweep(ctx, leftOver)
		if len(removed) > 0 {
			t.job.env.History.Note("target.swept", "%s: %d files that were under way a day ago were removed", t.Name, len(removed))
		}
		if err != nil && ctx.Err() == nil {
			t.job.env.History.Warn("target.unswept", "%s: what is left there can't be removed: %v", t.Name, err)
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
