package supervise

import (
	"context"
	"slices"
	"sync"
)

// locks are the resources that actions use one after another, in the order in which they asked.
type locks struct {
	mu      sync.Mutex
	held    map[string]bool
	waiting []*lockWaiter
}

type lockWaiter struct {
	names []string
	given chan struct{} // closed when it has them
}

func newLocks() *locks { return &locks{held: map[string]bool{}} }

// ask stands in line for all of the names.
func (l *locks) ask(names []string) *lockWaiter {
	w := &lockWaiter{names: names, given: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, w)
	l.give()
	return w
}

// take waits until all of the names that were asked for are free, and takes them at once. Whoever waits holds nothing
// meanwhile, and is not overtaken by anybody who wants a name that he waits for.
func (l *locks) take(ctx context.Context, w *lockWaiter) (release func(), err error) {
	names := w.names
	select {
	case <-w.given:
		return func() { l.release(names) }, nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	i := slices.Index(l.waiting, w)
	if i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
		l.give() // he may have held up others
	}
	l.mu.Unlock()
	if i < 0 { // he got them just now
		l.release(names)
	}
	return nil, context.Cause(ctx)
}

// give gives what is free to those who wait. Called with mu held.
func (l *locks) give() {
	wanted := map[string]bool{}
	l.waiting = slices.DeleteFunc(l.waiting, func(w *lockWaiter) bool {
		if slices.ContainsFunc(w.names, func(n string) bool { return l.held[n] || wanted[n] }) {
			for _, n := range w.names {
				wanted[n] = true
			}
			return false
		}
		for _, n := range w.names {
			l.held[n] = true
		}
		close(w.given)
		return true
	})
}

func (l *locks) release(names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range names {
		delete(l.held, n)
	}
	l.give()
}
