package streamer

import (
	"slices"
	"time"
)

// silence is how long after the last confirmation what is under way counts as arrived: an ingester of old never confirms, and
// a confirmation may be lost.
const silence = 500 * time.Millisecond

// air is what was sent and is not confirmed: as long as confirmations come, it stays below a limit, so that
// no broker has to keep more than an ingester takes in.
type air struct {
	most    int64     // the limit of a broker that has room
	low     int64     // what it was when the broker had none; 0 for never
	refused time.Time // when that was
	bytes   int64
	windows map[uint64]*flight
	last    time.Time // when something was sent or confirmed
}

// flight are the batches of a window under way, in the order of their sending.
type flight struct {
	batches []int
	sizes   []int
}

func newAir(limit int64) air { return air{most: limit, windows: map[uint64]*flight{}} }

// recovers is the time in which the limit doubles again.
const recovers = 10 * time.Second

// limit is how much may be under way.
func (a *air) limit(now time.Time) int64 {
	if a.low == 0 {
		return a.most
	}
	return min(a.low<<min(now.Sub(a.refused)/recovers, 30), a.most)
}

// full notes that the broker had no room: half of what is under way is what it can keep. Otherwise it would be filled at once
// each time that somebody makes room, and its gate would be closed most of the time.
func (a *air) full(now time.Time) {
	a.low, a.refused = max(min(a.bytes, a.limit(now))/2, 1), now
}

// room returns when a batch of a size may be sent: now, or after the silence.
func (a *air) room(now time.Time, size int) (at time.Time) {
	if a.bytes == 0 || a.bytes+int64(size) <= a.limit(now) {
		return now
	}
	if at = a.last.Add(silence); !at.After(now) {
		a.bytes, a.windows = 0, map[uint64]*flight{}
	}
	return at
}

// add says that a batch was sent, one that was not under way.
func (a *air) add(window uint64, batch, size int, now time.Time) {
	f := a.windows[window]
	if f == nil {
		f = new(flight)
		a.windows[window] = f
	}
	f.batches, f.sizes = append(f.batches, batch), append(f.sizes, size)
	a.bytes += int64(size)
	a.last = now
}

// landed notes that a batch is no longer under way, because somebody asked for it.
func (a *air) landed(window uint64, batch int) {
	f := a.windows[window]
	if f == nil {
		return
	}
	if i := slices.Index(f.batches, batch); i >= 0 {
		a.bytes -= int64(f.sizes[i])
		f.batches, f.sizes = slices.Delete(f.batches, i, i+1), slices.Delete(f.sizes, i, i+1)
	}
}

// confirm notes that nothing is under way of the windows up to one, and that so many of the batches that were sent of the next
// one have arrived. Which ones nobody says, so they count as the ones that were sent first.
func (a *air) confirm(upTo uint64, have, sent int, now time.Time) {
	for n := range a.windows {
		if n <= upTo {
			a.drop(n)
		}
	}
	if f := a.windows[upTo+1]; f != nil && have > 0 {
		for len(f.batches) > max(sent-have, 0) {
			a.landed(upTo+1, f.batches[0])
		}
	}
	a.last = now
}

func (a *air) drop(window uint64) {
	if f := a.windows[window]; f != nil {
		for _, size := range f.sizes {
			a.bytes -= int64(size)
		}
		delete(a.windows, window)
	}
}
