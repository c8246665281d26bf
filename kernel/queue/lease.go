package queue

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// Lease is a task in the hands of a worker.
type Lease struct {
	ID      uint64
	Key     string
	Order   string
	Lane    int
	Payload []byte
	Put     time.Time
	Attempt int    // 1 for the first
	Reason  string // what the last attempt said, "" for the first

	epoch, number uint64
	slot          uint32
}

const (
	promoteAtOnce = 256         // waiting tasks that one look makes ready
	reclaimAtOnce = 1000        // leases that one transaction of Open takes back
	lookAgain     = time.Minute // how long a clock that was set may go unnoticed
)

// LeaseMany waits until a task is ready, or due, and returns it, with others that are ready as well, up to most in all,
// when their leases are durable. It returns ctx's error, or ErrClosed.
func (q *Queue) LeaseMany(ctx context.Context, most int) ([]Lease, error) {
	if most < 1 {
		return nil, fault.New(fault.Invalid, "lease %d tasks", most)
	}
	for {
		select {
		case <-q.closed:
			return nil, ErrClosed
		default:
		}
		if err := ctx.Err(); err != nil {
			q.wake() // the token that brought us here is another's now
			return nil, err
		}
		leases, err := q.look(most)
		if err != nil {
			q.wake()
			return nil, fmt.Errorf("lease from queue %q: %w", q.name, err)
		}
		if len(leases) > 0 {
			return leases, nil
		}
		select {
		case <-q.work:
		case <-q.closed:
		case <-ctx.Done():
		}
	}
}

// look leases what is ready. If nothing is, it sets the alarm.
func (q *Queue) look(most int) (leases []Lease, err error) {
	var more bool
	var due uint64
	err = q.st.Update(func(tx *store.Tx) error {
		leases = nil
		c, err := q.begin(tx)
		if err != nil {
			return err
		}
		if c.m.epoch != q.epoch {
			return fault.New(fault.Conflict, "it was opened again elsewhere")
		}
		changed, err := c.followClock()
		if err != nil {
			return err
		}
		for len(leases) < most {
			l, ok, err := c.lease()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			leases = append(leases, l)
		}
		if more = c.ready() > 0; !more {
			if due, err = c.firstDue(); err != nil {
				return err
			}
		}
		if changed || len(leases) > 0 {
			c.save()
		}
		return nil
	})
	if err != nil {
		for _, l := range leases {
			q.free(l.slot)
		}
		return nil, err
	}
	if more {
		q.wake() // one worker wakes the next, not one event all of them
	} else if due > 0 {
		q.ringAt(timeOf(due))
	}
	return leases, nil
}

func (c *change) ready() (n uint64) {
	for _, l := range c.m.lists {
		n += l.ready
	}
	return n
}

// lease gives out the task whose turn it is; ok is false if none is ready.
func (c *change) lease() (l Lease, ok bool, err error) {
	i, ok := c.q.turn(c.m.lists)
	if !ok {
		return Lease{}, false, nil
	}
	id, position, err := c.firstReady(i)
	if err != nil {
		return Lease{}, false, err
	}
	t, err := c.q.mustTask(c.tx, id)
	if err != nil {
		return Lease{}, false, err
	}
	payload, err := c.q.payload(c.tx, id)
	if err != nil {
		return Lease{}, false, err
	}
	if err := c.leave(t); err != nil {
		return Lease{}, false, err
	}
	c.m.lists[i].low = position + 1
	t.attempts++
	l = Lease{ID: id, Key: t.key, Order: t.order, Lane: t.lane, Payload: payload, Put: timeOf(t.put),
		Attempt: int(t.attempts), Reason: t.reason, epoch: c.q.epoch, number: c.next(),
		slot: c.q.takeSlot()}
	t.state, t.at = Leased, uint64(l.slot)
	c.m.leased++
	c.tx.Set(c.q.leaseKey(l.slot), numbers(l.epoch, l.number, id))
	c.settle(t)
	return l, true, nil
}

// firstReady returns the first task of a list that is not empty.
func (c *change) firstReady(i int) (id, position uint64, err error) {
	entries, fail := c.tx.Scan(c.q.readyKey(i, c.m.lists[i].low), c.q.part('r').U8(uint8(i)).End())
	for k, v := range entries {
		n, err := readNumbers(k, v, 1)
		if err != nil {
			return 0, 0, err
		}
		return n[0], binary.BigEndian.Uint64(k[len(k)-8:]), nil
	}
	if err := fail(); err != nil {
		return 0, 0, err
	}
	return 0, 0, fault.New(fault.Corrupt, "queue %q: list %d says %d ready tasks and has none",
		c.q.name, i, c.m.lists[i].ready)
}

// holding runs f over the task of a lease that is still good.
func (q *Queue) holding(tx *store.Tx, l Lease, f func(c *change, t *task) error) error {
	key := q.leaseKey(l.slot)
	v, ok, err := tx.Get(key)
	if err != nil {
		return err
	}
	var n []uint64
	if ok {
		if n, err = readNumbers(key, v, 3); err != nil {
			return err
		}
	}
	if !ok || n[0] != l.epoch || n[1] != l.number || n[2] != l.ID {
		return fault.New(fault.Conflict, "queue %q: the lease of task %d (%s) is lost", q.name,
			l.ID, l.Key)
	}
	return q.changeTask(tx, l.ID, func(c *change, t *task) error {
		if err := c.leave(t); err != nil {
			return err
		}
		return f(c, t)
	})
}

// Done ends a task. A lease that is lost, because the task was dropped or the queue opened again,
// is a Conflict fault: the transaction must fail then, and with it what else the worker did in it.
func (q *Queue) Done(tx *store.Tx, l Lease) error {
	return q.holding(tx, l, func(c *change, t *task) error {
		c.m.done++
		return c.end(t, keyDone)
	})
}

// Retry has a task tried again after a while, or makes it dead if it has no attempts left; dead
// reports which.
func (q *Queue) Retry(tx *store.Tx, l Lease, after time.Duration, reason string) (dead bool,
	err error) {
	err = q.holding(tx, l, func(c *change, t *task) error {
		t.reason = cut(reason)
		if dead = q.spent(t); dead {
			return c.enterDead(t)
		}
		c.delay(t, after)
		return nil
	})
	return dead, err
}

// Release gives a task back as if it had not been leased: the attempt is not counted. It is for
// work that could not be tried, because a gate was closed or the process ends.
func (q *Queue) Release(tx *store.Tx, l Lease, after time.Duration) error {
	return q.holding(tx, l, func(c *change, t *task) error {
		t.attempts--
		c.delay(t, after)
		return nil
	})
}

// Dead sets a task aside until a person revives or drops it.
func (q *Queue) Dead(tx *store.Tx, l Lease, reason string) error {
	return q.holding(tx, l, func(c *change, t *task) error {
		t.reason = cut(reason)
		return c.enterDead(t)
	})
}

func (q *Queue) spent(t *task) bool {
	return q.opts.Attempts > 0 && int(t.attempts) >= q.opts.Attempts
}

func (c *change) delay(t *task, after time.Duration) {
	t.due = 0
	if after > 0 {
		t.due = millis(c.now.Add(after))
	}
	c.place(t, again)
}

// cut bounds a reason: it is for people.
func cut(reason string) string {
	return strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
}

// reclaim makes leases of other epochs ready again, some at a time, and this epoch the queue's.
func (q *Queue) reclaim(tx *store.Tx) (more bool, err error) {
	c, err := q.begin(tx)
	if err != nil {
		return false, err
	}
	var ids []uint64
	entries, fail := tx.Scan(q.part('l'), q.part('l').End())
	for k, v := range entries {
		n, err := readNumbers(k, v, 3)
		if err != nil {
			return false, err
		}
		if n[0] == q.epoch {
			continue
		}
		if more = len(ids) == reclaimAtOnce; more {
			break
		}
		ids = append(ids, n[2])
	}
	if err := fail(); err != nil {
		return false, err
	}
	for _, id := range ids {
		t, err := q.mustTask(tx, id)
		if err != nil {
			return false, err
		}
		if err := c.leave(t); err != nil {
			return false, err
		}
		if t.reason = "the process ended during the attempt"; q.spent(t) {
			err = c.enterDead(t)
		} else {
			c.delay(t, 0)
		}
		if err != nil {
			return false, err
		}
	}
	c.m.epoch = q.epoch
	c.save()
	return more, nil
}
