package frontier

import (
	"container/heap"
	"encoding/binary"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// State is what is known of a URL.
type State byte

// The states of a URL.
const (
	Queued  State = 'q'
	Waiting State = 'w'
	Done    State = 'd'
	Failed  State = 'f'
	Left    State = 'l'
)

// Batch is what a transaction changes in the frontier. It ends with Write.
type Batch struct {
	f        *Frontier
	tx       *store.Tx
	budget   Budget
	counts   Counts
	was      Counts
	numbers  numbers
	hosts    map[uint32]*change
	ids      map[string]uint32
	sources  sources
	tallies  map[string]uint64 // by key
	types    int               // that are counted apart, 0 before they are counted
	patterns map[string]uint64 // by key
	sums     []sum             // of keys that are known once this is durable
	round    uint64            // of seen
	landed   []*Lease          // whose outcome this is
	stays    []uint32          // hosts with a URL that was leased and is in its queue still
	waiting  int64             // when the first of those that it puts off is due
}

// change is a host in a batch.
type change struct {
	record
	was   record
	first *place // the first URL that came
	limit bool   // its limits are others than they were
}

// Begin begins a batch in a transaction. A transaction has at most one.
func (f *Frontier) Begin(tx *store.Tx) (*Batch, error) {
	b := &Batch{f: f, tx: tx, hosts: map[uint32]*change{}, ids: map[string]uint32{}, tallies: map[string]uint64{},
		patterns: map[string]uint64{}, round: f.seen.now()}
	b.sources = sources{b: b, byID: map[uint32]*source{}, ids: map[string]uint32{}}
	var err error
	if b.counts, err = ReadCounts(tx); err == nil {
		b.numbers, err = readNumbers(tx)
	}
	if err == nil {
		b.budget, _, err = readBudget(tx)
	}
	b.was = b.counts
	return b, err
}

// host returns the record of a host, to be changed.
func (b *Batch) host(id uint32) (*change, error) {
	if c := b.hosts[id]; c != nil {
		return c, nil
	}
	rec, err := readHost(b.tx, id)
	if err != nil {
		return nil, err
	}
	b.hosts[id] = &change{record: rec, was: rec}
	return b.hosts[id], nil
}

// id returns the number of a host, which is given one if it is new.
func (b *Batch) id(name string) (uint32, error) {
	if id, ok := b.ids[name]; ok {
		return id, nil
	}
	id, ok, err := hostID(b.tx, name)
	if err != nil {
		return 0, err
	}
	if !ok {
		id = b.numbers.host
		b.numbers.host++
		b.counts.Hosts++
		b.tx.Set(nameKey(name), binary.BigEndian.AppendUint32(nil, id))
		b.hosts[id] = &change{record: record{name: name}}
	}
	b.ids[name] = id
	return id, nil
}

// Fate is what Put made of a URL.
type Fate byte

// What Put makes of a URL.
const (
	New   Fate = iota // it was not known, or is to be fetched again, and is queued now
	Known             // it is known already
	Over              // the budget of its pattern is used up: it is neither queued nor known
)

// Add queues URLs that are new, and returns how many were.
func (b *Batch) Add(items ...Item) (added int, err error) {
	for i := range items {
		fate, err := b.Put(&items[i])
		if err != nil {
			return added, err
		}
		if fate == New {
			added++
		}
	}
	return added, nil
}

// Put queues a URL if it is new.
func (b *Batch) Put(item *Item) (Fate, error) {
	k := sumOf(item.Key)
	if !item.Again && b.f.seen.has(k) {
		return Known, nil
	}
	state, status, known, err := b.find(item.Key, k)
	if err != nil {
		return Known, err
	}
	if known && (!item.Again || state == Queued || state == Waiting) {
		b.sums = append(b.sums, k)
		return Known, nil
	}
	id, err := b.id(item.Queue)
	if err != nil {
		return Known, err
	}
	h, err := b.host(id)
	if err != nil {
		return Known, err
	}
	if known {
		err = b.leave(h, state, status)
	} else {
		over, err := b.over(id, h, item)
		if err != nil || over {
			return Over, err
		}
		b.counts.Known++
	}
	if err != nil {
		return Known, err
	}
	source, err := b.sources.named(item.Source)
	if err != nil {
		return Known, err
	}
	source.Open++
	b.sums = append(b.sums, k)
	b.f.filter.put(k)
	b.tx.Set(knownKey(item.Key), []byte{byte(Queued)})
	b.put(id, h, entry{item: *item, source: source.id, place: place{precedence: item.Precedence}})
	return New, nil
}

// find returns what is known of a URL.
func (b *Batch) find(k string, s sum) (state State, status int, known bool, err error) {
	if b.f.filter.absent(s) {
		return 0, 0, false, nil
	}
	return Find(b.tx, k)
}

// leave stops counting a URL in its state, because it gets a new round.
func (b *Batch) leave(h *change, s State, status int) error {
	*b.counts.of(s)--
	*h.of(s)--
	return b.tally(statusKey(status), -1)
}

// of is the counter of a state.
func (r *record) of(s State) *uint64 {
	switch s {
	case Queued:
		return &r.queued
	case Waiting:
		return &r.waiting
	case Done:
		return &r.done
	case Failed:
		return &r.failed
	}
	return &r.left
}

// put queues a URL, behind all others of its precedence.
func (b *Batch) put(id uint32, h *change, e entry) {
	e.seq = b.numbers.seq
	b.numbers.seq++
	b.tx.Set(e.place.in(id), e.encode())
	if h.queued == 0 || e.place.before(h.head) {
		h.head, h.stale = e.place, 0
	}
	if h.first == nil || e.place.before(*h.first) {
		h.first = &e.place
	}
	h.queued++
	b.counts.Queued++
}

// mostStale is how many URLs may be removed from a queue before its first one is looked for: an LSM tree keeps something of
// each for a while, and every read of the queue would have to step over it.
const mostStale = 64

// settle moves the head of a queue to its first URL.
func (b *Batch) settle(id uint32, h *change) error {
	h.stale = 0
	entries, failed := b.tx.Scan(h.head.in(id), queueKey(id).End())
	for k := range entries {
		h.head = placeOf(k)
		break
	}
	return failed()
}

// Idle reports, once the batch is written, whether nothing is left to be fetched.
func (b *Batch) Idle() bool { return b.counts.Open() == 0 }

// Write writes the batch into its transaction. Take learns of it once the transaction is durable.
func (b *Batch) Write() error {
	for id, h := range b.hosts {
		h.spent = h.limits(b.budget).reached(h.done+h.failed, h.bytes)
		h.count(&b.counts, h.was)
		if h.stale >= mostStale && h.queued > 0 {
			if err := b.settle(id, h); err != nil {
				return err
			}
		}
		if h.was.listed() && (!h.listed() || h.due != h.was.due) {
			b.tx.Delete(readyKey(h.was.due).U32(id))
		}
		if h.listed() && (!h.was.listed() || h.due != h.was.due) {
			b.tx.Set(readyKey(h.due).U32(id), nil)
		}
		b.rank(id, h)
		b.tx.Set(hostKey(id), h.encode())
	}
	b.counts.Spent = 0
	if b.budget.Crawl.reached(b.counts.Done+b.counts.Failed, b.counts.Bytes) {
		b.counts.Spent = 1
	}
	for k, n := range b.tallies {
		b.tx.Set(store.Key(k), binary.BigEndian.AppendUint64(nil, n))
	}
	for k, n := range b.patterns {
		b.tx.Set(store.Key(k), binary.AppendUvarint(nil, n))
	}
	b.sources.put()
	b.numbers.flying = uint32(max(b.f.Flying()-len(b.landed), 0))
	b.numbers.put(b.tx)
	b.tx.Set(clockKey, binary.BigEndian.AppendUint64(nil, uint64(b.f.Stamp(time.Now()))))
	b.counts.put(b.tx)
	b.tx.OnDurable(b.written)
	return nil
}

// written tells Take what was written.
func (b *Batch) written() {
	f := b.f
	f.seen.put(b.sums, b.round)
	over := b.landed
	defer func() { f.flights.end(over) }() // not with the lock held
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range b.stays {
		f.hosts[id].ahead = nil
	}
	for _, l := range b.landed {
		f.landed(l)
	}
	for id, c := range b.hosts {
		if h := f.hosts[id]; h != nil && h.vain != nil && c.due >= h.due {
			over, h.vain = append(over, h.vain), nil
		}
		f.changed(id, c)
	}
	f.fetched += b.counts.Done + b.counts.Failed - b.was.Done - b.was.Failed
	f.bytes += b.counts.Bytes - b.was.Bytes
	if b.waiting != 0 && (f.waiting == 0 || b.waiting < f.waiting) {
		f.waiting = b.waiting
	}
	f.tell()
}

// changed updates what memory knows of a host from its record.
func (f *Frontier) changed(id uint32, c *change) {
	h := f.hosts[id]
	if h == nil {
		if !c.listed() || f.edge != nil && string(readyKey(c.due).U32(id)) >= string(f.edge) {
			return
		}
		h = &host{id: id, index: -1}
		f.hosts[id] = h
	}
	h.stored = c.due
	h.due = max(h.due, c.due)
	if n := len(h.ahead); n > 0 && (c.limit || c.first != nil && c.first.before(h.ahead[n-1].place)) {
		h.ahead = nil
	}
	if c.listed() {
		f.enter(h)
		return
	}
	h.ahead = nil
	if h.index >= 0 {
		heap.Remove(&f.window, h.index)
	}
	f.forget(h)
}

// Find returns what is known of a URL, by its key.
func Find(r store.Reader, k string) (s State, status int, known bool, err error) {
	known, err = r.Look(knownKey(k), func(v []byte) (err error) {
		s, status, err = readKnown(v)
		return err
	})
	return s, status, known, err
}

func readKnown(v []byte) (State, int, error) {
	if len(v) == 0 {
		return 0, 0, fault.New(fault.Corrupt, "what is known of a URL is empty")
	}
	status, _ := binary.Varint(v[1:])
	return State(v[0]), int(status), nil
}
