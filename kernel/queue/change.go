package queue

import (
	"encoding/binary"
	"fmt"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// Counts are the terms of the law put = ready + leased + waiting + done + dead + dropped.
type Counts struct {
	Put, Ready, Leased, Waiting, Done, Dead, Dropped uint64
}

// Balanced reports whether the law holds.
func (c Counts) Balanced() bool {
	return c.Put == c.Ready+c.Leased+c.Waiting+c.Done+c.Dead+c.Dropped
}

// Open is how many tasks are still to be done.
func (c Counts) Open() uint64 { return c.Ready + c.Leased + c.Waiting }

// ReadCounts returns the counters of the queue that has this id, as store.NamesOf gives it.
func ReadCounts(r store.Reader, id uint32) (Counts, error) { return (&Queue{id: id}).Counts(r) }

// Counts returns the queue's counters, which are kept, not counted.
func (q *Queue) Counts(r store.Reader) (Counts, error) {
	m, err := q.meta(r)
	if err != nil {
		return Counts{}, err
	}
	c := Counts{Put: m.put, Leased: m.leased, Waiting: m.waiting, Done: m.done, Dead: m.dead,
		Dropped: m.dropped}
	for _, l := range m.lists {
		c.Ready += l.ready
	}
	return c, nil
}

// meta is what a queue knows of itself as a whole.
type meta struct {
	seq                                       uint64 // next id, position or lease number
	put, leased, waiting, done, dead, dropped uint64
	clock                                     uint64 // latest time at which something began to wait
	due                                       uint64 // nothing is due before it
	epoch                                     uint64 // of the Queue that may lease
	refileDue, refileID                       uint64 // how far refile has come; 0 if it is not at work
	lists                                     []list
}

// list is one of the two of each lane.
type list struct {
	ready uint64
	low   uint64 // no position is below it
}

const metaNumbers = 12

func (m *meta) numbers() []*uint64 {
	return []*uint64{&m.seq, &m.put, &m.leased, &m.waiting, &m.done, &m.dead, &m.dropped,
		&m.clock, &m.due, &m.epoch, &m.refileDue, &m.refileID}
}

func (q *Queue) meta(r store.Reader) (*meta, error) {
	v, ok, err := r.Get(q.metaKey())
	if err != nil {
		return nil, err
	}
	m := &meta{seq: 1}
	if ok {
		if m, err = decodeMeta(v); err != nil {
			return nil, fmt.Errorf("read queue %q: %w", q.name, err)
		}
	}
	for len(m.lists) < 2*len(q.opts.Lanes) {
		m.lists = append(m.lists, list{})
	}
	return m, nil
}

func decodeMeta(v []byte) (*meta, error) {
	if err := checkValue(v, 2); err != nil {
		return nil, err
	}
	lanes := int(v[1])
	if want := 2 + 8*metaNumbers + lanes*32; len(v) != want || lanes > maxLanes {
		return nil, fault.New(fault.Corrupt, "counters of %d lanes have %d bytes", lanes, len(v))
	}
	m := &meta{lists: make([]list, 2*lanes)}
	v = v[2:]
	next := func() uint64 {
		n := binary.BigEndian.Uint64(v)
		v = v[8:]
		return n
	}
	for _, n := range m.numbers() {
		*n = next()
	}
	for i := range m.lists {
		m.lists[i] = list{next(), next()}
	}
	return m, nil
}

func (m *meta) encode() []byte {
	b := []byte{version, byte(len(m.lists) / 2)}
	for _, n := range m.numbers() {
		b = binary.BigEndian.AppendUint64(b, *n)
	}
	for _, l := range m.lists {
		b = binary.BigEndian.AppendUint64(b, l.ready)
		b = binary.BigEndian.AppendUint64(b, l.low)
	}
	return b
}

// change moves tasks between states within one transaction.
type change struct {
	q   *Queue
	tx  *store.Tx
	m   *meta
	now time.Time

	woken bool
}

func (q *Queue) begin(tx *store.Tx) (*change, error) {
	m, err := q.meta(tx)
	if err != nil {
		return nil, err
	}
	return &change{q: q, tx: tx, m: m, now: time.Now()}, nil
}

// save writes the counters. Without it the transaction must fail.
func (c *change) save() { c.tx.Set(c.q.metaKey(), c.m.encode()) }

func (c *change) next() uint64 {
	c.m.seq++
	return c.m.seq - 1
}

// put adds a new task.
func (c *change) put(t Task) error {
	c.m.put++
	due := uint64(0)
	if !t.Due.IsZero() {
		due = millis(t.Due)
	}
	return c.add(&task{lane: t.Lane, key: t.Key, order: t.Order, due: due, put: millis(c.now)},
		t.Payload)
}

// add gives a task an id and its place.
func (c *change) add(t *task, payload []byte) error {
	t.id = c.next()
	c.tx.Set(c.q.keyKey(t.key), known{kind: keyLive, id: t.id}.encode())
	if len(payload) > 0 {
		c.tx.Set(c.q.payloadKey(t.id), append([]byte{version}, payload...))
	}
	isBehind, err := c.queueUp(t)
	if err != nil {
		return err
	}
	if isBehind {
		c.enterBehind(t)
		return nil
	}
	c.place(t, Ready)
	return nil
}

// place makes a task whose turn it is wait until it is due, or ready: in the list of state as.
func (c *change) place(t *task, as State) {
	if t.due > millis(c.now) {
		c.enterWaiting(t)
		return
	}
	t.state, t.at = as, c.next()
	if as == Ready && c.q.lane(t.lane).Newest {
		t.at = newestFirst(t.at, c.now)
	}
	l := &c.m.lists[t.list()]
	if l.ready == 0 || t.at < l.low {
		l.low = t.at
	}
	l.ready++
	c.tx.Set(c.q.readyKey(t.list(), t.at), numbers(t.id))
	c.settle(t)
	c.wake()
}

// turnOfNewest is how long what is put into a lane that gives the newest first stays in order. Shorter turns leave more
// remains of leased tasks to be walked over: behind each turn those of all younger ones, once.
const turnOfNewest = 10 * time.Second

// newestFirst is a position in front of those of earlier turns, and behind the others of its own.
func newestFirst(seq uint64, now time.Time) uint64 {
	const bits = 28 // of the number within a turn; no disk takes so many
	turn := millis(now) / uint64(turnOfNewest.Milliseconds())
	return ^turn<<bits | seq&(1<<bits-1)
}

func (c *change) enterWaiting(t *task) {
	t.state, t.at = Waiting, 0
	c.m.waiting++
	c.m.due = min(c.m.due, t.due)
	c.m.clock = max(c.m.clock, millis(c.now))
	c.tx.Set(c.q.dueKey(t.due, t.id), numbers(millis(c.now)))
	c.settle(t)
	c.wake() // whoever waits for work must learn when there is some
}

// wake has a worker look for work once the change is committed.
func (c *change) wake() {
	if !c.woken {
		c.woken = true
		c.tx.OnDurable(c.q.wake)
	}
}

func (c *change) enterBehind(t *task) {
	t.state, t.at = behind, 0
	c.m.waiting++
	c.tx.Set(c.q.behindKey(hashOf(t.order), t.id), []byte{version})
	c.settle(t)
}

func (c *change) enterDead(t *task) error {
	t.state, t.at = Dead, 0
	c.m.dead++
	c.tx.Set(c.q.deadKey(t.id), []byte{version})
	c.settle(t)
	return c.stepAside(t)
}

// settle writes the task in its new state.
func (c *change) settle(t *task) {
	t.since = millis(c.now)
	c.tx.Set(c.q.taskKey(t.id), t.encode())
}

// leave takes a task out of its state; it must enter another, or end.
func (c *change) leave(t *task) error {
	switch t.state {
	case Ready, again:
		if t.list() >= len(c.m.lists) || c.m.lists[t.list()].ready == 0 {
			return fault.New(fault.Corrupt, "queue %q: task %d is ready and its list empty", c.q.name, t.id)
		}
		c.m.lists[t.list()].ready--
		c.tx.Delete(c.q.readyKey(t.list(), t.at))
	case Leased:
		c.m.leased--
		slot := uint32(t.at)
		c.tx.Delete(c.q.leaseKey(slot))
		c.tx.OnDurable(func() { c.q.free(slot) })
	case Waiting:
		c.m.waiting--
		c.tx.Delete(c.q.dueKey(t.due, t.id))
	case behind:
		c.m.waiting--
		c.tx.Delete(c.q.behindKey(hashOf(t.order), t.id))
		// The order counts it until it steps aside or ends.
	case Dead:
		c.m.dead--
		c.tx.Delete(c.q.deadKey(t.id))
	}
	return nil
}

// end erases a task that has left its state, and remembers its key as kind.
func (c *change) end(t *task, kind byte) error {
	if t.state != Dead { // a dead one has stepped aside already
		if err := c.stepAside(t); err != nil {
			return err
		}
	}
	c.erase(t)
	day := dayOf(c.now)
	c.tx.Set(c.q.keyKey(t.key), known{kind: kind, day: day}.encode())
	if c.q.opts.Horizon > 0 {
		c.tx.Set(c.q.dayKey(day).Str(t.key), []byte{version})
	}
	return nil
}

func (c *change) erase(t *task) {
	c.tx.Delete(c.q.taskKey(t.id))
	c.tx.Delete(c.q.payloadKey(t.id))
}

// order is the tasks of one order that are neither dead nor ended.
type order struct {
	head  uint64 // whose turn it is
	tasks uint64
}

func (c *change) order(h hash) (o order, ok bool, err error) {
	key := c.q.orderKey(h)
	v, ok, err := c.tx.Get(key)
	if err != nil || !ok {
		return order{}, false, err
	}
	n, err := readNumbers(key, v, 2)
	if err != nil {
		return order{}, false, err
	}
	return order{n[0], n[1]}, true, nil
}

func (c *change) setOrder(h hash, o order) { c.tx.Set(c.q.orderKey(h), numbers(o.head, o.tasks)) }

// queueUp takes a new task into its order and reports whether it must wait behind another.
func (c *change) queueUp(t *task) (isBehind bool, err error) {
	if t.order == "" {
		return false, nil
	}
	h := hashOf(t.order)
	o, ok, err := c.order(h)
	if err != nil {
		return false, err
	}
	if !ok {
		o.head = t.id
	}
	o.tasks++
	c.setOrder(h, o)
	return ok, nil
}

// stepAside takes a task out of its order and lets the next one have its turn.
func (c *change) stepAside(t *task) error {
	if t.order == "" {
		return nil
	}
	h := hashOf(t.order)
	o, ok, err := c.order(h)
	if err != nil {
		return err
	}
	if !ok || o.tasks == 0 {
		return fault.New(fault.Corrupt, "queue %q: task %d has an order that is not there",
			c.q.name, t.id)
	}
	if o.tasks--; o.tasks == 0 {
		c.tx.Delete(c.q.orderKey(h))
		return nil
	}
	if o.head != t.id {
		c.setOrder(h, o)
		return nil
	}
	id, err := c.firstBehind(h, t.id)
	if err != nil {
		return err
	}
	next, err := c.q.mustTask(c.tx, id)
	if err != nil {
		return err
	}
	c.setOrder(h, order{id, o.tasks})
	if err := c.leave(next); err != nil {
		return err
	}
	c.place(next, again)
	return nil
}

// firstBehind returns the first task of an order behind the one whose turn it was: below it there
// are only the remains of those that had theirs.
func (c *change) firstBehind(h hash, head uint64) (id uint64, err error) {
	entries, fail := c.tx.Scan(c.q.behindKey(h, head+1), c.q.part('x').Raw(h[:]).End())
	for k := range entries {
		return binary.BigEndian.Uint64(k[len(k)-8:]), nil
	}
	if err := fail(); err != nil {
		return 0, err
	}
	return 0, fault.New(fault.Corrupt, "queue %q: nothing stands behind task %d of order %x",
		c.q.name, head, h)
}
