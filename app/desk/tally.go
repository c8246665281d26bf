package desk

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"holdfast/job/transfer"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// Tally is what a transfer job has done.
type Tally = transfer.Tally

// Tally reads what a transfer job has done, ever; one that never ran has done nothing.
func (d *Desk) Tally(ctx context.Context, job string) (t Tally, err error) {
	if _, err := os.Stat(engine.JobDir(d.plan.Place.Dir, job)); errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	err = d.view(ctx, job, func(r store.Reader) (err error) {
		t, err = transfer.ReadTally(r)
		return err
	})
	return t, err
}
