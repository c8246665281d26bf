package spool

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/kernel/store"
)

// SinkState is what the spool remembers of a sink beside its sets.
type SinkState struct {
	Name  string `json:"name"`
	Begin uint64 `json:"begin"` // first sequence that the sink gets
	Added uint64 `json:"added"` // what Begin was when the sink was added: with it its law began
	// CheckTo: rows with keys up to here may be in the sink already, put there by another life of
	// this store or by another program, and are compared by key before they are sent.
	CheckTo uint64 `json:"check_to"`
	// CheckAll says the same of all rows without an integer key.
	CheckAll bool `json:"check_all,omitempty"`
	// Checked is the lineage for which CheckTo was found out.
	Checked string `json:"checked,omitempty"`
}

// Sink is one sink's reader of the spool. Next and Read are for one goroutine at a time, and so are the methods
// that take a Delivery; Read may run beside one of them if that one's delivery is Whole.
type Sink struct {
	s    *Spool
	ID   uint32
	Name string

	// mu guards what is below. It is taken inside transactions, so it is never held around one.
	mu      sync.Mutex
	state   SinkState
	settled ranges
	plans   map[uint64]*plan
	given   span          // blocks of the last new delivery, from before its plan is durable
	changed chan struct{} // closed when a delivery was given back or cut

	// What is below belongs to Read.
	live    bool // the next delivery comes from the live lane
	waiting struct {
		seq   uint64 // the first block that is held until a delivery is full or due
		since time.Time
	}
	open decoded // the plan whose parts are read one by one
}

// decoded are the rows of a plan, or of some blocks of it that follow each other.
type decoded struct {
	p     *plan
	from  int // rows of the plan before them
	heads []Head
	rows  rowsOf
}

func sinkKey(id uint32) store.Key              { return store.Sinks.K().U32(id) }
func settledKey(id uint32, f uint64) store.Key { return store.Settled.K().U32(id).U64(f) }
func planKey(id uint32, f uint64) store.Key    { return store.Plans.K().U32(id).U64(f) }

// Sink registers a sink by name, or finds it again. A new sink gets the blocks from now on.
func (s *Spool) Sink(name string) (*Sink, error) {
	k := &Sink{s: s, Name: name, plans: map[uint64]*plan{}, changed: make(chan struct{})}
	err := s.st.Update(func(tx *store.Tx) error {
		id, created, err := tx.ID(store.SinkName, name)
		if err != nil {
			return err
		}
		k.ID = id
		if created {
			stats, err := ReadStats(tx)
			if err != nil {
				return err
			}
			k.state = SinkState{Name: name, Begin: stats.Next, Added: stats.Next}
			return putJSON(tx, sinkKey(id), k.state)
		}
		return k.load(tx)
	})
	if err != nil {
		return nil, fmt.Errorf("register sink %s: %w", name, err)
	}
	s.mu.Lock()
	s.sinks[k.ID] = k
	s.mu.Unlock()
	return k, nil
}

func (k *Sink) load(r store.Reader) (err error) {
	if k.state, err = readState(r, k.ID); err != nil {
		return err
	}
	if k.settled, err = readSettled(r, k.ID); err != nil {
		return err
	}
	from := store.Plans.K().U32(k.ID)
	seq, fail := r.Scan(from, from.End())
	for key, v := range seq {
		p := new(plan)
		if err := json.Unmarshal(v, p); err != nil {
			return fault.New(fault.Corrupt, "read plan %x: %w", key, err)
		}
		for i := range p.Parts {
			p.Parts[i].tried = true // by the process that planned it, as far as anyone knows
		}
		p.durable = true
		k.plans[p.First] = p
	}
	return fail()
}

func readState(r store.Reader, id uint32) (st SinkState, err error) {
	err = getJSON(r, sinkKey(id), &st)
	if st.Added == 0 {
		st.Added = st.Begin
	}
	return st, err
}

// RemoveSink ends a sink: its name, sets and plans go. A sink of the same name that comes later is
// another one.
func (s *Spool) RemoveSink(tx *store.Tx, name string, id uint32) {
	tx.Forget(store.SinkName, name)
	tx.Delete(sinkKey(id))
	for _, space := range []store.Space{store.Settled, store.Plans} {
		from := space.K().U32(id)
		tx.DeleteRange(from, from.End())
	}
}

// State returns what is remembered of the sink.
func (k *Sink) State() SinkState {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state
}

// NeedsCheck reports whether it is still to be found out up to which key the sink may hold rows that
// this life of the store did not put there.
func (k *Sink) NeedsCheck() bool {
	return k.State().Checked != k.s.st.Lineage().String()
}

// CheckTo remembers the highest key that the sink held when this life of the store met it; all says that
// it held rows without an integer key.
func (k *Sink) CheckTo(highest uint64, all bool) error {
	return k.remember(func(st *SinkState) {
		st.CheckTo, st.CheckAll = max(st.CheckTo, highest), st.CheckAll || all
		st.Checked = k.s.st.Lineage().String()
	})
}

// Suspect says that the sink may hold rows with keys up to this one; all says so of rows without an
// integer key.
func (k *Sink) Suspect(key uint64, all bool) error {
	if st := k.State(); key <= st.CheckTo && (st.CheckAll || !all) {
		return nil
	}
	return k.remember(func(st *SinkState) {
		st.CheckTo, st.CheckAll = max(st.CheckTo, key), st.CheckAll || all
	})
}

// Suspects reports whether the sink may hold rows of a block that did not come by it.
func (k *Sink) Suspects(h Head) bool {
	st := k.State()
	return h.Ask || h.HasKeys && h.KeyLo <= st.CheckTo || !h.HasKeys && st.CheckAll
}

func (k *Sink) remember(f func(st *SinkState)) error {
	err := k.s.st.Update(func(tx *store.Tx) error { return k.change(tx, f) })
	if err != nil {
		return fmt.Errorf("remember what sink %s holds: %w", k.Name, err)
	}
	return nil
}

// change changes what is remembered of the sink, here once it is durable. What others change meanwhile
// stays.
func (k *Sink) change(tx *store.Tx, f func(st *SinkState)) error {
	st, err := readState(tx, k.ID)
	if err != nil {
		return err
	}
	f(&st)
	tx.OnDurable(func() { k.update(func() { f(&k.state) }) })
	return putJSON(tx, sinkKey(k.ID), st)
}

// Want says how much a delivery should hold.
type Want struct {
	Rows  int           // at most this many, but at least one block
	Bytes int64         // at most this many compressed bytes, but at least one block
	Every time.Duration // a smaller delivery goes out once its oldest block is this old
}

// Delivery is a plan, or a part of one, on its way to a sink.
type Delivery struct {
	Token        record.Token
	Schema       record.Schema
	Rows         rowsOf
	FirstAttempt time.Time
	Unknown      bool // an earlier attempt may have reached the sink
	ByKey        bool
	Heads        []Head
	RowFrom      int // first row of Rows, counted over the blocks of Heads

	// Damage is set when the block can't be read: then there are no rows, and the caller forfeits
	// what the heads say was there.
	Damage error

	p   *plan
	i   int  // index of the part
	cut *cut // what is lost of it, if that is known
}

// Next returns the next delivery: one that was tried before, else a new one, planned durably. Long
// backlogs are worked off from both ends by turns, so that the newest rows are not held up. It waits
// without polling until there is something to deliver or ctx ends.
func (k *Sink) Next(ctx context.Context, w Want) (*Delivery, error) {
	for {
		d, err := k.Read(ctx, w)
		if err != nil {
			return nil, err
		}
		if ok, err := k.Begin(d); ok || err != nil {
			return d, err
		}
	}
}

// Read is the first half of Next: the delivery is chosen and read. It must not be sent before Begin.
func (k *Sink) Read(ctx context.Context, w Want) (*Delivery, error) {
	for {
		tail, grown := k.s.Tail()
		changed := k.whenChanged()
		var d *Delivery
		var wait time.Duration
		err := k.s.st.View(ctx, func(r store.Reader) (err error) {
			d, wait, err = k.next(r, tail, w)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("next delivery for %s: %w", k.Name, err)
		}
		if d != nil {
			return d, nil
		}
		timer := time.NewTimer(max(wait, time.Millisecond))
		if wait == 0 {
			timer.Stop()
		}
		select {
		case <-grown:
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
		timer.Stop()
	}
}

// Begin is the second half of Next: a new plan becomes durable. It is false if the delivery's blocks have
// expired since they were read; another is to be read then.
func (k *Sink) Begin(d *Delivery) (ok bool, err error) {
	p := d.p
	if p.durable {
		return true, nil
	}
	k.update(func() { k.given = span{p.First, p.Last} })
	taken := false
	err = k.s.st.Update(func(tx *store.Tx) error {
		settled, err := readSettled(tx, k.ID)
		if err != nil {
			return err
		}
		taken = settled.nextGap(p.First) != p.First || settled.gapEnd(p.First, p.Last) != p.Last
		if taken || d.Damage != nil {
			return nil
		}
		p.At = time.Now().UTC()
		return putJSON(tx, planKey(k.ID, p.First), p)
	})
	if err != nil {
		return false, fmt.Errorf("plan delivery for %s: %w", k.Name, err)
	}
	if taken || d.Damage != nil {
		return !taken, nil
	}
	d.FirstAttempt, p.durable = p.At, true
	k.mu.Lock()
	k.plans[p.First] = p
	k.mu.Unlock()
	return true, nil
}

// whenChanged returns a channel that is closed when a delivery is given back or cut.
func (k *Sink) whenChanged() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.changed
}

// changedLocked tells Read that there is something old to deliver.
func (k *Sink) changedLocked() {
	close(k.changed)
	k.changed = make(chan struct{})
}

// next finds the next delivery, or how long to wait until a small one is due (0: until the spool
// grows).
func (k *Sink) next(r store.Reader, tail uint64, w Want) (*Delivery, time.Duration, error) {
	if p, i := k.pick(); p != nil {
		d, err := k.readPart(r, p, i)
		if err != nil {
			k.update(func() { p.Parts[i].busy = false })
		}
		return d, 0, err
	}
	k.open = decoded{}
	taken, err := k.taken(r)
	if err != nil {
		return nil, 0, err
	}
	heads, wait, err := k.choose(r, taken, tail, w)
	if err != nil || len(heads) == 0 {
		return nil, wait, err
	}
	d, err := k.plan(r, heads)
	return d, 0, err
}

// pick takes a part of a plan that is not being worked on.
func (k *Sink) pick() (*plan, int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.plans {
		for i := range p.Parts {
			if !p.Parts[i].Done && !p.Parts[i].busy {
				p.Parts[i].busy = true
				return p, i
			}
		}
	}
	return nil, 0
}

// taken are the blocks that need no plan. What others settle, with a block for another sink or by expiry,
// stands in the store before the set here knows: it is told when their commits return, in any order.
func (k *Sink) taken(r store.Reader) (ranges, error) {
	taken, err := readSettled(r, k.ID)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.settled {
		taken.add(s.first, s.last)
	}
	for _, p := range k.plans {
		taken.add(p.First, p.Last)
	}
	return taken, nil
}

// choose picks the blocks of a new delivery.
func (k *Sink) choose(r store.Reader, taken ranges, tail uint64, w Want) ([]Head, time.Duration, error) {
	begin := k.State().Begin
	first := taken.nextGap(begin)
	if first > tail {
		return nil, 0, nil
	}
	last := taken.gapEnd(first, tail)
	heads, full, err := collectHeads(r, first, last, +1, w)
	if err != nil {
		return nil, 0, err
	}
	if !full && last == tail {
		if due := k.due(heads[0], w.Every); due > 0 {
			return nil, due, nil
		}
		return heads, 0, nil
	}
	k.live = !k.live
	if !k.live {
		return heads, 0, nil
	}
	last = taken.prevGap(tail)
	heads, _, err = collectHeads(r, last, taken.gapStart(last, begin), -1, w)
	return heads, 0, err
}

// due is how long a small delivery waits for more. A clock that was set back must not hold rows longer
// than they were to wait.
func (k *Sink) due(first Head, every time.Duration) time.Duration {
	if k.waiting.seq != first.Seq || k.waiting.since.IsZero() {
		k.waiting.seq, k.waiting.since = first.Seq, time.Now()
	}
	return min(time.Until(first.At.Add(every)), every-time.Since(k.waiting.since))
}

// collectHeads gathers heads from seq from towards to, upwards or downwards, until the delivery is
// full or the blocks are of another kind. They are returned in ascending order. A block whose head is
// lost with its payload stands alone, without rows and with its sequence.
func collectHeads(r store.Reader, from, to uint64, step int, w Want) (heads []Head, full bool, err error) {
	rows, bytes := 0, int64(0)
	for seq := from; ; seq += uint64(step) {
		h, err := readHeadAt(r, seq)
		if isBad(err) && len(heads) == 0 {
			return []Head{h}, true, nil
		}
		if isBad(err) {
			break
		}
		if err != nil {
			return nil, false, err
		}
		if len(heads) > 0 {
			if rows+int(h.Rows) > w.Rows || (w.Bytes > 0 && bytes+int64(h.Bytes) > w.Bytes) ||
				h.Schema != heads[0].Schema {
				full = true
				break
			}
		}
		rows, bytes = rows+int(h.Rows), bytes+int64(h.Bytes)
		heads = append(heads, h)
		if seq == to {
			break
		}
	}
	// One block alone may have all that a delivery may: it waits for no company, which might never come.
	if rows >= w.Rows || w.Bytes > 0 && bytes >= w.Bytes {
		full = true
	}
	if step < 0 {
		for i, j := 0, len(heads)-1; i < j; i, j = i+1, j-1 {
			heads[i], heads[j] = heads[j], heads[i]
		}
	}
	return heads, full, nil
}

// readHeadAt reads a block's head, from the block itself where the head alone is lost.
func readHeadAt(r store.Reader, seq uint64) (Head, error) {
	v, ok, err := r.Get(headKey(seq))
	if err != nil {
		return Head{Seq: seq}, fmt.Errorf("read head of block %d: %w", seq, err)
	}
	if ok {
		if h, _, err := readHead(v); err == nil && h.Seq == seq {
			return h, nil
		}
	}
	h, _, err := Read(r, seq)
	if err != nil {
		return Head{Seq: seq}, err
	}
	return h, nil
}

func readSinks(r store.Reader) (map[uint32]SinkState, error) {
	out := map[uint32]SinkState{}
	seq, fail := r.Scan(store.Sinks.K(), store.Sinks.K().End())
	for key, v := range seq {
		var st SinkState
		if err := json.Unmarshal(v, &st); err != nil {
			return nil, fault.New(fault.Corrupt, "read sink %x: %w", key, err)
		}
		out[binary.BigEndian.Uint32(key[1:])] = st
	}
	return out, fail()
}

func readSettled(r store.Reader, id uint32) (ranges, error) {
	var out ranges
	from := store.Settled.K().U32(id)
	seq, fail := r.Scan(from, from.End())
	for key, v := range seq {
		if len(v) != 8 {
			return nil, fault.New(fault.Corrupt, "settled range %x has %d bytes", key, len(v))
		}
		out.add(binary.BigEndian.Uint64(key[5:]), binary.BigEndian.Uint64(v))
	}
	return out, fail()
}

func putJSON(tx *store.Tx, key store.Key, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %x: %w", key, err)
	}
	tx.Set(key, b)
	return nil
}

func getJSON(r store.Reader, key store.Key, v any) error {
	b, ok, err := r.Get(key)
	if err != nil {
		return err
	}
	if !ok {
		return fault.New(fault.NotFound, "key %x is missing", key)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fault.New(fault.Corrupt, "read %x: %w", key, err)
	}
	return nil
}
