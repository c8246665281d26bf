package frontier

import (
	"container/heap"
	"context"
	"slices"
	"time"

	"holdfast/kernel/store"
)

// Take waits for a URL whose host may be asked, and leases it.
func (f *Frontier) Take(ctx context.Context) (*Lease, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := f.chores(time.Now()); err != nil {
			return nil, err
		}
		l, wait, news, err := f.take(time.Now())
		if err != nil {
			return nil, err
		}
		if l != nil {
			if err := f.flights.begin(l); err != nil {
				f.Return(l)
				return nil, err
			}
			return l, nil
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

// take leases a URL, or returns how long there will be none unless there is news before.
func (f *Frontier) take(now time.Time) (l *Lease, wait time.Duration, news <-chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	may := !f.budget.Crawl.reached(f.fetched+uint64(f.Flying()), f.bytes)
	for may {
		for f.edge != nil && (len(f.window) == 0 || string(readyKey(f.window[0].due).U32(f.window[0].id)) >= string(f.edge)) {
			if err := f.refill(); err != nil {
				return nil, 0, nil, err
			}
		}
		if len(f.window) == 0 || !f.isDue(f.window[0].due, now) {
			break
		}
		h := f.window[0]
		e, err := f.next(h)
		if err != nil {
			return nil, 0, nil, err
		}
		if e == nil { // it has no more than what is in flight
			heap.Remove(&f.window, h.index)
			f.forget(h)
			continue
		}
		if f.meet(h, e) {
			continue
		}
		l := &Lease{Item: e.item, Attempts: e.attempts, Since: now, host: h.id, source: e.source, at: e.place, slot: f.flights.reserve()}
		h.flying = append(h.flying, l)
		f.flying.Add(1)
		if h.asked++; h.asked >= f.opts.PerHost {
			heap.Remove(&f.window, h.index)
		}
		return l, 0, nil, nil
	}
	wait = Longest
	if f.waiting != 0 {
		wait = f.until(f.waiting, now)
	}
	if len(f.window) > 0 && may {
		wait = min(wait, f.until(f.window[0].due, now))
	}
	return nil, wait, f.news, nil
}

// readAhead is how many URLs of a host are read at once.
const readAhead = 16

// next returns the next URL of a host that is not in flight, nil for none.
func (f *Frontier) next(h *host) (*entry, error) {
	if len(h.ahead) == 0 {
		if err := f.st.Latest(func(r store.Reader) error { return f.read(r, h) }); err != nil {
			return nil, err
		}
	}
	if len(h.ahead) == 0 {
		return nil, nil
	}
	e := h.ahead[0]
	h.ahead = h.ahead[1:]
	return &e, nil
}

// read reads the next URLs of a host into memory, no more than the host may be asked for.
func (f *Frontier) read(r store.Reader, h *host) error {
	rec, err := readHost(r, h.id)
	if err != nil || !rec.listed() {
		return err
	}
	most := readAhead
	if limit := rec.limits(f.budget).URLs; limit != 0 {
		most = int(min(uint64(readAhead), limit-min(limit, rec.done+rec.failed+uint64(len(h.flying)))))
	}
	if most == 0 {
		return nil
	}
	entries, failed := r.Scan(rec.head.in(h.id), queueKey(h.id).End())
	for k, v := range entries {
		if slices.ContainsFunc(h.flying, func(l *Lease) bool { return l.at == placeOf(k) }) || f.doomed.has(k) {
			continue
		}
		e, err := readEntry(k, v, rec.name)
		if err == nil {
			e.item.Source, err = f.names.of(r, e.source)
		}
		if err != nil {
			return err
		}
		if h.ahead = append(h.ahead, e); len(h.ahead) == most {
			break
		}
	}
	return failed()
}

// Release says when the host of a lease may be asked again: its next URL may be taken before this one is committed.
func (f *Frontier) Release(l *Lease, due time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.hosts[l.host]
	h.asked--
	h.due = max(h.due, f.later(due))
	f.enter(h)
	f.tell()
}

// Return gives back a lease whose URL was not asked for, as if it had never been taken.
func (f *Frontier) Return(l *Lease) {
	defer f.flights.end([]*Lease{l}) // not with the lock held
	f.mu.Lock()
	defer f.mu.Unlock()
	f.giveBack(l)
}

// ReturnAsked is Return for a URL that may have been asked for, in vain: its host may be asked again at due. Until the store
// has a due time of the host that is as late, a start after a crash knows of it as of a URL in flight.
func (f *Frontier) ReturnAsked(l *Lease, due time.Time) {
	f.mu.Lock()
	h := f.hosts[l.host]
	h.due = max(h.due, f.later(due))
	known := h.vain != nil
	if !known {
		h.vain = l
	}
	f.giveBack(l)
	f.mu.Unlock()
	if known { // one URL of a host is enough
		f.flights.end([]*Lease{l})
	}
}

func (f *Frontier) giveBack(l *Lease) {
	h := f.hosts[l.host]
	h.asked--
	h.ahead = nil
	f.enter(h)
	f.landed(l)
	f.tell()
}

// landed removes a URL from those in flight.
func (f *Frontier) landed(l *Lease) {
	h := f.hosts[l.host]
	i := slices.Index(h.flying, l)
	h.flying = slices.Delete(h.flying, i, i+1)
	f.flying.Add(-1)
	if h.index < 0 {
		f.forget(h)
	}
}

// forget drops a host from memory that has nothing in flight, and that nobody will release.
func (f *Frontier) forget(h *host) {
	if len(h.flying) == 0 && h.asked == 0 {
		delete(f.hosts, h.id)
	}
}

// tell wakes those who wait in Take.
func (f *Frontier) tell() {
	close(f.news)
	f.news = make(chan struct{})
}

// Flying returns how many URLs are in flight.
func (f *Frontier) Flying() int { return int(f.flying.Load()) }

// Leases returns copies of the leases in flight, in the order in which they were taken. They are only for looking at.
func (f *Frontier) Leases() (all []Lease) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.hosts {
		for _, l := range h.flying {
			all = append(all, *l)
		}
	}
	slices.SortFunc(all, func(a, b Lease) int { return a.Since.Compare(b.Since) })
	return all
}
