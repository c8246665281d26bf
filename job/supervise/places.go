package supervise

import (
	"context"
	"slices"
	"sync"
	"time"
)

// patience is how long a rule that has no place waits before it is given one beyond the usual number.
const patience = 5 * time.Second

// places bound how many actions are done at once. A rule takes at most half of the places that the others leave free, so that
// a rule whose actions hang leaves room. If several such rules use up all of them, a rule that has no place gets one of its
// own after patience. So there are as many places as were asked for, and at worst one more for each rule.
type places struct {
	most     int
	patience time.Duration

	mu      sync.Mutex // guards what is below
	all     int
	taken   map[string]int // by the rule
	waiting []*placeWaiter // in the order in which they came
}

type placeWaiter struct {
	rule  string
	since time.Time
	given chan struct{} // closed when it has one
}

func newPlaces(most int, patience time.Duration) *places {
	return &places{most: most, patience: patience, taken: map[string]int{}}
}

// take waits for a place.
func (p *places) take(ctx context.Context, rule string) (release func(), err error) {
	w := &placeWaiter{rule: rule, since: time.Now(), given: make(chan struct{})}
	p.mu.Lock()
	p.waiting = append(p.waiting, w)
	p.give()
	p.mu.Unlock()
	enough := time.NewTimer(p.patience)
	defer enough.Stop()
	for {
		select {
		case <-w.given:
			return func() { p.release(rule) }, nil
		case <-enough.C:
			p.mu.Lock()
			p.give()
			p.mu.Unlock()
			continue
		case <-ctx.Done():
		}
		p.mu.Lock()
		i := slices.Index(p.waiting, w)
		if i >= 0 {
			p.waiting = slices.Delete(p.waiting, i, i+1)
		}
		p.mu.Unlock()
		if i < 0 { // it was given just now
			p.release(rule)
		}
		return nil, context.Cause(ctx)
	}
}

// give gives places to those who may have one. Called with mu held.
func (p *places) give() {
	now := time.Now()
	p.waiting = slices.DeleteFunc(p.waiting, func(w *placeWaiter) bool {
		own := p.taken[w.rule]
		others := p.all - own
		switch {
		case p.all < p.most && own < (p.most-others+1)/2:
		case own == 0 && now.Sub(w.since) >= p.patience:
		default:
			return false
		}
		p.all++
		p.taken[w.rule]++
		close(w.given)
		return true
	})
}

func (p *places) release(rule string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all--
	if p.taken[rule]--; p.taken[rule] == 0 {
		delete(p.taken, rule)
	}
	p.give()
}
