// Package queue keeps tasks: work that was taken on and must be done, once, whatever happens to the
// process meanwhile. A task is put by key, so that a repeat is not a second task; it is leased, and
// ends as done, dead or dropped.
//
// Every change of state happens in a transaction of the caller's, so that a task's result and
// whatever it leads to commit together. LeaseMany alone commits by itself, and durably: the task,
// everything committed before it and the lease are on disk before the worker sees them, because
// what it does next can be seen outside. A lease belongs to the Queue that gave it: Open makes
// every lease of an earlier one ready again, in time proportional to the leases, and from then on
// refuses the old ones. What is done durably is never leased again. A worker that crashes has spent
// its attempt.
//
// Tasks wait in lanes. Each lane has a weight, its guaranteed share of the leases while others have
// work too. Within a lane, new tasks come in the order they were put, or the newest first, and take
// turns with those that were waiting. Tasks with the same Order run one after another in the order they were put;
// one that waits for its next attempt holds up those behind it, one that is dead does not.
//
// At all times, in every commit: put = ready + leased + waiting + done + dead + dropped. Nothing
// here grows in memory with the number of tasks.
//
// Times are wall clock time. A clock that is set ahead makes tasks due early; one that is set back
// by more than a minute is noticed, and what waits then waits no longer than it was meant to.
//
// Keys and values (numbers big-endian, n* a uvarint length; times in milliseconds since 1970; every
// value begins with version(1)=1). All keys begin with q queue(4):
//
//	(nothing more)         lanes(1) seq(8) put(8) leased(8) waiting(8) done(8) dead(8) dropped(8)
//	                       clock(8) due(8) epoch(8) refile-due(8) refile-id(8), then for each lane's
//	                       new and due list: ready(8) low(8)
//	t id(8)                state(1) lane(1) attempts(4) put(8) since(8) due(8) at(8) n*key n*order
//	                       n*reason: the task; at is its position if ready, its slot if leased;
//	                       state 1 is ready, 2 leased, 3 waiting, 4 dead, 5 waiting behind another,
//	                       6 ready after waiting
//	p id(8)                payload, if there is one
//	k key                  kind(1)=1 id(8): a live or dead task; kind(1)=2 day(4): done;
//	                       kind(1)=3 day(4): dropped
//	h day(4) key           (version alone) a done or dropped key that is to be forgotten
//	r list(1) position(8)  id(8): ready; list is 2*lane for new tasks, 2*lane+1 for due ones
//	l slot(4)              epoch(8) number(8) id(8): leased
//	d id(8)                (version alone) dead
//	w due(8) id(8)         set(8): waiting until due, and when that was said
//	x order(16) id(8)      (version alone) waiting behind another task of the same order
//	o order(16)            head(8) tasks(8): the task of an order whose turn it is
//
// seq is the next id, position or lease number, but a position in a lane that gives the newest first begins with the
// complement of the time. low and due are bounds below which there is nothing: without them each look for work would walk
// over the remains of all that was done. Keys stand under themselves, not under a hash: what comes together (the links of
// a page, the files of a directory) is looked up and written in one place. order is the first 16 bytes of its SHA-256.
package queue

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// ErrClosed is what a worker that waits for a task gets when the queue is closed.
var ErrClosed = errors.New("queue is closed")

// Bounds of one task.
const (
	maxKey     = 8 << 10
	MaxPayload = 16 << 20
	maxLanes   = 64
	maxReason  = 1 << 10
)

// Options tune a queue.
type Options struct {
	// Lanes are the lanes, from lane 0 on; nil is one of weight 1.
	Lanes []Lane
	// Attempts is how often a task may be leased before Retry, or a crash, makes it dead; 0 is for
	// ever.
	Attempts int
	// Horizon is how long the key of a task that is done or dropped is remembered, and up to a day
	// longer; 0 is for ever. Expire does it, to what ended while a Horizon was set.
	Horizon time.Duration
}

// Lane is where tasks wait.
type Lane struct {
	// Weight is its part of the leases that are given while all lanes have work.
	Weight int
	// Newest has new tasks come in turns of ten seconds, those that were put last first. What is put
	// after this changed is in the new order.
	Newest bool
}

func (o Options) withDefaults() Options {
	if len(o.Lanes) == 0 {
		o.Lanes = []Lane{{Weight: 1}}
	}
	return o
}

// Validate names what is wrong.
func (o Options) Validate() error {
	var errs []error
	if len(o.Lanes) > maxLanes {
		errs = append(errs, fault.New(fault.Invalid, "%d lanes, at most %d", len(o.Lanes), maxLanes))
	}
	for i, l := range o.Lanes {
		if l.Weight < 1 || l.Weight > 1<<20 {
			errs = append(errs, fault.New(fault.Invalid, "lane %d has weight %d, want 1 to %d", i, l.Weight, 1<<20))
		}
	}
	if o.Attempts < 0 || o.Horizon < 0 {
		errs = append(errs, fault.New(fault.Invalid, "attempts %d and horizon %v can't be negative",
			o.Attempts, o.Horizon))
	}
	return errors.Join(errs...)
}

// Queue is an open queue. Its methods may be called from any goroutine.
type Queue struct {
	st    *store.Store
	opts  Options
	id    uint32
	name  string
	epoch uint64

	turns []lane // whose turn it is; touched only within a transaction of ours, which the store orders

	work   chan struct{} // holds one token while there may be work that nobody looks for
	closed chan struct{}

	mu    sync.Mutex // guards all below; taken within transactions, never the other way round
	done  bool
	alarm *time.Timer
	rings time.Time // when alarm rings; zero if it is not set
	slots slots
}

// Open returns the queue of this name and makes ready again what an earlier Queue had leased.
func Open(st *store.Store, name string, o Options) (*Queue, error) {
	o = o.withDefaults()
	q := &Queue{st: st, opts: o, name: name, turns: make([]lane, maxLanes),
		work: make(chan struct{}, 1), closed: make(chan struct{})}
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("open queue %q: %w", name, err)
	}
	var b [8]byte
	rand.Read(b[:])
	q.epoch = binary.BigEndian.Uint64(b[:])
	err := st.Update(func(tx *store.Tx) (err error) {
		q.id, _, err = tx.ID(store.QueueName, name)
		return err
	})
	for more := true; more && err == nil; {
		err = st.Update(func(tx *store.Tx) (err error) {
			more, err = q.reclaim(tx)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("open queue %q: %w", name, err)
	}
	return q, nil
}

// Name is the name the queue was opened by.
func (q *Queue) Name() string { return q.name }

// Close ends all waiting for tasks. Leases stay good: their transactions may still come.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.done {
		return
	}
	q.done = true
	close(q.closed)
	if q.alarm != nil {
		q.alarm.Stop()
	}
}

// Task is work to be put into a queue.
type Task struct {
	Key     string    // names the work; required
	Order   string    // tasks of one order run one after another; "" for no order
	Lane    int       // see Options.Lanes
	Due     time.Time // not before; the zero time is now
	Payload []byte    // for the worker
}

func (q *Queue) validate(t Task) error {
	switch {
	case t.Key == "":
		return fault.New(fault.Invalid, "put task: it has no key")
	case len(t.Key) > maxKey || len(t.Order) > maxKey:
		return fault.New(fault.Invalid, "put task: key or order is longer than %d bytes", maxKey)
	case len(t.Payload) > MaxPayload:
		return fault.New(fault.Invalid, "put task: payload has %d bytes, at most %d",
			len(t.Payload), MaxPayload)
	case t.Lane < 0 || t.Lane >= len(q.opts.Lanes):
		return fault.New(fault.Invalid, "put task: lane %d of %d", t.Lane, len(q.opts.Lanes))
	}
	return nil
}

// Put adds a task, unless one with the same key is there, dead, or remembered as done or dropped.
// It reports whether it did. A repeat changes nothing about the task that is there. Like all
// changes, one that returns an error must fail its transaction.
func (q *Queue) Put(tx *store.Tx, t Task) (added bool, err error) {
	n, err := q.PutAll(tx, []Task{t})
	return n == 1, err
}

// PutAll is Put for many tasks, and faster. It returns how many were added.
func (q *Queue) PutAll(tx *store.Tx, tasks []Task) (added int, err error) {
	c, err := q.begin(tx)
	if err != nil {
		return 0, err
	}
	for _, t := range tasks {
		if err := q.validate(t); err != nil {
			return 0, err
		}
		_, known, err := q.lookUp(tx, t.Key)
		if err != nil {
			return 0, err
		}
		if known {
			continue
		}
		if err := c.put(t); err != nil {
			return 0, err
		}
		added++
	}
	if added > 0 {
		c.save()
	}
	return added, nil
}

// Drop ends a task that shall not be done, whether it is ready, waiting, leased or dead. The key is
// remembered as if it were done. A worker that leased it finds its lease lost.
func (q *Queue) Drop(tx *store.Tx, id uint64) error {
	return q.changeTask(tx, id, func(c *change, t *task) error {
		if err := c.leave(t); err != nil {
			return err
		}
		c.m.dropped++
		return c.end(t, keyDropped)
	})
}

// Revive makes a dead task ready once more, as if it had been put now: under a new id, behind the
// others of its order, with all its attempts.
func (q *Queue) Revive(tx *store.Tx, id uint64) (newID uint64, err error) {
	err = q.changeTask(tx, id, func(c *change, t *task) error {
		if t.state != Dead {
			return fault.New(fault.Invalid, "revive task %d: it is %v", id, t.state)
		}
		payload, err := q.payload(tx, id)
		if err != nil {
			return err
		}
		if err := c.leave(t); err != nil {
			return err
		}
		c.erase(t)
		newID = c.m.seq
		return c.add(&task{lane: t.lane, key: t.key, order: t.order, reason: t.reason, put: t.put},
			payload)
	})
	return newID, err
}

// Forget lets the key of a task that is done or dropped be put again. It reports whether there was
// one.
func (q *Queue) Forget(tx *store.Tx, key string) (bool, error) {
	k, ok, err := q.lookUp(tx, key)
	if err != nil || !ok || k.kind == keyLive {
		return false, err
	}
	tx.Delete(q.keyKey(key))
	tx.Delete(q.dayKey(k.day).Str(key))
	return true, nil
}

// Expire forgets, at most limit at a time, the keys of tasks that were done or dropped more than
// the Horizon ago, and reports whether there are more. now is the time of a clock that the caller
// believes.
func (q *Queue) Expire(tx *store.Tx, now time.Time, limit int) (forgotten int, more bool,
	err error) {
	if q.opts.Horizon == 0 {
		return 0, false, nil
	}
	entries, fail := tx.Scan(q.dayKey(0), q.dayKey(dayOf(now.Add(-q.opts.Horizon))))
	for k := range entries {
		if forgotten == limit {
			more = true
			break
		}
		forgotten++
		day, key := binary.BigEndian.Uint32(k[6:]), string(k[10:])
		tx.Delete(q.dayKey(day).Str(key))
		k, ok, err := q.lookUp(tx, key)
		if err != nil {
			return 0, false, err
		}
		if ok && k.kind != keyLive && k.day == day {
			tx.Delete(q.keyKey(key))
		}
	}
	return forgotten, more, fail()
}

// changeTask runs f over a task and saves the counters.
func (q *Queue) changeTask(tx *store.Tx, id uint64, f func(c *change, t *task) error) error {
	c, err := q.begin(tx)
	if err != nil {
		return err
	}
	t, ok, err := q.task(tx, id)
	if err != nil {
		return err
	}
	if !ok {
		return fault.New(fault.NotFound, "task %d of queue %q is not there", id, q.name)
	}
	if err := f(c, t); err != nil {
		return err
	}
	c.save()
	return nil
}

// hash stands for an order in the keys of the store.
type hash [16]byte

func hashOf(s string) hash {
	sum := sha256.Sum256([]byte(s))
	return hash(sum[:16])
}

const dayMillis = 24 * 60 * 60 * 1000

func dayOf(t time.Time) uint32 { return uint32(millis(t) / dayMillis) }

// millis is a time as it is stored; what is before 1970 is 0.
func millis(t time.Time) uint64 { return uint64(max(t.UnixMilli(), 0)) }

func timeOf(ms uint64) time.Time { return time.UnixMilli(int64(ms)) }
