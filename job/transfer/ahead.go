package transfer

import (
	"context"
	"math"
	"sync"

	"holdfast/kernel/store"
)

// ahead bounds how many files are prepared ahead of shipping, because each may have a packed form, which takes room. The
// destination with the least to do decides, so that one that is away holds up no other.
type ahead struct {
	st           *store.Store
	destinations []*destination
	most         uint64

	mu   sync.Mutex
	left chan struct{} // closed when a file left a destination; guarded by mu
}

func newAhead(st *store.Store, destinations []*destination, most int) *ahead {
	return &ahead{st: st, destinations: destinations, most: uint64(most), left: make(chan struct{})}
}

// wait waits until one more may be prepared.
func (a *ahead) wait(ctx context.Context) error {
	for {
		a.mu.Lock()
		left := a.left
		a.mu.Unlock()
		least := uint64(math.MaxUint64)
		err := a.st.Latest(func(r store.Reader) error {
			for _, t := range a.destinations {
				c, err := t.queue.Counts(r)
				if err != nil {
					return err
				}
				least = min(least, c.Open())
			}
			return nil
		})
		if err != nil || least < a.most {
			return err
		}
		select {
		case <-left:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tell says that a file has left a destination.
func (a *ahead) tell() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.left)
	a.left = make(chan struct{})
}
