package queue

import (
	"time"

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
