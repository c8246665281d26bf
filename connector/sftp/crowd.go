package sftp

import (
	"sync"
	"time"
)

const (
	// gathering is how long the first one of a crowd waits for others.
	gathering = 20 * time.Millisecond
	// mostTogether and longestTogether are how many are together at the most, and how long what they say may be.
	mostTogether    = 64
	longestTogether = 32 << 10
)

// crowd has many who need the same thing at one time be served by one request. Whoever joins is served by a request that begins
// afterwards: what is under way already is none of his.
type crowd[K comparable, T any] struct {
	serve func(key K, all []T) // leaves in each what became of it

	mu   sync.Mutex // guards all below, and what is in the groups
	open map[K]*group[T]
}

// group are those that one request serves.
type group[T any] struct {
	all    []T
	length int
	full   chan struct{} // closed when it waits for nobody any more
	served chan struct{}
}

func newCrowd[K comparable, T any](serve func(key K, all []T)) *crowd[K, T] {
	return &crowd[K, T]{serve: serve, open: map[K]*group[T]{}}
}

// join returns when one has been served, together with those that came for the same key meanwhile: nobody waits when as many as
// enough are there, and one is always. The first one runs the request for all, whatever his own context is.
func (c *crowd[K, T]) join(key K, one T, length, enough int) {
	c.mu.Lock()
	g, second := c.open[key]
	if !second {
		g = &group[T]{full: make(chan struct{}), served: make(chan struct{})}
		c.open[key] = g
	}
	g.all = append(g.all, one)
	g.length += length
	if len(g.all) >= min(enough, mostTogether) || g.length >= longestTogether {
		delete(c.open, key)
		close(g.full)
	}
	c.mu.Unlock()
	if second {
		<-g.served
		return
	}
	defer close(g.served)
	c.serve(key, c.gather(key, g))
}

// gather waits until a group is full, or has waited for long enough, and closes it.
func (c *crowd[K, T]) gather(key K, g *group[T]) []T {
	wait := time.NewTimer(gathering)
	defer wait.Stop()
	select {
	case <-g.full:
	case <-wait.C:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[key] == g {
		delete(c.open, key)
	}
	return g.all
}
