package queue

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// Verify walks the whole queue and returns what does not agree: counters with what they count,
// tasks with the indexes they stand in. A queue on which it finds something is a bug or damage.
func (q *Queue) Verify(r store.Reader) (faults []string, err error) {
	v := &verifier{q: q, r: r, orders: map[hash]*order{}}
	if v.m, err = q.meta(r); err != nil {
		return nil, err
	}
	v.found.lists = make([]list, len(v.m.lists))
	for _, step := range []func() error{v.tasks, v.indexes, v.keys, v.turns} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("verify queue %q: %w", q.name, err)
		}
	}
	v.counts()
	return v.faults, nil
}

type verifier struct {
	q       *Queue
	r       store.Reader
	m       *meta
	found   meta // counted
	entries uint64
	orders  map[hash]*order // grows with the orders that have tasks
	faults  []string
}

func (v *verifier) fault(format string, args ...any) {
	if len(v.faults) < 100 {
		v.faults = append(v.faults, fmt.Sprintf(format, args...))
	}
}

// each calls f with the entries of a part; k is without the part.
func (v *verifier) each(part byte, f func(k, val []byte) error) error {
	from := v.q.part(part)
	entries, fail := v.r.Scan(from, from.End())
	for k, val := range entries {
		if err := f(k[len(from):], val); err != nil {
			return err
		}
	}
	return fail()
}

func (v *verifier) tasks() error {
	return v.each('t', func(k, val []byte) error {
		t, err := decodeTask(binary.BigEndian.Uint64(k), val)
		if err != nil {
			return err
		}
		if t.id >= v.m.seq {
			v.fault("task %d is not below seq %d", t.id, v.m.seq)
		}
		if known, ok, err := v.q.lookUp(v.r, t.key); err != nil {
			return err
		} else if !ok || known.kind != keyLive || known.id != t.id {
			v.fault("task %d has a key that says %+v", t.id, known)
		}
		v.order(t)
		return v.index(t)
	})
}

// order counts the tasks of each order.
func (v *verifier) order(t *task) {
	if t.order == "" || t.state == Dead {
		return
	}
	h := hashOf(t.order)
	o := v.orders[h]
	if o == nil {
		o = &order{}
		v.orders[h] = o
	}
	o.tasks++
	if t.state != behind {
		if o.head != 0 {
			v.fault("tasks %d and %d of one order are both %v", o.head, t.id, t.state)
		}
		o.head = t.id
	}
}

// index looks for the one entry that a task must have.
func (v *verifier) index(t *task) error {
	var key store.Key
	want := []byte{version}
	switch t.state {
	case Ready, again:
		if t.list() >= len(v.found.lists) || t.at < v.m.lists[t.list()].low {
			v.fault("task %d stands at %d of list %d, below its low bound", t.id, t.at, t.list())
			return nil
		}
		v.found.lists[t.list()].ready++
		key, want = v.q.readyKey(t.list(), t.at), numbers(t.id)
	case Leased:
		v.found.leased++
		key = v.q.leaseKey(uint32(t.at))
		want = nil
	case Waiting:
		v.found.waiting++
		key, want = v.q.dueKey(t.due, t.id), nil
		if t.due < v.m.due {
			v.fault("task %d is due at %d, below the low bound %d", t.id, t.due, v.m.due)
		}
	case behind:
		v.found.waiting++
		key = v.q.behindKey(hashOf(t.order), t.id)
	case Dead:
		v.found.dead++
		key = v.q.deadKey(t.id)
	}
	v.entries++
	val, ok, err := v.r.Get(key)
	if err != nil {
		return err
	}
	if !ok || want != nil && !bytes.Equal(val, want) {
		v.fault("task %d is %v, and its index says %x", t.id, t.state, val)
	}
	return nil
}

// idIn returns the id of the task that an entry of an index stands for.
func idIn(part byte, k, v []byte) (uint64, error) {
	switch part {
	case 'r', 'l':
		n, err := readNumbers(k, v, (len(v)-1)/8)
		if err != nil || len(n) == 0 {
			return 0, fault.New(fault.Corrupt, "index entry %x has %d bytes", k, len(v))
		}
		return n[len(n)-1], nil
	}
	return binary.BigEndian.Uint64(k[len(k)-8:]), nil
}

// indexes counts all entries: each task has its entry, so where there are as many as tasks, none is without a task.
func (v *verifier) indexes() error {
	n := uint64(0)
	for _, part := range []byte("rlwxd") {
		err := v.each(part, func(k, val []byte) error {
			n++
			id, err := idIn(part, k, val)
			if err != nil {
				return err
			}
			_, ok, err := v.q.task(v.r, id)
			if !ok && err == nil {
				v.fault("index %c has task %d, which is not there", part, id)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if n != v.entries {
		v.fault("%d entries in the indexes, want %d", n, v.entries)
	}
	return v.each('p', func(k, _ []byte) error {
		if _, ok, err := v.q.task(v.r, binary.BigEndian.Uint64(k)); err != nil || !ok {
			v.fault("payload %x belongs to no task", k)
			return err
		}
		return nil
	})
}

// keys looks for live keys without a task.
func (v *verifier) keys() error {
	return v.each('k', func(k, val []byte) error {
		known, err := decodeKnown(val)
		if err != nil || known.kind != keyLive {
			return err
		}
		if _, ok, err := v.q.task(v.r, known.id); err != nil || !ok {
			v.fault("key %q stands for task %d, which is not there", k, known.id)
			return err
		}
		return nil
	})
}

// turns compares the orders with their tasks.
func (v *verifier) turns() error {
	err := v.each('o', func(k, val []byte) error {
		n, err := readNumbers(k, val, 2)
		if err != nil {
			return err
		}
		o := v.orders[hash(k)]
		if o == nil || o.head != n[0] || o.tasks != n[1] {
			v.fault("order %x says %v, and has %+v", k, n, o)
		}
		delete(v.orders, hash(k))
		return nil
	})
	for h, o := range v.orders {
		v.fault("order %x of %d tasks is not written", h, o.tasks)
	}
	return err
}

func (v *verifier) counts() {
	for i, l := range v.found.lists {
		if l.ready != v.m.lists[i].ready {
			v.fault("list %d has %d tasks, says %d", i, l.ready, v.m.lists[i].ready)
		}
	}
	for _, c := range []struct {
		what      string
		says, has uint64
	}{{"leased", v.m.leased, v.found.leased}, {"waiting", v.m.waiting, v.found.waiting},
		{"dead", v.m.dead, v.found.dead}} {
		if c.says != c.has {
			v.fault("%d tasks are %s, says %d", c.has, c.what, c.says)
		}
	}
	if c, err := v.q.Counts(v.r); err != nil || !c.Balanced() {
		v.fault("the counters do not balance: %+v %v", c, err)
	}
}
