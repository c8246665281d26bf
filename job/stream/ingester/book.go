package ingester

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
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

// book is what an ingester knows of all windows: all of them in the store, and in memory those that are not done and the
// newest of the others, whose batches may come once more.
//
// Memory changes within a transaction, which others build on before it is durable. If one fails, for want of room or
// because a message contradicts itself, memory is ahead of the store, and the next transaction reads it anew: each change
// has a turn, whose number stands in both. What is said to others is what is durable: confirms and told.
type book struct {
	st     *store.Store
	source string // by its name the gaps of lost windows are kept
	// count counts the different rows of a window that the table has at least, 0 if that can't be known. Nil counts nothing.
	count  func(r store.Reader, w *window) (int, error)
	awaits bool // there will be a processor: no notice is let go that none has done with

	mu      sync.Mutex // guards the below; is locked within a transaction, never around one
	turn    uint64
	epochs  map[string]*epoch
	current string // epoch of the streamer that is listened to, "" for none yet
	near    map[windowID]*window
	open    map[windowID]*window  // of near: those that lack batches
	ready   map[windowID]*window  // of near: those that are to be stored, but for the sinks
	noticed map[uint64]windowID   // of near, by the number of the newest notice
	hashes  map[string][]windowID // of near: which ones have a batch with this hash
	log     noticeLog

	flying  map[place]bool // batches that are on their way into the spool
	look    bool           // a window may be stored, and nobody has looked
	idle    time.Time      // nobody need be asked for anything before
	hearing time.Time      // since when everything is heard
	// What is durable: of windows by the streamer's epoch, and the number of the newest notice.
	confirms map[string]confirm
	told     uint64
}

// confirm is what is not needed any more of an epoch, as of a turn.
type confirm struct {
	wire.Confirm
	turn uint64
}

// epoch is what is known of a streamer's numbering.
type epoch struct {
	Epoch string `json:"epoch"`
	First uint64 `json:"first"` // every window from this number
	Known uint64 `json:"known"` // to that one is in the book, or was
	// Adopted is when it became the one that is listened to, for a person; Order tells which one came last, for a clock
	// may be set back. It is 0 of one that was adopted before there was an order.
	Adopted time.Time `json:"adopted,omitzero"`
	Order   uint64    `json:"order,omitempty"`
	// End: its streamer has said that there is nothing behind Known.
	End bool `json:"end,omitempty"`
}

// behind reports whether it was adopted behind another.
func (e *epoch) behind(other *epoch) bool {
	return cmp.Or(cmp.Compare(e.Order, other.Order), e.Adopted.Compare(other.Adopted)) > 0
}

// adopt makes an epoch the one that is listened to.
func (b *book) adopt(e *epoch, now time.Time) {
	b.current, e.Adopted = e.Epoch, now
	for _, other := range b.epochs {
		if other != e {
			e.Order = max(e.Order, other.Order+1)
		}
	}
}

func keyEpoch(name string) store.Key { return store.Job.K().Str("stream/epoch/").Str(name) }

func keyTurn() store.Key { return store.Job.K().Str("stream/turn") }

func keyWindow(id windowID) store.Key { return keyWindows().Raw(id.hashed()) }

// hashed is the id in keys: names are of any length.
func (id windowID) hashed() []byte {
	sum := sha256.Sum256([]byte(id.Epoch))
	return store.Key(sum[:8]).U64(id.Number)
}

func keyWindows() store.Key { return store.Job.K().Str("stream/window/") }

// openBook loads what the store holds. A store that was restored or salvaged since is another life of it.
func openBook(ctx context.Context, st *store.Store, source string) (*book, error) {
	b := &book{st: st, source: source, near: map[windowID]*window{}, flying: map[place]bool{},
		confirms: map[string]confirm{}}
	err := st.View(ctx, b.load)
	if err == nil {
		err = b.update(func(tx *store.Tx) error { return b.renew(tx, tx.Lineage().String(), now()) })
	}
	if err != nil {
		return nil, fmt.Errorf("open the windows of the stream: %w", err)
	}
	for name := range b.epochs {
		b.confirms[name] = confirm{b.clear(name), b.turn}
	}
	b.told = b.log.Newest
	return b, nil
}

// now is the time as it is kept.
func now() time.Time { return time.Now().UTC() }

// load reads the store. What memory alone knows of windows stays.
func (b *book) load(r store.Reader) error {
	before := b.near
	b.epochs, b.current, b.look, b.idle = map[string]*epoch{}, "", true, time.Time{}
	b.near, b.open, b.ready = map[windowID]*window{}, map[windowID]*window{}, map[windowID]*window{}
	b.noticed, b.hashes = map[uint64]windowID{}, map[string][]windowID{}
	v, ok, err := r.Get(keyTurn())
	if b.turn = 0; ok && len(v) == 8 {
		b.turn = binary.BigEndian.Uint64(v)
	}
	if err != nil {
		return err
	}
	all, failed := r.Scan(keyEpoch(""), keyEpoch("").End())
	for _, v := range all {
		e := new(epoch)
		if err := json.Unmarshal(v, e); err != nil {
			return fault.New(fault.Corrupt, "read an epoch: %w", err)
		}
		if b.epochs[e.Epoch] = e; b.current == "" || e.behind(b.epochs[b.current]) {
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
		if old := before[w.windowID]; old != nil {
			w.asks, w.next, w.askedLast, w.spoilt = old.asks, old.next, old.askedLast, old.spoilt
		}
		b.hold(w)
	}
	if err := failed(); err != nil {
		return err
	}
	b.log, err = readLog(r)
	return err
}

// update is a transaction that changes windows. If it fails, memory is put right at once.
func (b *book) update(change func(tx *store.Tx) error) error {
	err := b.st.Update(func(tx *store.Tx) error { return b.within(tx, change) })
	if err != nil { // else the next one does it
		_ = b.st.Update(func(tx *store.Tx) error { return b.within(tx, func(*store.Tx) error { return nil }) })
	}
	return err
}

// within is a part of a transaction that changes windows.
func (b *book) within(tx *store.Tx, change func(tx *store.Tx) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.begin(tx); err != nil {
		return err
	}
	return change(tx)
}

// begin is the first step of each transaction: if the one before was not kept, memory is ahead of the store.
func (b *book) begin(tx *store.Tx) error {
	turn := uint64(0)
	_, err := tx.Look(keyTurn(), func(v []byte) error {
		if len(v) == 8 {
			turn = binary.BigEndian.Uint64(v)
		}
		return nil
	})
	if err != nil || turn == b.turn {
		return err
	}
	return b.load(tx)
}

// changes says that the transaction changes what is in memory.
func (b *book) changes(tx *store.Tx) {
	b.turn++
	b.idle = time.Time{}
	tx.Set(keyTurn(), store.Key(nil).U64(b.turn))
}

func (b *book) put(tx *store.Tx, w *window) {
	b.file(w)
	b.changes(tx)
	tx.Set(keyWindow(w.windowID), w.bytes())
}

func (b *book) putEpoch(tx *store.Tx, e *epoch) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	b.changes(tx)
	tx.Set(keyEpoch(e.Epoch), text)
	return nil
}

// hold keeps a window in memory, and knows its batches.
func (b *book) hold(w *window) {
	b.near[w.windowID] = w
	b.file(w)
	for _, p := range w.Parts {
		b.index(p.Hash, w.windowID)
	}
}

// file notes where a window stands: the work of a commit follows what is open, not what is in memory.
func (b *book) file(w *window) {
	delete(b.open, w.windowID)
	delete(b.ready, w.windowID)
	switch {
	case w.State == Open:
		b.open[w.windowID] = w
	case w.waits():
		b.ready[w.windowID] = w
	}
	if w.Notice > 0 {
		b.noticed[w.Notice] = w.windowID
	}
}

func (b *book) index(hash string, id windowID) {
	if hash != "" && !slices.Contains(b.hashes[hash], id) {
		b.hashes[hash] = append(b.hashes[hash], id)
	}
}

// let takes a window out of memory.
func (b *book) let(w *window) {
	delete(b.near, w.windowID)
	delete(b.open, w.windowID)
	delete(b.ready, w.windowID)
	delete(b.noticed, w.Notice)
	for _, p := range w.Parts {
		left := slices.DeleteFunc(b.hashes[p.Hash], func(id windowID) bool { return id == w.windowID })
		if b.hashes[p.Hash] = left; len(left) == 0 {
			delete(b.hashes, p.Hash)
		}
	}
}

// oldestFirst sorts windows by when they were heard of.
func oldestFirst(all []*window) []*window {
	slices.SortFunc(all, func(x, y *window) int {
		return cmp.Or(x.Met.Compare(y.Met), cmp.Compare(x.Epoch, y.Epoch), cmp.Compare(x.Number, y.Number))
	})
	return all
}

// opened returns those that lack batches, oldest first.
func (b *book) opened() []*window { return oldestFirst(slices.Collect(maps.Values(b.open))) }

// confirmed is what is not needed any more of an epoch.
func (b *book) confirmed(name string) wire.Confirm {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.confirms[name].Confirm
}

// cleared has what is not needed any more confirmed once the transaction is durable. It is its last step.
func (b *book) cleared(tx *store.Tx, names ...string) {
	for _, name := range names {
		if b.epochs[name] == nil {
			continue
		}
		c := confirm{b.clear(name), b.turn}
		tx.OnDurable(func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			if c.turn >= b.confirms[name].turn {
				b.confirms[name] = c
			}
		})
	}
}

// clear is what is not needed any more of an epoch: all windows up to one, and some batches of the next.
func (b *book) clear(name string) wire.Confirm {
	e := b.epochs[name]
	c := wire.Confirm{Epoch: name, UpTo: e.Known, End: e.End}
	var first *window
	for id, w := range b.open {
		if id.Epoch == name && (first == nil || id.Number < first.Number) {
			first = w
		}
	}
	if first != nil {
		c.UpTo, c.Batches = first.Number-1, len(first.Parts)-len(first.lacks())
	}
	return c
}
