package engine

import (
	"context"
	"errors"

	"holdfast/base/fault"
)

// errand is work on a job's closed store.
type errand struct {
	f    func() error
	done chan error // of room for one
}

// Offline runs f while the job's store is closed, and lets the job go on: the job drains first, the other
// jobs do not notice. A job that this engine does not have, or whose work is done, is offline already.
func (e *Engine) Offline(ctx context.Context, job string, f func() error) error {
	err := e.with(job, func(r *runner) error {
		work := errand{f: f, done: make(chan error, 1)}
		select {
		case r.errands <- work:
			return <-work.done
		case <-r.ended:
			return errOffline
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if errors.Is(err, errOffline) || fault.Is(err, fault.NotFound) && !e.has(job) {
		return Catch(f)
	}
	return err
}

var errOffline = errors.New("the job does not run")

func (e *Engine) has(job string) bool {
	return e.with(job, func(*runner) error { return nil }) == nil
}

func (r *runner) do(e errand) {
	r.set(Offline)
	e.done <- Catch(e.f)
}

// untilErrand is once, cut short when an errand comes.
func (r *runner) untilErrand(ctx context.Context) (came *errand, err error) {
	run, leave := context.WithCancel(ctx)
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		select {
		case e := <-r.errands:
			came = &e
			leave()
		case <-run.Done():
		}
	}()
	err = Catch(func() error { return r.once(run) })
	leave()
	<-waited
	return came, err
}
