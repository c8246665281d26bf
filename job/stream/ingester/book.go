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
// done and the newest of the others, whose batches may come once more. An error of a transaction ends the job, which
// reads the store again: memory may be ahead of it then.
type book struct {
	st     *store.Store
	source string // by its name the gaps of lost windows are kept

	mu      sync.Mutex // guards the below; is locked within a transaction, never around one
	epochs  map[string]*epoch
	current string // epoch of the streamer that is listened to, "" for none yet
	near    map[ID]*Window
	hashes  map[string][]place // where a payload with this hash belongs, of near
	log     noticeLog
	durable map[string]wire.Confirm // what is not needed any more, by epoch, as far as that is durable
}

// epoch is what is known of a streamer's numbering.
type epoch struct {
	Epoch string `json:"epoch"`
	First uint64 `json:"first"` // every window from this number
	Known uint64 `json:"known"` // to that one is in the book, or was
	// Met: a beacon has said what the streamer had when we met it. What it had not was never ours to lose.
	Met bool `json:"met"`
	// Adopted is when it became the one that is listened to.
	Adopted time.Time `json:"adopted,omitzero"`
}

// mostNew is how many windows a message may make known at once: no streamer sends so many while nobody hears it.
const mostNew = 100_000

func keyEpoch(name string) store.Key { return store.Job.K().Str("stream/epoch/").Str(name) }

func keyWindow(id ID) store.Key { return keyWindows().Raw(id.bytes()) }

// bytes are the id in keys: names are of any length.
func (id ID) bytes() []byte {
	sum := sha256.Sum256([]byte(id.Epoch))
	return store.Key(sum[:8]).U64(id.Number)
}

func keyWindows() store.Key { return store.Job.K().Str("stream/window/") }

// keyPast is where a window stands that is done and not near any more, by its time.
func keyPast(from time.Time, id ID) store.Key { return keyPastFrom(from).Raw(id.bytes()) }

func keyPastFrom(from time.Time) store.Key {
	return store.Job.K().Str("stream/past/").U64(uint64(from.Unix()) ^ 1<<63) // times before 1970 come first
}

// openBook loads what the store holds.
func openBook(ctx context.Context, st *store.Store, source string) (*book, error) {
	b := &book{st: st, source: source, epochs: map[string]*epoch{}, near: map[ID]*Window{},
		hashes: map[string][]place{}, durable: map[string]wire.Confirm{}}
	err := st.View(ctx, func(r store.Reader) error {
		from := keyEpoch("")
		all, failed := r.Scan(from, from.End())
		for _, v := range all {
			e := new(epoch)
			if err := json.Unmarshal(v, e); err != nil {
				return fmt.Errorf("read an epoch: %w", err)
			}
			if b.epochs[e.Epoch] = e; b.current == "" || e.Adopted.After(b.epochs[b.current].Adopted) {
				b.current = e.Epoch
			}
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
			b.hold(w)
		}
		if err := failed(); err != nil {
			return err
		}
		for name := range b.epochs {
			b.durable[name] = b.clear(name)
		}
		var err error
		b.log, err = openLog(r, st.Lineage().String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open the windows of the stream: %w", err)
	}
	return b, nil
}

// hold keeps a window in memory, and knows its batches.
func (b *book) hold(w *Window) {
	b.near[w.ID()] = w
	for i, p := range w.Parts {
		b.index(p.Hash, place{w.ID(), i})
	}
}

func (b *book) index(hash string, at place) {
	if hash != "" && !slices.Contains(b.hashes[hash], at) {
		b.hashes[hash] = append(b.hashes[hash], at)
	}
}

// let takes a window out of memory.
func (b *book) let(w *Window) {
	delete(b.near, w.ID())
	for _, p := range w.Parts {
		left := slices.DeleteFunc(b.hashes[p.Hash], func(at place) bool { return at.id == w.ID() })
		if b.hashes[p.Hash] = left; len(left) == 0 {
			delete(b.hashes, p.Hash)
		}
	}
}

func (b *book) put(tx *store.Tx, w *Window) { tx.Set(keyWindow(w.ID()), w.bytes()) }

// manifest takes a manifest: its window and those in front of it become known. Another than before for the same
// window is a Conflict.
func (b *book) manifest(m wire.Manifest, now time.Time) error {
	return b.update(func(tx *store.Tx) error {
		if err := b.know(tx, m.Epoch, m.Number, 0, now); err != nil {
			return err
		}
		w := b.near[ID{m.Epoch, m.Number}]
		if w == nil { // before our time or long done, and sent again for somebody
			return nil
		}
		if err := w.Manifest(m, now); err != nil {
			return fault.As(fault.Conflict, err)
		}
		b.hold(w)
		b.put(tx, w)
		return nil
	})
}

// beacon takes what a streamer says it has: windows that nobody heard of become known, those that it can't send
// any more are lost.
func (b *book) beacon(m wire.Beacon, now time.Time) (lost []*Window, err error) {
	if !b.news(m) {
		return nil, nil
	}
	err = b.update(func(tx *store.Tx) error {
		if err := b.know(tx, m.Epoch, m.Newest, m.Oldest, now); err != nil {
			return err
		}
		for _, w := range b.windows() {
			if w.behind(m) {
				if err := b.giveUp(tx, w, "the streamer does not have it any more", now); err != nil {
					return err
				}
				lost = append(lost, w)
			}
		}
		b.cleared(tx, m.Epoch)
		return nil
	})
	return lost, err
}

// news reports whether a beacon tells anything: most don't, and cost no commit.
func (b *book) news(m wire.Beacon) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.epochs[m.Epoch]
	if m.Newest == 0 || e == nil || !e.Met || m.Newest > e.Known {
		return m.Newest > 0
	}
	for _, w := range b.near {
		if w.behind(m) {
			return true
		}
	}
	return false
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
func (b *book) gone(m wire.Gone, now time.Time) (lost []*Window, err error) {
	err = b.update(func(tx *store.Tx) error {
		w := b.near[ID{m.Epoch, m.Number}]
		if w == nil || w.State != Open {
			return nil
		}
		lost = append(lost, w)
		b.cleared(tx, m.Epoch)
		return b.giveUp(tx, w, "the streamer does not have it any more", now)
	})
	return lost, err
}

// overdue gives up the windows of which nothing came for so long.
func (b *book) overdue(after time.Duration, now time.Time) (lost []*Window, err error) {
	old := func(w *Window) bool {
		at := w.Met
		if w.Came.After(at) {
			at = w.Came
		}
		return w.State == Open && now.Sub(at) >= after
	}
	b.mu.Lock()
	there := slices.ContainsFunc(slices.Collect(maps.Values(b.near)), old)
	b.mu.Unlock()
	if !there {
		return nil, nil
	}
	err = b.update(func(tx *store.Tx) error {
		for _, w := range b.windows() {
			if old(w) {
				if err := b.giveUp(tx, w, fmt.Sprintf("nothing of it came for %v", after), now); err != nil {
					return err
				}
				lost = append(lost, w)
			}
		}
		return nil
	})
	return lost, err
}

// know makes every window up to newest known; oldest is the first one that a beacon tells of, 0 if none does.
func (b *book) know(tx *store.Tx, name string, newest, oldest uint64, now time.Time) error {
	e := epoch{Epoch: name, First: max(oldest, 1), Known: max(oldest, 1) - 1}
	if known := b.epochs[name]; known != nil {
		e = *known
	} else if oldest == 0 {
		e.First, e.Known = newest, newest-1
	}
	fresh := [][2]uint64{{e.Known + 1, newest}}
	if !e.Met && oldest > 0 {
		fresh = append(fresh, [2]uint64{oldest, e.First - 1})
		e.First, e.Met = min(e.First, oldest), true
	}
	for _, span := range fresh {
		if span[1] >= span[0] && span[1]-span[0] >= mostNew {
			return fault.New(fault.Invalid, "the streamer is at window %d and the last one known is %d: that can't be",
				newest, e.Known)
		}
		for number := span[0]; number <= span[1]; number++ {
			w := unmade(ID{name, number}, now)
			b.hold(w)
			b.put(tx, w)
		}
	}
	if e.Known = max(e.Known, newest); b.current != name {
		e.Adopted = now
	}
	b.epochs[name], b.current = &e, name
	return b.putEpoch(tx, &e)
}

func (b *book) putEpoch(tx *store.Tx, e *epoch) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	tx.Set(keyEpoch(e.Epoch), text)
	return nil
}

// windows returns those in memory, oldest first.
func (b *book) windows() []*Window {
	all := slices.Collect(maps.Values(b.near))
	slices.SortFunc(all, func(x, y *Window) int {
		return cmp.Or(x.Met.Compare(y.Met), cmp.Compare(x.Epoch, y.Epoch), cmp.Compare(x.Number, y.Number))
	})
	return all
}

// place is a batch of a window. lastPart stands for the index of a window's last batch while others may still come in
// front of it.
type place struct {
	id    ID
	index int
}

const lastPart = -1

// at is the index of a place in a window as it is now.
func (w *Window) at(index int) int {
	if index == lastPart {
		return len(w.Parts) - 1
	}
	return index
}

// find returns where a payload belongs that is still missing and how many rows it has, and marks it as on its
// way; rows is -1 if it is missing nowhere. known says that a window has it.
func (b *book) find(hash string, now time.Time) (at place, rows int, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, at := range b.hashes[hash] {
		w := b.near[at.id]
		if i, ok := w.find(hash); ok {
			w.Take(i, now)
			if at.index = i; w.Epoch == oldEpoch && i == len(w.Parts)-1 {
				at.index = lastPart
			}
			return at, w.Parts[i].Rows, true
		}
		known = true
	}
	return place{}, -1, known
}

// release says that batches which find returned are on their way no longer.
func (b *book) release(places []place) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, at := range places {
		if w := b.near[at.id]; w != nil {
			w.Parts[w.at(at.index)].taking = false
		}
	}
}

// kept is the part of the commit of a page that says which batches it holds, in the blocks from one sequence to
// the other.
func (b *book) kept(tx *store.Tx, places []place, first, last uint64, now time.Time) error {
	changed := map[*Window]bool{}
	for _, at := range places {
		w := b.near[at.id]
		if w == nil {
			return fault.New(fault.Unknown, "window %v: a batch came for it, and it is not open", at.id)
		}
		w.Kept(w.at(at.index), first, last, now)
		changed[w] = true
	}
	for w := range changed {
		if err := b.found(tx, w); err != nil {
			return err
		}
		b.put(tx, w)
		b.cleared(tx, w.Epoch)
	}
	return nil
}

// asks returns the windows that are to be asked for now, oldest first, and when to look again; zero for never.
func (b *book) asks(now time.Time) (asks []ask, next time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.windows() {
		due, at := w.Due(now)
		if w.Epoch == oldEpoch {
			due, at = b.dueOld(w, now)
		}
		if due {
			asks = append(asks, b.ask(w, now))
			w.Asked(now)
			at = w.next
		}
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return asks, next
}

// ask is what a streamer is asked for a window.
type ask struct {
	wire.Ask
	key string // of the window, for a streamer of old
	of  int    // how many batches it has, as far as is known
}

func (b *book) ask(w *Window, now time.Time) ask {
	missing := w.Missing()
	if w.Epoch == oldEpoch {
		missing = w.missingOld(b.over(w, now))
	}
	return ask{Ask: wire.Ask{Epoch: w.Epoch, Number: w.Number, Batches: missing}, key: w.Key, of: len(w.Parts)}
}

// heard says that from now on everything is heard.
func (b *book) heard() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.near {
		w.Heard()
	}
}

// confirmed is what is not needed any more of an epoch.
func (b *book) confirmed(name string) wire.Confirm {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.durable[name]
}

// cleared has what is not needed any more confirmed once the transaction is durable.
func (b *book) cleared(tx *store.Tx, name string) {
	if name == oldEpoch {
		return
	}
	c := b.clear(name)
	tx.OnDurable(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if old := b.durable[name]; c.UpTo > old.UpTo || c.UpTo == old.UpTo && c.Batches > old.Batches {
			b.durable[name] = c
		}
	})
}

// clear is what is not needed any more of an epoch: all windows up to one, and some batches of the next.
func (b *book) clear(name string) wire.Confirm {
	c := wire.Confirm{Epoch: name}
	e := b.epochs[name]
	if e == nil {
		return c
	}
	c.UpTo = e.Known
	var first *Window
	for id, w := range b.near {
		if id.Epoch == name && w.State == Open && (first == nil || id.Number < first.Number) {
			first = w
		}
	}
	if first != nil {
		c.UpTo = first.Number - 1
		for _, p := range first.Parts {
			if p.Have {
				c.Batches++
			}
		}
	}
	return c
}
