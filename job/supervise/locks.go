package supervise

import (
	"context"
	"slices"
	"sync"
)

// locks are the resources that actions use one after another.
type locks struct {
	mu   sync.Mutex
	held map[string]bool
	free chan struct{} // closed, and made anew, when some become free
}

func newLocks() *locks { return &locks{held: map[string]bool{}, free: make(chan struct{})} }

// take waits until all of the names are free, and takes them at once: whoever waits holds nothing.
func (l *locks) take(ctx context.Context, names []string) (release func(), err error) {
	for {
		l.mu.Lock()
		if !slices.ContainsFunc(names, func(n string) bool { return l.held[n] }) {
			for _, n := range names {
				l.held[n] = true
			}
			l.mu.Unlock()
			return func() { l.release(names) }, nil
		}
		free := l.free
		l.mu.Unlock()
		select {
		case <-free:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (l *locks) release(names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range names {
		delete(l.held, n)
	}
	close(l.free)
	l.free = make(chan struct{})
}
