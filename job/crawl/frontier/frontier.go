// Package frontier is what a crawl has still to fetch, and all that it has ever known: queues of URLs by host, when each host may
// be asked again, and the set of URLs that were seen, in the job's store.
//
// A URL that is new goes to the end of the queue of its host. Take hands out the next URL of the host that may be asked first;
// what became of it, the links that it gave and whatever else belongs to it are written in one transaction, by a Batch. A URL
// stands in its queue until then: one that was in flight at a crash is simply still there. So a start has nothing to put in
// order, however many URLs there are, and nothing is counted: the counters change with what they count.
//
// In memory are the hosts that are being asked, and some thousands of those that may be asked next. Times in the store are those
// of the wall clock in milliseconds. A host is never put off for more than Longest, whatever its clock was.
//
// Called by the job crawl.
package frontier

import (
	"container/heap"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/kernel/store"
)

// Longest is how long a host is put off at most, and a URL until it is tried again.
const Longest = 24 * time.Hour

// Item is a URL that may be new.
type Item struct {
	URL        string // as it is fetched
	Key        string // the same for all URLs that are one
	Queue      string // the key of its host
	Hops       string // how it was found, in Heritrix's letters
	Via        string // the URL that led to it
	Source     string // the seed that began it
	Precedence uint8  // the lower, the sooner among those of its host
	Again      bool   // it is fetched though it is known
}

// Lease is a URL in flight. Whoever has it calls Release once, when the host may be asked again, and has it in a Batch once;
// or Return, if nothing was asked.
type Lease struct {
	Item
	Attempts int // that failed before
	host     uint32
	at       place
}

// Outcome is what became of a URL.
type Outcome struct {
	Status int    // as Heritrix has it
	Failed bool   // it counts as failed
	Left   bool   // it was not fetched, and will not be: robots.txt or the scope forbid it
	Type   string // MIME type
	Bytes  int64
	Due    time.Time // when the host may be asked again
}

// Options tune a Frontier.
type Options struct {
	// PerHost is how many URLs of a host may be in flight at once; default 1.
	PerHost int
	// Window is how many hosts are held in memory that may be asked next; default 8192.
	Window int
}

// Frontier hands out URLs. It is safe for use by many.
type Frontier struct {
	st   *store.Store
	opts Options

	flying atomic.Int64 // URLs in flight

	mu      sync.Mutex // guards all below
	hosts   map[uint32]*host
	window  window
	edge    []byte // hosts whose entry in the order of time is at or behind it may be in the store alone; nil: none is
	waiting int64  // when the first URL that is put off is due, in milliseconds; 0 for none
	paused  bool
	news    chan struct{} // closed and made anew when there may be something to take

	seen *seen
}

// host is one that is asked, or may be next.
type host struct {
	id     uint32
	due    int64   // in milliseconds
	stored int64   // what the store has for due
	index  int     // in the window; -1: not there
	asked  int     // URLs that it is asked for just now
	flying []place // those and the ones whose outcome is not committed yet
	ahead  []entry // that come next, as they were read
}

// place is where a URL stands in the queue of its host.
type place struct {
	precedence uint8
	seq        uint64
}

func (p place) before(q place) bool {
	return p.precedence < q.precedence || p.precedence == q.precedence && p.seq < q.seq
}

// entry is a URL in a queue.
type entry struct {
	place
	item     Item
	attempts int
}

// Keys, behind a byte that is the frontier's own in the job's space:
//
//	n name                        host(4): a host by its key
//	h host(4)                     the record of a host
//	k key                         what is known of a URL: a state, and of one that is done its status
//	q host(4) precedence(1) seq(8)   a URL of a queue
//	r due(8) host(4)              (empty) a host that has URLs to fetch, by when it may be asked
//	w due(8) seq(8)               host(4) and a URL that is put off
//	c                             the counters
//	s status(4), t type           how many URLs had it
//	i                             the numbers of the next host (4) and the next URL (8), and how many were in flight (4)
func key(kind byte) store.Key { return store.Key{byte(store.Job), 'F', kind} }

func hostKey(id uint32) store.Key        { return key('h').U32(id) }
func nameKey(name string) store.Key      { return key('n').Str(name) }
func knownKey(k string) store.Key        { return key('k').Str(k) }
func queueKey(host uint32) store.Key     { return key('q').U32(host) }
func readyKey(due int64) store.Key       { return key('r').U64(uint64(max(due, 0))) }
func waitKey(due int64) store.Key        { return key('w').U64(uint64(max(due, 0))) }
func statusKey(status int) store.Key     { return key('s').U32(uint32(int32(status)) ^ 1<<31) }
func typeKey(mime string) store.Key      { return key('t').Str(mime) }
func (p place) in(host uint32) store.Key { return queueKey(host).U8(p.precedence).U64(p.seq) }

var numbersKey, countsKey = key('i'), key('c')

// Open returns the frontier of a store. It reads some thousand entries, however many there are.
func Open(st *store.Store, o Options) (*Frontier, error) {
	if o.PerHost < 1 {
		o.PerHost = 1
	}
	if o.Window < 1 {
		o.Window = 8192
	}
	f := &Frontier{st: st, opts: o, hosts: map[uint32]*host{}, news: make(chan struct{}), edge: key('r'), seen: &seen{}}
	err := st.Latest(func(r store.Reader) (err error) {
		f.waiting, err = firstWaiting(r)
		return err
	})
	return f, err
}

// Take waits for a URL whose host may be asked, and leases it.
func (f *Frontier) Take(ctx context.Context) (*Lease, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := f.wake(time.Now()); err != nil {
			return nil, err
		}
		l, wait, news, err := f.take(time.Now())
		if l != nil || err != nil {
			return l, err
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

// take leases a URL, or says how long there is none, unless there is news before.
func (f *Frontier) take(now time.Time) (l *Lease, wait time.Duration, news <-chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.paused {
		for f.edge != nil && (len(f.window) == 0 || string(readyKey(f.window[0].due).U32(f.window[0].id)) >= string(f.edge)) {
			if err := f.refill(); err != nil {
				return nil, 0, nil, err
			}
		}
		if len(f.window) == 0 || f.window[0].due > now.UnixMilli() && until(f.window[0].due, now) < Longest {
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
		h.flying = append(h.flying, e.place)
		f.flying.Add(1)
		if h.asked++; h.asked >= f.opts.PerHost {
			heap.Remove(&f.window, h.index)
		}
		return &Lease{Item: e.item, Attempts: e.attempts, host: h.id, at: e.place}, 0, nil, nil
	}
	wait = Longest
	if f.waiting != 0 {
		wait = until(f.waiting, now)
	}
	if len(f.window) > 0 && !f.paused {
		wait = min(wait, until(f.window[0].due, now))
	}
	return nil, wait, f.news, nil
}

// until is how long it is until a time, of which a clock that was set back makes no more than Longest.
func until(due int64, now time.Time) time.Duration {
	return min(time.Duration(due-now.UnixMilli())*time.Millisecond, Longest)
}

// readAhead is how many URLs of a host are read at once.
const readAhead = 16

// next is the next URL of a host that is not in flight, nil for none.
func (f *Frontier) next(h *host) (*entry, error) {
	if len(h.ahead) == 0 {
		err := f.st.Latest(func(r store.Reader) error {
			rec, err := readHost(r, h.id)
			if err != nil || rec.held {
				return err
			}
			from := rec.head.in(h.id)
			entries, failed := r.Scan(from, queueKey(h.id).End())
			for k, v := range entries {
				e, err := readEntry(k, v)
				if err != nil {
					return err
				}
				if slices.Contains(h.flying, e.place) {
					continue
				}
				e.item.Queue = rec.name
				if h.ahead = append(h.ahead, e); len(h.ahead) == readAhead {
					break
				}
			}
			return failed()
		})
		if err != nil {
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

// Release says when the host of a lease may be asked again: its next URL may be taken before this one is committed.
func (f *Frontier) Release(l *Lease, due time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.hosts[l.host]
	h.asked--
	h.due = max(h.due, milli(due))
	f.enter(h)
	f.tell()
}

// Return gives a lease back whose URL was not asked for: it is as if it had not been taken.
func (f *Frontier) Return(l *Lease) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.hosts[l.host]
	h.asked--
	h.ahead = nil
	f.enter(h)
	f.landed(l)
	f.tell()
}

// landed takes a URL out of those in flight.
func (f *Frontier) landed(l *Lease) {
	h := f.hosts[l.host]
	i := slices.Index(h.flying, l.at)
	h.flying = slices.Delete(h.flying, i, i+1)
	f.flying.Add(-1)
	if h.index < 0 && h.asked == 0 {
		f.forget(h)
	}
}

// enter puts a host where it stands by its time, unless it is asked for as much as it may be.
func (f *Frontier) enter(h *host) {
	switch {
	case h.index >= 0:
		heap.Fix(&f.window, h.index)
	case h.asked < f.opts.PerHost:
		heap.Push(&f.window, h)
	}
	if len(f.window) > 2*f.opts.Window {
		f.trim()
	}
}

// trim leaves the hosts that come last to the store.
func (f *Frontier) trim() {
	all := slices.Clone(f.window)
	slices.SortFunc(all, func(a, b *host) int { return order(a, b) })
	for _, h := range all[f.opts.Window:] {
		if len(h.flying) > 0 || h.due != h.stored { // the store does not know its time yet
			continue
		}
		if k := readyKey(h.due).U32(h.id); f.edge == nil || string(k) < string(f.edge) {
			f.edge = k
		}
		heap.Remove(&f.window, h.index)
		delete(f.hosts, h.id)
	}
}

// refill reads the hosts that come next.
func (f *Frontier) refill() error {
	return f.st.Latest(func(r store.Reader) error {
		entries, failed := r.Scan(f.edge, key('r').End())
		n, edge := 0, []byte(nil)
		for k := range entries {
			if n == f.opts.Window/2+1 {
				edge = slices.Clone(k)
				break
			}
			due, id, err := readReady(k)
			if err != nil {
				return err
			}
			if n++; f.hosts[id] != nil {
				continue
			}
			f.hosts[id] = &host{id: id, due: due, stored: due, index: -1}
			heap.Push(&f.window, f.hosts[id])
		}
		if err := failed(); err != nil {
			return err
		}
		f.edge = edge
		return nil
	})
}

// forget lets go of a host that has nothing in flight.
func (f *Frontier) forget(h *host) {
	if len(h.flying) == 0 {
		delete(f.hosts, h.id)
	}
}

// tell wakes those who wait in Take.
func (f *Frontier) tell() {
	close(f.news)
	f.news = make(chan struct{})
}

// Pause has Take wait from now on, or go on.
func (f *Frontier) Pause(paused bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.paused = paused
	f.tell()
}

// Flying is how many URLs are in flight.
func (f *Frontier) Flying() int { return int(f.flying.Load()) }

// window is a heap of hosts by time.
type window []*host

func order(a, b *host) int {
	switch {
	case a.due != b.due:
		if a.due < b.due {
			return -1
		}
		return 1
	case a.id < b.id:
		return -1
	}
	return 1
}

func (w window) Len() int           { return len(w) }
func (w window) Less(i, j int) bool { return order(w[i], w[j]) < 0 }
func (w window) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i, j
}

// Push is for package heap.
func (w *window) Push(x any) {
	h := x.(*host)
	h.index = len(*w)
	*w = append(*w, h)
}

// Pop is for package heap.
func (w *window) Pop() any {
	h := (*w)[len(*w)-1]
	(*w)[len(*w)-1] = nil
	*w = (*w)[:len(*w)-1]
	h.index = -1
	return h
}
