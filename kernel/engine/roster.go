package engine

import (
	"context"
	"errors"
	"slices"

	"holdfast/base/fault"
)

// all returns the runners of the moment.
func (e *Engine) all() []*runner {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.runners)
}

// find returns the runner of a job, nil if there is none.
func (e *Engine) find(job string) *runner {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.runners {
		if r.spec.Name == job {
			return r
		}
	}
	return nil
}

// begin starts the runners that there are, and lets later ones be started.
func (e *Engine) begin(launch func(*runner)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.launch = launch
	for _, r := range e.runners {
		launch(r)
	}
}

// wait returns when every runner has ended, those included that came meanwhile, and no other is waited for.
func (e *Engine) wait(ctx context.Context) error {
	for {
		r, came := e.working(ctx)
		switch {
		case r != nil:
			<-r.ended
			continue
		case came != nil:
			select {
			case <-came:
			case <-ctx.Done():
			}
			continue
		}
		var errs []error
		for _, r := range e.all() {
			errs = append(errs, r.err)
		}
		return errors.Join(errs...)
	}
}

// working returns a runner that has not ended. If there is none it returns a channel that is closed once another is
// started, or nil if none can be started any more.
func (e *Engine) working(ctx context.Context) (r *runner, came <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	failed := false
	for _, r := range e.runners {
		select {
		case <-r.ended:
			failed = failed || r.err != nil
		default:
			return r, nil
		}
	}
	if e.opts.Stay && !failed && ctx.Err() == nil {
		e.came = make(chan struct{})
		return nil, e.came
	}
	e.launch = nil
	return nil, nil
}

// Undone returns the jobs whose work is not done for good. Once Run has returned, its context has ended them.
func (e *Engine) Undone() (names []string) {
	for _, r := range e.all() {
		r.mu.Lock()
		if !r.done {
			names = append(names, r.spec.Name)
		}
		r.mu.Unlock()
	}
	return names
}

// Add starts a further job beside those that run.
func (e *Engine) Add(s Spec) error {
	e.changing.Lock()
	defer e.changing.Unlock()
	if e.find(s.Name) != nil {
		return fault.New(fault.Conflict, "there is a job %s already", s.Name)
	}
	return e.put(s, nil)
}

// put starts a runner, in the place of one that has ended if old is not nil. The caller holds changing.
func (e *Engine) put(s Spec, old *runner) error {
	r := newRunner(e, s)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.launch == nil {
		return fault.New(fault.Transient, "job %s can't be started: the engine has ended", s.Name)
	}
	if i := slices.Index(e.runners, old); i >= 0 {
		e.runners[i] = r
	} else {
		e.runners = append(e.runners, r)
	}
	e.launch(r)
	if e.came != nil {
		close(e.came)
		e.came = nil
	}
	return nil
}

// Replace gives a job another specification of the same name: it drains, its store is closed, and it goes on
// as the new one says. A job whose work was done begins anew.
func (e *Engine) Replace(ctx context.Context, s Spec) error {
	for {
		r := e.find(s.Name)
		if r == nil {
			return fault.New(fault.NotFound, "there is no job %q", s.Name)
		}
		err := r.send(ctx, func() error {
			r.become(s)
			return nil
		})
		if !errors.Is(err, errOffline) {
			return err
		}
		if done, err := e.replaceEnded(s, r); done {
			return err
		}
	}
}

// replaceEnded starts a runner in the place of one that has ended, unless somebody else was faster: done is false then.
func (e *Engine) replaceEnded(s Spec, old *runner) (done bool, err error) {
	e.changing.Lock()
	defer e.changing.Unlock()
	if e.find(s.Name) != old {
		return false, nil
	}
	return true, e.put(s, old)
}

// become takes over all of a specification but the name. The goroutine of run calls it: it alone reads what
// is not guarded.
func (r *runner) become(s Spec) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spec.Kind, r.spec.Once, r.spec.Config, r.spec.New = s.Kind, s.Once, s.Config, s.New
	r.last = ""
}

// Remove ends a job as the end of the engine would, and returns when its store is closed. What the job holds
// stays where it is.
func (e *Engine) Remove(job string) error {
	r := e.find(job)
	if r == nil {
		return fault.New(fault.NotFound, "there is no job %q", job)
	}
	e.mu.Lock()
	leave := r.leave
	e.mu.Unlock()
	if leave == nil {
		return fault.New(fault.Transient, "job %s can't be ended: the engine does not run", job)
	}
	leave()
	<-r.ended
	e.changing.Lock()
	defer e.changing.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.runners = slices.DeleteFunc(e.runners, func(o *runner) bool { return o == r })
	return nil
}
