package ingester

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/job/stream/wire"
	"holdfast/kernel/store"
)

// book is what an ingester knows of all windows: all of them in the store, and in memory those that are not
// done, the lost ones among them, whose batches may come after all. An error of a transaction ends the job, which
// reads the store again: memory may be ahead of it then.
type book struct {
	st *store.Store

	mu     sync.Mutex // guards the below; is locked within a transaction, never around one
	epochs map[string]*epoch
	open   map[ID]*Window // every one that still needs something
}

// epoch is what is known of a streamer's numbering.
type epoch struct {
	Epoch string `json:"epoch"`
	First uint64 `json:"first"` // every window from this number
	Known uint64 `json:"known"` // to that one is in the book
	// Met: a beacon has said what the streamer had when we met it. What it had not was never ours to lose.
	Met bool `json:"met"`
}

// mostNew is how many windows a message may make known at once: no streamer sends so many while nobody hears it.
const mostNew = 100_000

func keyEpoch(name string) store.Key { return store.Job.K().Str("stream/epoch/").Str(name) }

func keyWindow(id ID) store.Key {
	sum := sha256.Sum256([]byte(id.Epoch)) // names are of any length
	return keyWindows().Raw(sum[:8]).U64(id.Number)
}

func keyWindows() store.Key { return store.Job.K().Str("stream/window/") }

// openBook loads what the store holds.
func openBook(ctx context.Context, st *store.Store) (*book, error) {
	b := &book{st: st, epochs: map[string]*epoch{}, open: map[ID]*Window{}}
	err := st.View(ctx, func(r store.Reader) error {
		from := keyEpoch("")
		all, failed := r.Scan(from, from.End())
		for _, v := range all {
			e := new(epoch)
			if err := json.Unmarshal(v, e); err != nil {
				return fmt.Errorf("read an epoch: %w", err)
			}
			b.epochs[e.Epoch] = e
		}
		if err := failed(); err != nil {
			return err
		}
		all, failed = r.Scan(keyWindows(), keyWindows().End())
		for _, v := range all {
			w, err := windowOf(v)
			if err != nil {
				return err
			}
			if w.State != Told {
				b.open[w.ID()] = w
			}
		}
		return failed()
	})
	if err != nil {
		return nil, fmt.Errorf("open the windows of the stream: %w", err)
	}
	return b, nil
}

// get returns a window from memory or the store, nil if it is not known.
func (b *book) get(r store.Reader, id ID) (*Window, error) {
	if w := b.open[id]; w != nil {
		return w, nil
	}
	v, ok, err := r.Get(keyWindow(id))
	if err != nil || !ok {
		return nil, err
	}
	return windowOf(v)
}

func (b *book) put(tx *store.Tx, w *Window) {
	tx.Set(keyWindow(w.ID()), w.bytes())
	if w.State == Told {
		delete(b.open, w.ID())
	} else {
		b.open[w.ID()] = w
	}
}

// manifest takes a manifest: its window and those in front of it become known. Another than before for the same
// window is a Conflict.
func (b *book) manifest(m wire.Manifest, now time.Time) error {
	return b.update(func(tx *store.Tx) error {
		if err := b.know(tx, m.Epoch, m.Number, 0, now); err != nil {
			return err
		}
		w, err := b.get(tx, ID{m.Epoch, m.Number})
		if err != nil {
			return err
		}
		if w == nil { // before our time, and sent again for somebody
			return nil
		}
		if w.State == Lost { // it was lost without being known
			if !w.Unmade {
				return nil
			}
			w.State, w.Because, w.Since = Open, "", now
		}
		if err := w.Manifest(m, now); err != nil {
			return fault.As(fault.Conflict, err)
		}
		b.put(tx, w)
		return nil
	})
}

// beacon takes what a streamer says it has: windows that nobody heard of become known, those that it can't send
// any more are lost.
func (b *book) beacon(m wire.Beacon, now time.Time) error {
	if !b.news(m) {
		return nil
	}
	return b.update(func(tx *store.Tx) error {
		if err := b.know(tx, m.Epoch, m.Newest, m.Oldest, now); err != nil {
			return err
		}
		for _, w := range b.windows() {
			if w.behind(m) {
				w.GiveUp("the streamer does not have it any more", now)
				b.put(tx, w)
			}
		}
		return nil
	})
}

// news reports whether a beacon tells anything: most don't, and cost no commit.
func (b *book) news(m wire.Beacon) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.epochs[m.Epoch]
	if m.Newest == 0 || e == nil || !e.Met || m.Newest > e.Known {
		return m.Newest > 0
	}
	return slices.ContainsFunc(slices.Collect(maps.Values(b.open)), func(w *Window) bool { return w.behind(m) })
}

// update is a transaction that changes windows.
func (b *book) update(change func(tx *store.Tx) error) error {
	return b.st.Update(func(tx *store.Tx) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		return change(tx)
	})
}

// gone takes a refusal.
func (b *book) gone(m wire.Gone, now time.Time) error {
	return b.update(func(tx *store.Tx) error {
		w := b.open[ID{m.Epoch, m.Number}]
		if w == nil || w.State != Open {
			return nil
		}
		w.GiveUp("the streamer does not have it any more", now)
		b.put(tx, w)
		return nil
	})
}

// know makes every window up to newest known; oldest is the first one that a beacon tells of, 0 if none does.
func (b *book) know(tx *store.Tx, name string, newest, oldest uint64, now time.Time) error {
	e := epoch{Epoch: name, First: max(oldest, 1), Known: max(oldest, 1) - 1}
	if known := b.epochs[name]; known != nil {
		e = *known
	} else if oldest == 0 {
		e.First, e.Known = newest, newest-1
	}
	from, to := e.Known+1, newest
	if !e.Met && oldest > 0 {
		from, e.First = min(from, oldest), min(e.First, oldest)
		e.Met = true
	}
	if to > from && to-from > mostNew {
		return fault.New(fault.Invalid, "the streamer is at window %d and the last one known is %d: that can't be",
			newest, e.Known)
	}
	for number := from; number <= to; number++ {
		id := ID{name, number}
		if w, err := b.get(tx, id); err != nil {
			return err
		} else if w == nil {
			b.put(tx, unmade(id, now))
		}
	}
	e.Known = max(e.Known, newest)
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	tx.Set(keyEpoch(name), text)
	b.epochs[name] = &e
	return nil
}

// windows returns those that still need something, oldest first.
func (b *book) windows() []*Window {
	all := slices.Collect(maps.Values(b.open))
	slices.SortFunc(all, func(x, y *Window) int {
		return cmp.Or(x.Since.Compare(y.Since), cmp.Compare(x.Epoch, y.Epoch), cmp.Compare(x.Number, y.Number))
	})
	return all
}

// place is a batch of a window.
type place struct {
	id    ID
	index int
}

// find returns where a payload belongs that is still missing and how many rows it has, and marks it as on its
// way; rows is -1 if it is missing nowhere. known says that a window that needs something has it.
func (b *book) find(hash string, now time.Time) (at place, rows int, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.windows() {
		if i, ok := w.Find(hash); ok {
			w.Take(i, now)
			return place{w.ID(), i}, w.Parts[i].Rows, true
		}
		known = known || slices.ContainsFunc(w.Parts, func(p Part) bool { return p.Hash == hash })
	}
	return place{}, -1, known
}

// release says that batches which find returned are on their way no longer.
func (b *book) release(places []place) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, at := range places {
		if w := b.open[at.id]; w != nil {
			w.Parts[at.index].taking = false
		}
	}
}

// kept is the part of the commit of a page that says which batches it holds, in the blocks from one sequence to
// the other.
func (b *book) kept(tx *store.Tx, places []place, first, last uint64, now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, at := range places {
		w := b.open[at.id]
		if w == nil {
			return fault.New(fault.Unknown, "window %v: a batch came for it, and it is not open", at.id)
		}
		w.Kept(at.index, first, last, now)
		b.put(tx, w)
	}
	return nil
}

// asks returns what is to be asked for now, oldest window first, and when to look again; zero for never.
func (b *book) asks(now time.Time) (asks []wire.Ask, next time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.windows() {
		due, at := w.Due(now)
		if due {
			asks = append(asks, wire.Ask{Epoch: w.Epoch, Number: w.Number, Batches: w.Missing()})
			w.Asked(now)
			at = w.next
		}
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return asks, next
}

// heard says that from now on everything is heard.
func (b *book) heard() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.open {
		w.Heard()
	}
}
