package ingester

import (
	"fmt"
	"time"

	"holdfast/base/fault"
	"holdfast/job/stream/wire"
	"holdfast/kernel/store"
)

// How many windows there may be.
const (
	// mostNear is how many are in memory at most. What a streamer has behind them waits there: nothing of it is
	// confirmed.
	mostNear = 5_000
	// mostNew is by how many a streamer may be ahead of what is known of it.
	mostNew = 1_000_000
)

// why a window is lost that its streamer can't send.
const streamerLacks = "the streamer does not have it any more"

// manifest takes a manifest: its window and all windows before it become known. If it differs from an earlier one for the same
// window it is a Conflict. A streamer whose beacon was not heard yet may have more windows before it; what it says comes
// again.
func (b *book) manifest(m wire.Manifest, now time.Time) error {
	return b.update(func(tx *store.Tx) error {
		e, w := b.epochs[m.Epoch], b.near[windowID{m.Epoch, m.Number}]
		switch {
		case e == nil || w == nil && m.Number <= e.Known: // not met, or done long ago and sent again for somebody
			return nil
		case w != nil && !w.Unmade && !w.fits(m):
			return fault.New(fault.Conflict, "%s: its manifest says something else than before", w.name())
		case w != nil && !w.Unmade:
			return nil
		}
		if err := b.know(tx, e, m.Number, now); err != nil {
			return err
		}
		if w = b.near[windowID{m.Epoch, m.Number}]; w == nil { // there is no room for it yet
			return nil
		}
		w.manifest(m, now)
		b.hold(w)
		b.put(tx, w)
		b.look = b.look || w.waits()
		b.cleared(tx, m.Epoch)
		return nil
	})
}

// beacon takes what a streamer says that it has: windows that nobody heard of become known, and those that it can't send any
// more are lost, of which the texts tell.
func (b *book) beacon(m wire.Beacon, now time.Time) (lost []string, err error) {
	m.Oldest = max(m.Oldest, 1)
	if !b.news(m) {
		return nil, nil
	}
	err = b.update(func(tx *store.Tx) error {
		e := b.epochs[m.Epoch]
		if e == nil { // what it had not when we met was never ours to lose
			e = &epoch{Epoch: m.Epoch, First: m.Oldest, Known: m.Oldest - 1}
			b.epochs[m.Epoch] = e
		}
		if err := b.know(tx, e, m.Newest, now); err != nil {
			return err
		}
		if b.current != m.Epoch {
			b.adopt(e, now)
		}
		e.End = m.End && m.Newest == e.Known
		if err := b.putEpoch(tx, e); err != nil {
			return err
		}
		for _, w := range b.opened() {
			if b.behind(w, m) {
				text, err := b.giveUp(tx, w, streamerLacks, now)
				if err != nil {
					return err
				}
				lost = append(lost, text)
			}
		}
		if err := b.retire(tx); err != nil {
			return err
		}
		b.cleared(tx, m.Epoch)
		return nil
	})
	return lost, err
}

// news reports whether a beacon tells anything new. Most don't, and cost no commit.
func (b *book) news(m wire.Beacon) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.epochs[m.Epoch]
	if e == nil || b.current != m.Epoch || m.Newest > e.Known && len(b.near) < mostNear ||
		m.Newest == e.Known && m.End != e.End || m.Newest > e.Known && e.End {
		return true
	}
	for _, w := range b.open {
		if b.behind(w, m) {
			return true
		}
	}
	return false
}

// behind reports whether the streamer of a beacon can no longer send what the window lacks.
func (b *book) behind(w *window, m wire.Beacon) bool {
	return w.Epoch == m.Epoch && w.Number < m.Oldest && w.State == Open && (w.Unmade || len(b.missing(w)) > 0)
}

// gone takes the refusal of a streamer to send a window.
func (b *book) gone(m wire.Gone, now time.Time) (lost []string, err error) {
	err = b.update(func(tx *store.Tx) error {
		w := b.near[windowID{m.Epoch, m.Number}]
		if w == nil || w.State != Open {
			return nil
		}
		text, err := b.giveUp(tx, w, streamerLacks, now)
		if err != nil {
			return err
		}
		lost = append(lost, text)
		b.cleared(tx, m.Epoch)
		return nil
	})
	return lost, err
}

// overdue gives up the windows of which nothing came for so long, while everything was heard.
func (b *book) overdue(after time.Duration, now time.Time) (lost []string, err error) {
	old := func(w *window) bool {
		since := b.hearing
		for _, at := range []time.Time{w.Met, w.Came} {
			if at.After(since) {
				since = at
			}
		}
		return now.Sub(since) >= after
	}
	b.mu.Lock()
	there := false
	for _, w := range b.open {
		there = there || old(w)
	}
	b.mu.Unlock()
	if !there {
		return nil, nil
	}
	err = b.update(func(tx *store.Tx) error {
		for _, w := range b.opened() {
			if !old(w) {
				continue
			}
			text, err := b.giveUp(tx, w, fmt.Sprintf("nothing of it came for %v", after), now)
			if err != nil {
				return err
			}
			lost = append(lost, text)
			b.cleared(tx, w.Epoch)
		}
		return nil
	})
	return lost, err
}

// know makes every window up to newest known, as far as there is room for them.
func (b *book) know(tx *store.Tx, e *epoch, newest uint64, now time.Time) error {
	if newest > e.Known+mostNew {
		return fault.New(fault.Invalid, "the streamer is at window %d and the last one known is %d: that can't be", newest,
			e.Known)
	}
	known := e.Known
	for ; e.Known < newest && len(b.near) < mostNear; e.Known++ {
		id := windowID{e.Epoch, e.Known + 1}
		if b.near[id] != nil { // of a store that was salvaged
			continue
		}
		w := unmade(id, now)
		b.hold(w)
		b.put(tx, w)
	}
	if e.Known == known {
		return nil
	}
	return b.putEpoch(tx, e)
}

// heard notes that everything is heard from now on, after a time when it was not: what is missing is asked for at once.
func (b *book) heard(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hearing, b.idle = now, time.Time{}
	for _, w := range b.near {
		w.asks, w.next = 0, time.Time{}
	}
}
