package ledgertest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
)

// walk is what has to be true of a ledger while owners do anything in any order.
type walk struct {
	*rig
	rand    *rand.Rand
	owners  []string
	ledgers map[string]connector.Ledger
	files   []connector.Original
	holds   map[string]hold     // by source
	shipped map[string][]string // by source, the destinations
	trace   []string
}

type hold struct {
	owner string
	alive bool // its owner was not late since
}

var both = []string{"here", "there"}

// anyOrder: what a ledger answers is what follows from what was done before, whatever that was.
func anyOrder(r *rig) {
	const walks, steps = 2, 70
	for n := range uint64(walks) {
		w := &walk{rig: r, rand: rand.New(rand.NewPCG(n, 7)), ledgers: map[string]connector.Ledger{},
			holds: map[string]hold{}, shipped: map[string][]string{}}
		for i := range 3 {
			owner := fmt.Sprintf("walker %d of %d", i, n)
			w.owners = append(w.owners, owner)
			w.ledgers[owner] = r.open(owner)
		}
		for i := range 5 {
			w.files = append(w.files, File(fmt.Sprintf("/data/%d/%d", n, i), fmt.Sprintf("content %d of %d", i/3, n)))
		}
		for i := range steps {
			w.step()
			if i%10 == 0 {
				w.look()
			}
			if r.Failed() {
				for _, line := range w.trace {
					r.Log(line)
				}
				return
			}
		}
		for _, l := range w.ledgers {
			w.close(l)
		}
	}
}

func (w *walk) close(l connector.Ledger) {
	w.Helper()
	if err := l.Close(); err != nil {
		w.Error(err)
	}
}

func (w *walk) step() {
	owner, o := w.owners[w.rand.IntN(len(w.owners))], w.files[w.rand.IntN(len(w.files))]
	say := func(format string, args ...any) {
		w.trace = append(w.trace, owner+" "+o.Source+": "+fmt.Sprintf(format, args...))
	}
	switch l := w.ledgers[owner]; w.rand.IntN(12) {
	case 0:
		say("is late")
		w.ageOwner(owner, time.Hour)
		for source, h := range w.holds {
			if h.owner == owner {
				w.holds[source] = hold{owner, false}
			}
		}
	case 1:
		say("renews")
		if _, err := l.Renew(w.Context()); err != nil {
			w.Error(err)
		}
	case 2:
		say("restarts")
		w.close(l)
		w.ledgers[owner] = w.open(owner)
	case 3, 4:
		destination := w.rand.IntN(len(both))
		last := slices.Contains(w.shipped[o.Source], both[1-destination]) && w.rand.IntN(2) == 0
		err := l.Record(w.Context(), o, To(o, both[destination], "/raw"), destination == 0, last)
		say("records %s, last %v: %v", both[destination], last, err)
		known := slices.Contains(w.shipped[o.Source], both[destination])
		switch {
		case w.holds[o.Source].owner == owner:
			if err == nil && !known {
				w.shipped[o.Source] = append(w.shipped[o.Source], both[destination])
			}
			if err != nil {
				w.Errorf("a held file: %v", err)
			}
			if last {
				delete(w.holds, o.Source)
			}
		case known != (err == nil) || !known && !fault.Is(err, fault.Conflict):
			w.Errorf("a file that is not held, and known %v: %v", known, err)
		}
	case 5:
		say("unlocks")
		w.unlock(l, o)
		if w.holds[o.Source].owner == owner {
			delete(w.holds, o.Source)
		}
	default:
		want := w.wanted(owner, o)
		c, err := l.Lock(w.Context(), o, w.rand.IntN(2) == 0)
		got := c.By
		switch {
		case c.Held:
			got = "held"
		case c.Done != nil:
			got = "done"
		}
		say("locks: %s %v", got, err)
		if err != nil || got != want || c.Held && (c.Same != nil) != w.elsewhere(o) {
			w.Errorf("lock: got %s, same %+v, %v; want %s, same %v", got, c.Same, err, want, w.elsewhere(o))
		}
		if want == "held" {
			w.take(owner, o)
		}
	}
}

// elsewhere reports whether the content of a file was shipped from another source.
func (w *walk) elsewhere(o connector.Original) bool {
	return slices.ContainsFunc(w.files, func(other connector.Original) bool {
		return other.SHA1 == o.SHA1 && other.Source != o.Source && len(w.shipped[other.Source]) > 0
	})
}

// wanted is what Lock has to say.
func (w *walk) wanted(owner string, o connector.Original) string {
	h, is := w.holds[o.Source]
	shipped := len(w.shipped[o.Source]) > 0
	switch {
	case is && h.owner == owner:
		return "held"
	case is && h.alive:
		return h.owner
	case !is && shipped:
		return "done"
	case shipped || w.elsewhere(o):
		return "held"
	}
	for _, other := range w.files {
		if h := w.holds[other.Source]; other.SHA1 == o.SHA1 && h.alive {
			return h.owner
		}
	}
	return "held"
}

// take makes a file the owner's. As long as nothing of its content is shipped, no other claim of that lives on.
func (w *walk) take(owner string, o connector.Original) {
	if len(w.shipped[o.Source]) == 0 && !w.elsewhere(o) {
		for _, other := range w.files {
			if other.SHA1 == o.SHA1 {
				delete(w.holds, other.Source)
			}
		}
	}
	w.holds[o.Source] = hold{owner, true}
}

// look compares what is found with what was done. A row of the first table that is not transferred has a lock of ours
// beside it, else it would be taken for one of rawtransfer.
func (w *walk) look() {
	sources := make([]string, len(w.files))
	for i, o := range w.files {
		sources[i] = o.Source
	}
	found := w.find(w.ledgers[w.owners[0]], sources...)
	for _, source := range sources {
		_, held := w.holds[source]
		want := len(w.shipped[source])
		if held {
			want = 0
		}
		if got := len(found[source].Shipments); got != want {
			w.Errorf("found %+v, held %v, shipped to %v", found[source], held, w.shipped[source])
		}
	}
	orphans := w.rows(`SELECT source_filepath FROM %s AS t WHERE file_transferred_at IS NULL AND NOT EXISTS
		(SELECT 1 FROM %[1]s_holdfast_locks AS l WHERE l.sha1 = t.sha1_hash AND l.source = t.source_filepath)`, w.Table)
	if len(orphans) > 0 {
		w.Errorf("rows without locks: %v", orphans)
	}
}
