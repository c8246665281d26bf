package web

import (
	"sync"
	"time"
)

// pool keeps connections for later: some number of them, each for some time.
type pool struct {
	most int
	idle time.Duration

	mu             sync.Mutex // guards all below, and the links of the connections
	origins        map[string]*wire
	count          int
	oldest, newest *wire // by last use
	timer          *time.Timer
	closed         bool
}

func newPool(most int, idle time.Duration) *pool {
	return &pool{most: most, idle: idle, origins: map[string]*wire{}}
}

// take gives the connection to an origin that was used last, nil if there is none that is any good.
func (p *pool) take(origin string) *wire {
	for {
		p.mu.Lock()
		w := p.origins[origin]
		if w == nil {
			p.mu.Unlock()
			return nil
		}
		p.remove(w)
		p.mu.Unlock()
		if time.Now().Before(w.until) && !w.stale() {
			return w
		}
		w.drop()
	}
}

// put keeps a connection, and gives up the one that was used least recently if there are too many.
func (p *pool) put(w *wire) {
	w.rest()
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		w.drop()
		return
	}
	w.until = time.Now().Add(p.idle)
	p.add(w)
	var surplus *wire
	if p.count > p.most {
		surplus = p.oldest
		p.remove(surplus)
	}
	if p.timer == nil {
		p.timer = time.AfterFunc(p.idle, p.expire)
	}
	p.mu.Unlock()
	if surplus != nil {
		surplus.drop()
	}
}

// expire gives up the connections whose time is over, and comes again as long as there are others.
func (p *pool) expire() {
	now := time.Now()
	var over []*wire
	p.mu.Lock()
	for p.oldest != nil && !now.Before(p.oldest.until) {
		over = append(over, p.oldest)
		p.remove(p.oldest)
	}
	p.timer = nil
	if p.oldest != nil && !p.closed {
		p.timer = time.AfterFunc(p.oldest.until.Sub(now), p.expire)
	}
	p.mu.Unlock()
	for _, w := range over {
		w.drop()
	}
}

// close gives up all connections, and those that are put from now on.
func (p *pool) close() {
	var all []*wire
	p.mu.Lock()
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
	for p.oldest != nil {
		all = append(all, p.oldest)
		p.remove(p.oldest)
	}
	p.mu.Unlock()
	for _, w := range all {
		w.drop()
	}
}

// add makes w the newest; p.mu is held.
func (p *pool) add(w *wire) {
	w.next = p.origins[w.origin]
	p.origins[w.origin] = w
	w.older = p.newest
	if p.newest != nil {
		p.newest.newer = w
	} else {
		p.oldest = w
	}
	p.newest = w
	p.count++
}

// remove takes w out of both orders; p.mu is held.
func (p *pool) remove(w *wire) {
	if first := p.origins[w.origin]; first == w {
		if w.next == nil {
			delete(p.origins, w.origin)
		} else {
			p.origins[w.origin] = w.next
		}
	} else {
		for ; first.next != w; first = first.next {
		}
		first.next = w.next
	}
	if w.older != nil {
		w.older.newer = w.newer
	} else {
		p.oldest = w.newer
	}
	if w.newer != nil {
		w.newer.older = w.older
	} else {
		p.newest = w.older
	}
	w.next, w.older, w.newer = nil, nil, nil
	p.count--
}
