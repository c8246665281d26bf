// Package frontier is what a crawl has still to fetch, and all that it has ever known: queues of URLs by host, when each host may
// be asked again, and the set of URLs that were seen, in the job's store.
//
// A URL that is new goes to the end of the queue of its host. Take hands out the next URL of the host that may be asked first;
// what became of it, the links that it gave and whatever else belongs to it are written in one transaction, by a Batch. A URL
// stands in its queue until then: one that was in flight at a crash is simply still there. So a start has nothing to put in
// order, however many URLs there are, and nothing is counted: the counters change with what they count.
//
// In memory are the hosts that are being asked, and some thousands of those that may be asked next. Times in the store are those
// of a clock of its own in milliseconds, that of the wall but for where it was set back or jumped.
//
// Called by the job crawl.
package frontier

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/kernel/store"
)

// Longest is how long a host is put off, or a URL that is to be tried again, at most.
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

	// Pattern is what a URL has in common with the other URLs of its host that would form an endless series; "" for none. Only
	// PatternBudget URLs of a pattern are ever queued; 0 is no limit.
	Pattern       string
	PatternBudget uint64
}

// Lease is a URL in flight. Whoever has it calls Release once, when the host may be asked again, and puts the lease into a
// Batch once. Instead of both, it calls Return if nothing was asked, or ReturnAsked if the host was asked in vain.
type Lease struct {
	Item
	Attempts int       // that failed before
	Since    time.Time // it is in flight
	host     uint32
	source   uint32
	at       place
	slot     int // of flights
}

// Outcome is what became of a URL.
type Outcome struct {
	Status int    // as Heritrix has it
	Failed bool   // it counts as failed
	Left   bool   // it was not fetched, and will not be: robots.txt or the scope forbid it
	Type   string // MIME type
	Bytes  int64
	Is     Novelty   // of one that was fetched
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
	st    *store.Store
	opts  Options
	clock clock

	flying   atomic.Int64 // URLs in flight
	busy     atomic.Bool  // with chores that one does at a time
	deleting sync.Mutex   // one deletion at a time; taken before mu
	seen     *seen
	filter   *filter
	names    names
	flights  *flights // nil if the next start need not know

	mu       sync.Mutex // guards all below
	hosts    map[uint32]*host
	guests   map[string]*guest
	window   window
	most     int    // how many hosts may be in the window before some are left to the store
	edge     []byte // hosts whose entry in the order of time is at or behind it may be in the store alone; nil: none is
	waiting  int64  // when the first URL that is put off is due, in milliseconds; 0 for none
	budget   Budget
	reviewed bool          // every host is exhausted or ready by the budget
	fetched  uint64        // URLs, by what is durable
	bytes    uint64        // likewise
	doomed   doomed        // has a lock of its own
	news     chan struct{} // closed and made anew when there may be something to take
}

// host is a host that is being asked, or may be asked next.
type host struct {
	id     uint32
	due    int64    // in milliseconds
	stored int64    // what the store has for due
	index  int      // in the window; -1: not there
	asked  int      // URLs that it is asked for just now
	flying []*Lease // those and the ones whose outcome is not committed yet
	ahead  []entry  // that come next, as they were read
	vain   *Lease   // that was given back, and stands in the file of flights until the store knows when the host is due
}

// place is where a URL stands in the queue of its host.
type place struct {
	precedence uint8
	seq        uint64
}

func (p place) before(q place) bool {
	return p.precedence < q.precedence || p.precedence == q.precedence && p.seq < q.seq
}

// placeOf reads the place in the key of a URL in a queue.
func placeOf(k []byte) place { return place{k[7], binary.BigEndian.Uint64(k[8:])} }

// Keys, behind a byte that is the frontier's own in the job's space:
//
//	n name                        host(4): a host by its key
//	h host(4)                     the record of a host
//	o size(1) host(4)             (empty) hosts with URLs in their queue, those with most first
//	p host(4) pattern(5)          how many URLs of a pattern the host has had
//	u name                        source(4): a source by its name
//	v source(4)                   its counters and its name
//	k key                         what is known of a URL: a state, and of one that is done its status
//	q host(4) precedence(1) seq(8)   a URL of a queue
//	r due(8) host(4)              (empty) a host that has URLs to fetch, by when it may be asked
//	w due(8) seq(8)               host(4) and a URL that is put off
//	c                             the counters
//	m                             the time of the last commit (8)
//	l                             the budget, and how far the hosts were looked at since it changed
//	s status(4), t type           how many URLs had it
//	b type                        how many bytes they had
//	i                             the numbers of the next host (4) and URL (8), how many were in flight (4), the next source (4)
func key(kind byte) store.Key { return store.Key{byte(store.Job), 'F', kind} }

func hostKey(id uint32) store.Key         { return key('h').U32(id) }
func nameKey(name string) store.Key       { return key('n').Str(name) }
func knownKey(k string) store.Key         { return key('k').Str(k) }
func queueKey(host uint32) store.Key      { return key('q').U32(host) }
func readyKey(due int64) store.Key        { return key('r').U64(uint64(max(due, 0))) }
func waitKey(due int64) store.Key         { return key('w').U64(uint64(max(due, 0))) }
func statusKey(status int) store.Key      { return key('s').U32(uint32(int32(status)) ^ 1<<31) }
func typeKey(mime string) store.Key       { return key('t').Str(mime) }
func typeBytesKey(mime string) store.Key  { return key('b').Str(mime) }
func patternsKey(host uint32) store.Key   { return key('p').U32(host) }
func sourceNameKey(name string) store.Key { return key('u').Str(name) }
func sourceKey(id uint32) store.Key       { return key('v').U32(id) }
func (p place) in(host uint32) store.Key  { return queueKey(host).U8(p.precedence).U64(p.seq) }

var numbersKey, countsKey, budgetKey = key('i'), key('c'), key('l')

// Open returns the frontier of a store. It reads some thousand entries, however many there are.
func Open(st *store.Store, o Options) (*Frontier, error) {
	if o.PerHost < 1 {
		o.PerHost = 1
	}
	if o.Window < 1 {
		o.Window = 8192
	}
	f := &Frontier{st: st, opts: o, hosts: map[uint32]*host{}, guests: map[string]*guest{}, news: make(chan struct{}), edge: key('r'),
		most: 2 * o.Window, seen: &seen{}, names: names{byID: map[uint32]string{}}}
	err := st.Latest(func(r store.Reader) error {
		c, err := ReadCounts(r)
		if err != nil {
			return err
		}
		if f.clock, err = openClock(r); err != nil {
			return err
		}
		f.fetched, f.bytes, f.filter = c.Done+c.Failed, c.Bytes, newFilter(c.Known)
		var at review
		if f.budget, at, err = readBudget(r); err != nil {
			return err
		}
		f.reviewed = at.done
		f.waiting, err = firstWaiting(r)
		return err
	})
	return f, err
}
