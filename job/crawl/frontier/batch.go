package frontier

import (
	"context"
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
	f       *Frontier
	tx      *store.Tx
	counts  Counts
	numbers numbers
	hosts   map[uint32]*change
	ids     map[string]uint32
	sums    []sum    // of keys that are known once this is durable
	landed  []*Lease // whose outcome this is
	stays   []uint32 // hosts with a URL that was leased and is in its queue still
	waiting int64    // when the first of those that it puts off is due
}

// change is a host in a batch.
type change struct {
	record
	was   record
	first *place // the first URL that came
}

// Begin begins a batch in a transaction, in which there is no other.
func (f *Frontier) Begin(tx *store.Tx) (*Batch, error) {
	b := &Batch{f: f, tx: tx, hosts: map[uint32]*change{}, ids: map[string]uint32{}}
	var err error
	if b.counts, err = ReadCounts(tx); err == nil {
		b.numbers, err = readNumbers(tx)
	}
	return b, err
}

// host is the record of a host, to be changed.
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

// id is the number of a host, which is made if it is new.
func (b *Batch) id(name string) (id uint32, err error) {
	if id, ok := b.ids[name]; ok {
		return id, nil
	}
	ok, err := b.tx.Look(nameKey(name), func(v []byte) error {
		if len(v) != 4 {
			return fault.New(fault.Corrupt, "the number of host %q is %x", name, v)
		}
		id = binary.BigEndian.Uint32(v)
		return nil
	})
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

// Add queues URLs that are new, and returns how many were.
func (b *Batch) Add(items ...Item) (added int, err error) {
	for i := range items {
		is, err := b.add(&items[i])
		if err != nil {
			return added, err
		}
		if is {
			added++
		}
	}
	return added, nil
}

func (b *Batch) add(item *Item) (bool, error) {
	k := sumOf(item.Key)
	if !item.Again && b.f.seen.has(k) {
		return false, nil
	}
	var state State
	known, err := b.tx.Look(knownKey(item.Key), func(v []byte) (err error) {
		state, _, err = readKnown(v)
		return err
	})
	if err != nil {
		return false, err
	}
	b.sums = append(b.sums, k)
	if known {
		if !item.Again || state == Queued || state == Waiting {
			return false, nil
		}
		b.leave(state)
	} else {
		b.counts.Known++
	}
	id, err := b.id(item.Queue)
	if err != nil {
		return false, err
	}
	h, err := b.host(id)
	if err != nil {
		return false, err
	}
	b.tx.Set(knownKey(item.Key), []byte{byte(Queued)})
	b.counts.Queued++
	b.put(id, h, entry{item: *item, place: place{precedence: item.Precedence}})
	return true, nil
}

// leave takes a URL out of those of a state, for a new round.
func (b *Batch) leave(s State) {
	switch s {
	case Done:
		b.counts.Done--
	case Failed:
		b.counts.Failed--
	case Left:
		b.counts.Left--
	}
}

// put puts a URL behind all of its precedence.
func (b *Batch) put(id uint32, h *change, e entry) {
	e.seq = b.numbers.seq
	b.numbers.seq++
	b.tx.Set(e.place.in(id), e.encode())
	if h.queued == 0 || e.place.before(h.head) {
		h.head = e.place
	}
	if h.first == nil || e.place.before(*h.first) {
		h.first = &e.place
	}
	h.queued++
}

// Done writes down what became of a URL.
func (b *Batch) Done(l *Lease, o Outcome) error {
	h, err := b.host(l.host)
	if err != nil {
		return err
	}
	b.drop(h, l)
	state := Done
	switch {
	case o.Left:
		state = Left
		b.counts.Left++
		h.left++
	case o.Failed:
		state = Failed
		b.counts.Failed++
		h.failed++
	default:
		b.counts.Done++
		h.done++
	}
	b.tx.Set(knownKey(l.Key), binary.AppendVarint([]byte{byte(state)}, int64(o.Status)))
	b.counts.Bytes += uint64(max(o.Bytes, 0))
	h.bytes += uint64(max(o.Bytes, 0))
	h.due = max(h.due, milli(o.Due))
	_, err = bump(b.tx, statusKey(o.Status))
	if err == nil && o.Type != "" {
		err = b.countType(o.Type)
	}
	return err
}

func (b *Batch) countType(mime string) error {
	known, err := bump(b.tx, typeKey(mime))
	if err != nil || known {
		return err
	}
	n := 0
	entries, failed := b.tx.Scan(key('t'), key('t').End())
	for range entries {
		n++
	}
	if err := failed(); err != nil || n <= mostTypes {
		return err
	}
	b.tx.Delete(typeKey(mime))
	_, err = bump(b.tx, typeKey(otherTypes))
	return err
}

// Retry puts a URL off that failed, and its host until due.
func (b *Batch) Retry(l *Lease, at, due time.Time) error {
	h, err := b.host(l.host)
	if err != nil {
		return err
	}
	b.drop(h, l)
	e := entry{item: l.Item, attempts: l.Attempts + 1}
	k := waitKey(milli(at)).U64(b.numbers.seq)
	b.numbers.seq++
	b.tx.Set(k, append(binary.BigEndian.AppendUint32([]byte{l.Precedence}, l.host), e.encode()...))
	b.tx.Set(knownKey(l.Key), []byte{byte(Waiting)})
	b.counts.Waiting++
	h.waiting++
	h.due = max(h.due, milli(due))
	if b.waiting == 0 || milli(at) < b.waiting {
		b.waiting = milli(at)
	}
	return nil
}

// Postpone leaves a URL where it is, and its host alone until due: what it needs first is not to be had yet.
func (b *Batch) Postpone(l *Lease, due time.Time) error {
	h, err := b.host(l.host)
	if err != nil {
		return err
	}
	h.due = max(h.due, milli(due))
	b.landed = append(b.landed, l)
	b.stays = append(b.stays, l.host)
	return nil
}

// drop takes a leased URL out of the queue of its host.
func (b *Batch) drop(h *change, l *Lease) {
	b.tx.Delete(l.at.in(l.host))
	if l.at == h.head {
		h.head.seq++
	}
	h.queued--
	b.counts.Queued--
	b.landed = append(b.landed, l)
}

// Write writes the batch into its transaction. What it means for Take comes once that is durable.
func (b *Batch) Write() error {
	for id, h := range b.hosts {
		if h.was.listed() && (!h.listed() || h.due != h.was.due) {
			b.tx.Delete(readyKey(h.was.due).U32(id))
		}
		if h.listed() && (!h.was.listed() || h.due != h.was.due) {
			b.tx.Set(readyKey(h.due).U32(id), nil)
		}
		b.tx.Set(hostKey(id), h.encode())
	}
	b.numbers.flying = uint32(max(b.f.Flying()-len(b.landed), 0))
	b.numbers.put(b.tx)
	b.counts.put(b.tx)
	b.tx.OnDurable(b.written)
	return nil
}

// written has Take know what was written.
func (b *Batch) written() {
	f := b.f
	for _, k := range b.sums {
		f.seen.put(k)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range b.stays {
		f.hosts[id].ahead = nil
	}
	for _, l := range b.landed {
		f.landed(l)
	}
	for id, c := range b.hosts {
		f.changed(id, c)
	}
	if b.waiting != 0 && (f.waiting == 0 || b.waiting < f.waiting) {
		f.waiting = b.waiting
	}
	f.tell()
}

// changed brings what is known of a host in memory up to its record.
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
	if n := len(h.ahead); c.first != nil && n > 0 && c.first.before(h.ahead[n-1].place) {
		h.ahead = nil
	}
	if c.listed() {
		f.enter(h)
	}
}

// wakeAtOnce is how many URLs that were put off are queued again in one transaction.
const wakeAtOnce = 1000

// wake queues the URLs again that were put off until now.
func (f *Frontier) wake(now time.Time) error {
	f.mu.Lock()
	due := f.waiting != 0 && (f.waiting <= now.UnixMilli() || until(f.waiting, now) >= Longest)
	if due {
		f.waiting = 0 // whoever comes next need not wait for this one
	}
	f.mu.Unlock()
	if !due {
		return nil
	}
	return f.st.Update(func(tx *store.Tx) error {
		b, err := f.Begin(tx)
		if err != nil {
			return err
		}
		var keys []store.Key
		var hosts []uint32
		var all []entry
		first, err := func() (int64, error) {
			entries, failed := tx.Scan(key('w'), key('w').End())
			for k, v := range entries {
				at, host, e, err := readWaiting(k, v)
				if err != nil {
					return 0, err
				}
				if at > now.UnixMilli() && until(at, now) < Longest || len(all) == wakeAtOnce {
					return at, nil
				}
				keys, hosts, all = append(keys, store.Key(nil).Raw(k)), append(hosts, host), append(all, e)
			}
			return 0, failed()
		}()
		if err != nil {
			return err
		}
		for i, e := range all {
			tx.Delete(keys[i])
			h, err := b.host(hosts[i])
			if err != nil {
				return err
			}
			tx.Set(knownKey(e.item.Key), []byte{byte(Queued)})
			h.waiting--
			b.counts.Waiting--
			b.counts.Queued++
			b.put(hosts[i], h, e)
		}
		b.waiting = first
		return b.Write()
	})
}

func readWaiting(k, v []byte) (at int64, host uint32, e entry, err error) {
	if len(k) != len(waitKey(0))+8 || len(v) < 5 || !e.decode(v[5:]) {
		return 0, 0, e, fault.New(fault.Corrupt, "a URL that waits has key %x and value %x", k, v)
	}
	e.precedence = v[0]
	e.item.Precedence = v[0]
	return int64(binary.BigEndian.Uint64(k[3:])), binary.BigEndian.Uint32(v[1:]), e, nil
}

// firstWaiting is when the first URL that is put off is due, in milliseconds; 0 for none.
func firstWaiting(r store.Reader) (at int64, err error) {
	entries, failed := r.Scan(key('w'), key('w').End())
	for k, v := range entries {
		at, _, _, err = readWaiting(k, v)
		break
	}
	if err == nil {
		err = failed()
	}
	return max(at, 0), err
}

// Find says what is known of a URL, by its key.
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

// Wait returns when there is nothing left to fetch, and nothing in flight.
func (f *Frontier) Wait(ctx context.Context) error {
	for {
		f.mu.Lock()
		news := f.news
		f.mu.Unlock()
		var c Counts
		err := f.st.Latest(func(r store.Reader) (err error) {
			c, err = ReadCounts(r)
			return err
		})
		if err != nil || c.Queued+c.Waiting == 0 {
			return err
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
