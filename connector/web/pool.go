package web

import (
	"container/list"
	"sync"
	"time"
)

// pool keeps connections for later: some number of them, each for some time.
type pool struct {
	most int
	idle time.Duration

	mu      sync.Mutex // guards all below, and the places of the connections in it
	origins map[string]*wire
	byUse   list.List // of *wire: at the front the one that was used least recently
	timer   *time.Timer
	closed  bool
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
	if p.byUse.Len() > p.most {
		surplus = p.oldest()
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
	w := p.oldest()
	for ; w != nil && !now.Before(w.until); w = p.oldest() {
		over = append(over, w)
		p.remove(w)
	}
	p.timer = nil
	if w != nil && !p.closed {
		p.timer = time.AfterFunc(w.until.Sub(now), p.expire)
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
	for w := p.oldest(); w != nil; w = p.oldest() {
		all = append(all, w)
		p.remove(w)
	}
	p.mu.Unlock()
	for _, w := range all {
		w.drop()
	}
}

// oldest is the connection that was used least recently, nil if there is none; p.mu is held.
func (p *pool) oldest() *wire {
	if e := p.byUse.Front(); e != nil {
		return e.Value.(*wire)
	}
	return nil
}

// add makes w the one that was used last; p.mu is held.
func (p *pool) add(w *wire) {
	w.next = p.origins[w.origin]
	p.origins[w.origin] = w
	w.byUse = p.byUse.PushBack(w)
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
	p.byUse.Remove(w.byUse)
	w.next, w.byUse = nil, nil
}
