package sftp

import (
	"sync"
	"time"
)

const (
	// batchWait is how long the first item of a batch waits for others.
	batchWait = 20 * time.Millisecond
	// mostTogether is how many items a batch has at most, and longestTogether about how many bytes they take on the line.
	mostTogether    = 64
	longestTogether = 32 << 10
)

// batcher serves callers that need the same thing at the same time by one request. A caller is only ever served by a
// request that began after it came.
type batcher[K comparable, T any] struct {
	serve func(key K, all []T) // stores the result in each item

	mu   sync.Mutex // guards all below, and what is in the batches
	open map[K]*batch[T]
}

// batch is what one request serves.
type batch[T any] struct {
	all    []T
	length int
	full   chan struct{} // closed when it takes no more
	served chan struct{}
}

func newBatcher[K comparable, T any](serve func(key K, all []T)) *batcher[K, T] {
	return &batcher[K, T]{serve: serve, open: map[K]*batch[T]{}}
}

// join returns when one has been served, together with what came for the same key meanwhile. The request is made at once
// when enough items are there (0 is always), else after batchWait. The first caller makes it for all, whatever its own
// context says.
func (c *batcher[K, T]) join(key K, one T, length, enough int) {
	c.mu.Lock()
	b, joined := c.open[key]
	if !joined {
		b = &batch[T]{full: make(chan struct{}), served: make(chan struct{})}
		c.open[key] = b
	}
	b.all = append(b.all, one)
	b.length += length
	if len(b.all) >= min(enough, mostTogether) || b.length >= longestTogether {
		delete(c.open, key)
		close(b.full)
	}
	c.mu.Unlock()
	if joined {
		<-b.served
		return
	}
	defer close(b.served)
	c.serve(key, c.gather(key, b))
}

// gather waits until a batch is full or old enough, and closes it.
func (c *batcher[K, T]) gather(key K, b *batch[T]) []T {
	wait := time.NewTimer(batchWait)
	defer wait.Stop()
	select {
	case <-b.full:
	case <-wait.C:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[key] == b {
		delete(c.open, key)
	}
	return b.all
}
