package app

import (
	"context"
	"strconv"

	"holdfast/job/collect"
	"holdfast/kernel/balance"
	"holdfast/kernel/store"
)

// DeadLetters lists dead letters of a job behind id after, at most max.
func (d *Desk) DeadLetters(ctx context.Context, job string, after uint64,
	max int) (out []balance.DeadLetter, err error) {
	err = d.view(ctx, job, func(r store.Reader) error {
		out, err = balance.ListDead(r, after, max)
		return err
	})
	return out, err
}

// letters counts the dead letters of a job.
func letters(r store.Reader) (n int64, err error) {
	err = balance.EachDead(r, func(balance.DeadLetter) error {
		n++
		return nil
	})
	return n, err
}

// DeadLetter returns one dead letter.
func (d *Desk) DeadLetter(ctx context.Context, job string, id uint64) (l balance.DeadLetter,
	err error) {
	err = d.view(ctx, job, func(r store.Reader) error {
		l, err = balance.ReadDead(r, id)
		return err
	})
	return l, err
}

// RetryDead gives a dead letter another try.
func (d *Desk) RetryDead(ctx context.Context, job string, id uint64) error {
	if d.eng != nil {
		_, err := d.Command(ctx, job, "dead-retry", strconv.FormatUint(id, 10))
		return err
	}
	return d.intake(ctx, job, func(in *collect.Intake) error {
		return in.RetryDead(ctx, id)
	})
}

// DiscardDead lets a dead letter go, with a reason for the history.
func (d *Desk) DiscardDead(ctx context.Context, job string, id uint64, reason string) error {
	if d.eng != nil {
		_, err := d.Command(ctx, job, "dead-discard", strconv.FormatUint(id, 10), reason)
		return err
	}
	return d.intake(ctx, job, func(in *collect.Intake) error {
		return in.DiscardDead(id, reason)
	})
}

// DeadLetter is an item that could not go on.
type DeadLetter = balance.DeadLetter
