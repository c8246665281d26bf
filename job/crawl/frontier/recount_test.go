package frontier

import (
	"encoding/binary"
	"maps"
	"testing"

	"holdfast/kernel/store"
)

// recounting counts anew what a frontier has counters and indexes of.
type recounting struct {
	*testing.T
	r        store.Reader
	want     Counts
	statuses map[int]uint64
	queued   map[uint32]uint64
	waiting  map[uint32]uint64
	head     map[uint32]place
	open     map[uint32]uint64 // by source
	ready    map[uint32]int64
	ranks    map[uint32]uint8
	patterns map[uint32]uint64
}

// recount compares every counter and index with what it stands for.
func (r *rig) recount() {
	r.Helper()
	err := r.st.Latest(func(rd store.Reader) error {
		c := recounting{T: r.T, r: rd, statuses: map[int]uint64{}, queued: map[uint32]uint64{}, waiting: map[uint32]uint64{},
			head: map[uint32]place{}, open: map[uint32]uint64{}, ready: map[uint32]int64{}, ranks: map[uint32]uint8{},
			patterns: map[uint32]uint64{}}
		c.each('k', func(_, v []byte) { c.known(v) })
		c.each('q', c.inQueue)
		c.each('w', c.putOff)
		c.each('r', c.isReady)
		c.each('o', func(k, _ []byte) { c.ranks[binary.BigEndian.Uint32(k[4:])] = k[3] })
		c.each('p', func(k, _ []byte) { c.patterns[binary.BigEndian.Uint32(k[3:])]++ })
		c.hosts()
		c.sources()
		got, err := ReadCounts(rd)
		c.want.Bytes, c.want.Refused, c.want.Spent = got.Bytes, got.Refused, got.Spent
		if got != c.want {
			c.Errorf("counters %+v; a recount gives %+v", got, c.want)
		}
		if got, err := Statuses(rd); err != nil || !maps.Equal(got, c.statuses) {
			c.Errorf("statuses %v, want %v (%v)", got, c.statuses, err)
		}
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
}

func (c *recounting) each(kind byte, f func(k, v []byte)) {
	c.Helper()
	entries, failed := c.r.Scan(key(kind), key(kind).End())
	for k, v := range entries {
		f(k, v)
	}
	if err := failed(); err != nil {
		c.Fatal(err)
	}
}

func (c *recounting) known(v []byte) {
	s, status, err := readKnown(v)
	if err != nil {
		c.Fatal(err)
	}
	c.want.Known++
	*c.want.of(s)++
	if s != Queued && s != Waiting {
		c.statuses[status]++
	}
}

// is compares what is known of a URL with where it stands.
func (c *recounting) is(e entry, want State) {
	if s, _, known, err := Find(c.r, e.item.Key); s != want || !known || err != nil {
		c.Errorf("%s is %c, and known %v as %c (%v)", e.item.Key, want, known, s, err)
	}
	c.open[e.source]++
}

func (c *recounting) name(id uint32) string {
	rec, err := readHost(c.r, id)
	if err != nil {
		c.Fatal(err)
	}
	return rec.name
}

func (c *recounting) inQueue(k, v []byte) {
	id := binary.BigEndian.Uint32(k[3:])
	if c.queued[id]++; c.queued[id] == 1 {
		c.head[id] = placeOf(k)
	}
	e, err := readEntry(k, v, c.name(id))
	if err != nil {
		c.Fatal(err)
	}
	c.is(e, Queued)
}

func (c *recounting) putOff(k, v []byte) {
	w, err := readWaiting(k, v)
	if err != nil {
		c.Fatal(err)
	}
	c.waiting[w.host]++
	e, err := w.entry(c.name(w.host))
	if err != nil {
		c.Fatal(err)
	}
	c.is(e, Waiting)
}

func (c *recounting) isReady(k, _ []byte) {
	due, id, err := readReady(k)
	if err != nil {
		c.Fatal(err)
	}
	if _, twice := c.ready[id]; twice {
		c.Errorf("host %d is ready twice", id)
	}
	c.ready[id] = due
}

func (c *recounting) hosts() {
	var sum Counts
	budget, _, err := readBudget(c.r)
	if err != nil {
		c.Fatal(err)
	}
	c.each('h', func(k, _ []byte) {
		id := binary.BigEndian.Uint32(k[3:])
		rec, err := readHost(c.r, id)
		if err != nil {
			c.Fatal(err)
		}
		c.want.Hosts++
		if rec.held {
			c.want.HeldHosts++
		}
		sum.Done, sum.Failed, sum.Left = sum.Done+rec.done, sum.Failed+rec.failed, sum.Left+rec.left
		for i, n := range rec.novel.fields() { // what an answer was is kept nowhere else
			*c.want.Novelties.fields()[i] += *n
		}
		if want := rec.limits(budget).reached(rec.done+rec.failed, rec.bytes); rec.spent != want {
			c.Errorf("host %d is over its budget: %v, want %v", id, rec.spent, want)
		}
		if n := c.queued[id] + c.waiting[id]; rec.spent && n > 0 {
			c.want.ExhaustedHosts++
			c.want.Exhausted += n
		}
		due, is := c.ready[id]
		if rec.queued != c.queued[id] || rec.waiting != c.waiting[id] || is != rec.listed() || is && due != rec.due ||
			rec.queued > 0 && c.head[id].before(rec.head) || rec.queued > 0 && rec.stale > mostStale || rec.patterns != c.patterns[id] {
			c.Errorf("host %d has record %+v; it has %d and %d URLs from %v, ready %v %d, %d patterns", id, rec, c.queued[id],
				c.waiting[id], c.head[id], is, due, c.patterns[id])
		}
		rank, ranked := c.ranks[id]
		if ranked != (rec.queued > 0) || ranked && rank != rankOf(rec.queued) {
			c.Errorf("host %d with %d URLs has rank %d (%v)", id, rec.queued, rank, ranked)
		}
	})
	if sum.Done != c.want.Done || sum.Failed != c.want.Failed || sum.Left != c.want.Left {
		c.Errorf("hosts have %+v; a recount gives %+v", sum, c.want)
	}
}

func (c *recounting) sources() {
	var sum Source
	c.each('v', func(k, _ []byte) {
		id := binary.BigEndian.Uint32(k[3:])
		s, err := readSource(c.r, id)
		if err != nil {
			c.Fatal(err)
		}
		if s.Open != c.open[id] {
			c.Errorf("source %s has %d URLs to be fetched, want %d", s.Name, s.Open, c.open[id])
		}
		sum.Done, sum.Failed, sum.Left = sum.Done+s.Done, sum.Failed+s.Failed, sum.Left+s.Left
	})
	if sum.Done != c.want.Done || sum.Failed != c.want.Failed || sum.Left != c.want.Left {
		c.Errorf("sources have %+v; a recount gives %+v", sum, c.want)
	}
}
