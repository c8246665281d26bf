package simulator

import (
	"math"
	"sync/atomic"
	"time"
)

// clock says when each id comes: the backlog before the epoch, the rest after it.
type clock struct {
	start, backlog uint64
	epoch          time.Time
	before         time.Duration  // between two ids of the backlog
	after          time.Duration  // between two ids that come live; 0 for none
	end            uint64         // the highest id there is, if there is one
	published      *atomic.Uint64 // ids that came by Publish
}

func newClock(o Options) clock {
	c := clock{start: o.Start, backlog: o.Backlog, epoch: o.Epoch, published: new(atomic.Uint64)}
	span := 20 * time.Hour
	if o.Rate > 0 {
		c.after = max(1, time.Duration(float64(time.Second)/o.Rate))
		if whole := float64(o.Backlog) / o.Rate * float64(time.Second); whole < float64(span) {
			span = time.Duration(whole)
		}
	}
	if o.Backlog > 0 {
		c.before = span / time.Duration(o.Backlog)
	}
	return c
}

// at returns when the id comes, or would have come that is below the first.
func (c clock) at(id uint64) time.Time {
	i := int64(id-c.start) - int64(c.backlog)
	if i >= 0 {
		return c.epoch.Add(time.Duration(i) * c.after)
	}
	return c.epoch.Add(time.Duration(i) * c.before)
}

func (c clock) first() uint64 { return c.start }

// last is the highest id that will ever come.
func (c clock) last() uint64 {
	switch {
	case c.end > 0:
		return c.end
	case c.after == 0:
		return c.start + c.backlog + c.published.Load() - 1
	}
	return math.MaxInt64
}

// newest is the highest id that has come by now.
func (c clock) newest(now time.Time) uint64 {
	live := c.published.Load()
	if d := now.Sub(c.epoch); c.after > 0 && d >= 0 {
		live += uint64(d/c.after) + 1
	}
	return min(c.start+c.backlog+live-1, c.last())
}

// oldest is the lowest id that came less than keep ago.
func (c clock) oldest(now time.Time, keep time.Duration) uint64 {
	if keep < 0 {
		return c.start
	}
	lo, hi := c.start, c.newest(now)+1
	for lo < hi {
		mid := lo + (hi-lo)/2
		if now.Sub(c.at(mid)) > keep {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}
