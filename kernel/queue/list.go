package queue

import (
	"encoding/binary"
	"slices"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// Info is a task as people see it.
type Info struct {
	ID       uint64
	State    State
	Key      string
	Order    string
	Lane     int
	Attempts int
	Put      time.Time
	Since    time.Time // when it came into its state
	Due      time.Time // when a waiting task is due; zero if it waits for another of its order
	Reason   string    // what the last attempt said
}

func (t *task) info() Info {
	i := Info{ID: t.id, State: t.state, Key: t.key, Order: t.order, Lane: t.lane,
		Attempts: int(t.attempts), Put: timeOf(t.put), Since: timeOf(t.since), Reason: t.reason}
	switch t.state {
	case behind:
		i.State = Waiting
	case again:
		i.State = Ready
	case Waiting:
		i.Due = timeOf(t.due)
	}
	return i
}

// indexes are the parts of the keys under which the tasks of a state are found.
func indexes(s State) string {
	switch s {
	case Ready:
		return "r"
	case Leased:
		return "l"
	case Waiting:
		return "wx"
	case Dead:
		return "d"
	}
	return ""
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

// List returns up to limit tasks of a state, in the order in which they come up, and the place to
// go on from: pass it as after to get the next ones; nil means that there are no more.
func (q *Queue) List(r store.Reader, s State, after []byte, limit int) (tasks []Info, next []byte,
	err error) {
	for _, part := range []byte(indexes(s)) {
		from := q.part(part)
		if len(after) > 0 {
			if after[0] > part {
				continue
			}
			if after[0] == part {
				from = append(q.metaKey().Raw(after), 0)
			}
		}
		entries, fail := r.Scan(from, q.part(part).End())
		for k, v := range entries {
			if len(tasks) == limit {
				return tasks, next, nil
			}
			id, err := idIn(part, k, v)
			if err != nil {
				return nil, nil, err
			}
			t, err := q.mustTask(r, id)
			if err != nil {
				return nil, nil, err
			}
			tasks = append(tasks, t.info())
			next = slices.Clone(k[len(q.metaKey()):])
		}
		if err := fail(); err != nil {
			return nil, nil, err
		}
	}
	return tasks, nil, nil
}

// Show returns a task and its payload; ok is false if it is not there (any more).
func (q *Queue) Show(r store.Reader, id uint64) (info Info, payload []byte, ok bool, err error) {
	t, ok, err := q.task(r, id)
	if err != nil || !ok {
		return Info{}, nil, false, err
	}
	payload, err = q.payload(r, id)
	return t.info(), payload, true, err
}

// Fate is what a queue knows of a key.
type Fate struct {
	ID      uint64 // of the task that is there, else 0
	Done    bool   // it was done and is remembered
	Dropped bool   // likewise
}

// Find looks a key up; ok is false if nothing is known of it.
func (q *Queue) Find(r store.Reader, key string) (f Fate, ok bool, err error) {
	k, ok, err := q.lookUp(r, key)
	if err != nil || !ok {
		return Fate{}, false, err
	}
	return Fate{ID: k.id, Done: k.kind == keyDone, Dropped: k.kind == keyDropped}, true, nil
}
