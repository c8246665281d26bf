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
	for {
		r := e.find(job)
		if r != nil {
			if err := r.send(ctx, f); !errors.Is(err, errOffline) {
				return err
			}
		}
		if done, err := e.unattended(job, r, f); done {
			return err
		}
	}
}

// unattended runs f if the job's runner is still was, which has ended, or if it has none. The job can't be started
// meanwhile.
func (e *Engine) unattended(job string, was *runner, f func() error) (done bool, err error) {
	e.changing.Lock()
	defer e.changing.Unlock()
	if e.find(job) != was {
		return false, nil
	}
	return true, fault.Catch(f)
}

var errOffline = errors.New("the job does not run")

// send has f done while the store is closed; errOffline if the job runs no more.
func (r *runner) send(ctx context.Context, f func() error) error {
	work := errand{f: f, done: make(chan error, 1)}
	select {
	case r.errands <- work:
		return <-work.done
	case <-r.ended:
		return errOffline
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *runner) do(e errand) {
	r.set(Offline)
	e.done <- fault.Catch(e.f)
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
	err = fault.Catch(func() error { return r.once(run) })
	leave()
	<-waited
	return came, err
}
