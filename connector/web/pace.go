package web

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// paces are the bandwidths of servers, by origin: exchanges with one share it.
type paces struct {
	mu  sync.Mutex // guards all
	all map[string]*rate.Limiter
}

// fewPaces is how many are remembered in any case.
const fewPaces = 4096

// of is the pace of an origin in bytes a second, nil for none. If the number changes, it does so for exchanges under way too.
func (p *paces) of(origin string, bandwidth int64) *rate.Limiter {
	if bandwidth <= 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.all[origin]
	if l == nil {
		if len(p.all) >= fewPaces {
			p.forget(time.Now())
		}
		l = rate.NewLimiter(rate.Limit(bandwidth), burst(bandwidth))
		p.all[origin] = l
	}
	if l.Limit() != rate.Limit(bandwidth) {
		l.SetLimit(rate.Limit(bandwidth))
		l.SetBurst(burst(bandwidth))
	}
	return l
}

// forget lets go of those that owe nothing: a new one would be the same.
func (p *paces) forget(now time.Time) {
	for origin, l := range p.all {
		if l.TokensAt(now) >= float64(l.Burst()) {
			delete(p.all, origin)
		}
	}
}
