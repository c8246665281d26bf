package frontier

import (
	"container/heap"
	"context"
	"slices"
	"time"

	"holdfast/kernel/store"
)

// guest is a host that is asked for something that stands in no queue.
type guest struct {
	busy bool
	host *host // if it is busy, and known
	due  int64 // in milliseconds

	// flight stands in the file of flights, so that a start after a crash knows that the host was asked, even if the store
	// does not know when it is due.
	flight *Lease
}

// mostGuests is how many guests are remembered before those are dropped that may be asked again.
const mostGuests = 4096

// Guest waits until a host may be asked, whether it is known or not. From then on the host counts as being asked, until leave
// is called, once, which says when it may be asked again. url is what it is asked for. The error is that of ctx, of the store,
// or of the file of flights. A host that a person holds is not asked.
func (f *Frontier) Guest(ctx context.Context, queue, url string) (leave func(due time.Time), err error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		leave, wait, news, err := f.guest(queue, url, time.Now())
		if leave != nil || err != nil {
			return leave, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-news:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// TryGuest is Guest for a host that may be asked at once; if it may not, leave is nil.
func (f *Frontier) TryGuest(queue, url string) (leave func(due time.Time), err error) {
	leave, _, _, err = f.guest(queue, url, time.Now())
	return leave, err
}

// guest admits a host as a guest, or returns how long that has to wait unless there is news before.
func (f *Frontier) guest(queue, url string, now time.Time) (leave func(time.Time), wait time.Duration, news <-chan struct{}, err error) {
	g, wait, news, err := f.admit(queue, now)
	if g == nil || err != nil {
		return nil, wait, news, err
	}
	l := &Lease{Item: Item{URL: url}, slot: f.flights.reserve()}
	if err := f.flights.begin(l); err != nil {
		f.leave(g, l, now)
		return nil, 0, nil, err
	}
	return func(due time.Time) { f.leave(g, l, due) }, 0, nil, nil
}

// admit is guest without the file of flights. The store is read with the lock held: a host that is asked just now is known
// by f.hosts until its new due time is in the store, and could be taken for one that is due if the two were read one after
// the other.
func (f *Frontier) admit(queue string, now time.Time) (g *guest, wait time.Duration, news <-chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var rec record
	var id uint32
	var known bool
	err = f.st.Latest(func(r store.Reader) (err error) {
		if id, known, err = hostID(r, queue); err == nil && known {
			rec, err = readHost(r, id)
		}
		return err
	})
	if err != nil {
		return nil, 0, nil, err
	}
	if g = f.guests[queue]; g == nil {
		g = &guest{}
	}
	due := g.due
	var h *host
	if known {
		if h = f.hosts[id]; h == nil {
			h = &host{id: id, due: rec.due, stored: rec.due, index: -1}
		}
		due = max(due, h.due)
	}
	switch {
	case rec.held, g.busy, h != nil && h.asked >= f.opts.PerHost:
		return nil, Longest, f.news, nil
	case !f.isDue(due, now):
		return nil, f.until(due, now), f.news, nil
	}
	if h != nil {
		f.hosts[id] = h
		if h.asked++; h.asked >= f.opts.PerHost && h.index >= 0 {
			heap.Remove(&f.window, h.index)
		}
	}
	f.guests[queue], g.busy, g.host = g, true, h
	return g, 0, nil, nil
}

// leave ends what guest began; l is the lease in the file of flights.
func (f *Frontier) leave(g *guest, l *Lease, due time.Time) {
	var over []*Lease
	defer func() { f.flights.end(over) }() // not with the lock held
	f.mu.Lock()
	defer f.mu.Unlock()
	if g.flight == nil {
		g.flight = l
	} else { // one URL of a host is enough
		over = append(over, l)
	}
	h := g.host
	g.busy, g.host, g.due = false, nil, f.later(due)
	if h != nil {
		h.asked--
		h.due = max(h.due, g.due)
		if f.hosts[h.id] == h {
			f.enter(h)
		}
	}
	if len(f.guests) > mostGuests {
		now := f.Stamp(time.Now())
		for queue, g := range f.guests {
			if !g.busy && g.due <= now {
				delete(f.guests, queue)
				if g.flight != nil {
					over = append(over, g.flight)
				}
			}
		}
	}
	f.tell()
}

// meet makes a host that was a guest before it was known go on as that guest; e is its next URL. It returns true if the host
// may not be asked for e yet.
func (f *Frontier) meet(h *host, e *entry) bool {
	g := f.guests[e.item.Queue]
	if g == nil {
		return false
	}
	was := h.due
	h.due = max(h.due, g.due)
	if g.busy && g.host == nil {
		g.host = h
		h.asked++
	}
	full := h.asked >= f.opts.PerHost
	switch {
	case full:
		heap.Remove(&f.window, h.index)
	case h.due != was:
		heap.Fix(&f.window, h.index)
	default:
		return false
	}
	h.ahead = slices.Insert(h.ahead, 0, *e)
	return true
}
