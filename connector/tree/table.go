package tree

import (
	"container/heap"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// entry is a path at which a file may be.
type entry struct {
	path   string
	found  Found
	missed bool // the watch should have told of it

	closed bool // its writer closed it, and nothing was told since
	moved  bool // likewise: it was moved in
	sure   bool // it has not changed for long
	again  bool // it was moved in since it was given last, if it was: its receiver may have missed it meanwhile

	first   time.Time
	written time.Time // when somebody was last known to write
	looked  bool      // what follows is known
	id      Identity
	since   time.Time // it is as it is
	part    bool      // it was not whole by what it says itself, when it was looked at last

	due time.Time // when it is to be looked at
	at  int       // in the heap
}

// table holds the paths that are to be looked at, each once, and never more than its limit by much. Events
// come by touch, scans by offer; the giver takes.
type table struct {
	limit    int
	patience time.Duration
	wake     chan struct{} // the giver has something to do earlier than it thought
	freed    chan struct{} // there is room again

	mu     sync.Mutex // guards what follows
	root   root       // zero: it is away
	byPath map[string]*entry
	due    dueHeap
	taken  int
	ended  bool // nothing more comes
}

func newTable(limit int, patience time.Duration) *table {
	return &table{limit: limit, patience: patience, wake: make(chan struct{}, 1), freed: make(chan struct{}, 1),
		byPath: map[string]*entry{}}
}

// happened is what an event says of a file.
type happened uint8

const (
	wasTouched happened = iota
	wasClosed
	wasMoved
)

// touch takes an event. It returns false if there is no room.
func (t *table) touch(path string, what happened) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	e := t.byPath[path]
	if e == nil {
		if len(t.due) >= t.limit {
			return false
		}
		// The first look comes early: there must be two, patience apart.
		e = &entry{path: path, first: now, due: now.Add(t.patience / 8)}
		t.push(e)
	}
	e.found, e.missed, e.sure = ByWatch, false, false
	e.closed, e.moved = what == wasClosed, what == wasMoved
	e.again = e.again || e.moved
	if what == wasTouched {
		e.written = now
	} else if e.due.After(now) {
		e.due = now
		heap.Fix(&t.due, e.at)
		t.rouse(e)
	}
	return true
}

// offer takes what a scan found, unless the path is in the table.
func (t *table) offer(path string, st *unix.Stat_t, found Found, missed, sure, again bool) (fresh bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byPath[path]; e != nil {
		e.again = e.again || again
		return false
	}
	now := time.Now()
	e := &entry{path: path, found: found, missed: missed, sure: sure, again: again, first: now, looked: true,
		id: identify(path, st), since: now, due: now}
	if !sure {
		e.due = now.Add(t.patience)
	}
	t.push(e)
	return true
}

func (t *table) push(e *entry) {
	t.byPath[e.path] = e
	heap.Push(&t.due, e)
	t.rouse(e)
}

// rouse wakes the giver if e comes first.
func (t *table) rouse(e *entry) {
	if e.at == 0 {
		signal(t.wake)
	}
}

// take removes what is due, and says how long until something will be: -1 if the table is empty.
func (t *table) take(most int) (es []*entry, wait time.Duration, r root) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for len(t.due) > 0 && len(es) < most {
		e := t.due[0]
		if quiet := e.written.Add(t.patience); !e.closed && !e.moved && e.looked && quiet.After(e.due) {
			e.due = quiet // it was written while it waited
			heap.Fix(&t.due, 0)
			continue
		}
		if e.due.After(now) {
			break
		}
		heap.Pop(&t.due)
		delete(t.byPath, e.path)
		es = append(es, e)
	}
	t.taken = len(es)
	wait = -1
	if len(t.due) > 0 {
		wait = t.due[0].due.Sub(now)
	}
	if len(es) > 0 && len(t.due) < t.scans() {
		signal(t.freed)
	}
	return es, wait, t.root
}

// back puts an entry in again that is to be looked at later. What events said of it meanwhile counts.
func (t *table) back(e *entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byPath[e.path]
	if n == nil {
		t.push(e)
		return
	}
	n.first, n.looked, n.id, n.since = e.first, e.looked, e.id, e.since
	n.again, n.part = n.again || e.again, e.part
}

// room reports whether scans may go on: half of the table is for events.
func (t *table) room() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.due) < t.scans()
}

func (t *table) scans() int { return max(t.limit/2, 1) }

func (t *table) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.due) + t.taken
}

// held are some of the files that are not whole yet, those that have waited for longest first, and how many there are.
func (t *table) held(most int) (some []Held, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.due {
		if !e.part {
			continue
		}
		n++
		at, _ := slices.BinarySearchFunc(some, e.first, func(h Held, first time.Time) int { return h.Since.Compare(first) })
		if at < most {
			some = slices.Insert(some, at, Held{e.path, e.first})
			some = some[:min(len(some), most)]
		}
	}
	return some, n
}

func (t *table) stand(r root) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.root = r
}

func (t *table) finish() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	signal(t.wake)
}

func (t *table) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ended && len(t.due) == 0
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// dueHeap has what is due first in front.
type dueHeap []*entry

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push appends an entry; heap calls it.
func (h *dueHeap) Push(x any) {
	e := x.(*entry)
	e.at = len(*h)
	*h = append(*h, e)
}

// Pop removes the last; heap calls it.
func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
