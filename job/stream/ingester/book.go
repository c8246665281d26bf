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
	// count returns how many different rows of a window the table has at least, 0 if that can't be known. If it is nil nothing
	// is counted.
	count  func(r store.Reader, w *window) (int, error)
	awaits bool // there will be a processor: no notice is let go that none has done with

	mu      sync.Mutex // guards what is below; is locked within a transaction, never around one
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
	// What is durable: what may be confirmed, by the epoch of the streamer, and the number of the newest notice.
	confirms map[string]confirm
	told     uint64
}

// confirm is what is no longer needed of an epoch, as of a turn.
type confirm struct {
	wire.Confirm
	turn uint64
}

// epoch is what is known of a streamer's numbering.
type epoch struct {
	Epoch string `json:"epoch"`
	First uint64 `json:"first"` // every window from this number
	Known uint64 `json:"known"` // to that one is in the book, or was
	// Adopted is when people are told that it became the epoch that is listened to. Order tells which one came last, because a
	// clock may be set back; it is 0 for an epoch that was adopted before there was an order.
	Adopted time.Time `json:"adopted,omitzero"`
	Order   uint64    `json:"order,omitempty"`
	// End: its streamer has said that there is nothing behind Known.
	End bool `json:"end,omitempty"`
}

// behind reports whether the epoch was adopted later than another.
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

// hashed returns the id as it stands in keys, because names are of any length.
func (id windowID) hashed() []byte {
	sum := sha256.Sum256([]byte(id.Epoch))
	return store.Key(sum[:8]).U64(id.Number)
}

func keyWindows() store.Key { return store.Job.K().Str("stream/window/") }

// openBook loads what the store holds. If the store was restored or salvaged since, that is another life of it.
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

// now returns the time in the form in which it is kept.
func now() time.Time { return time.Now().UTC() }

// load reads the store. What only memory knows of windows stays.
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

// update runs a transaction that changes windows. If it fails, memory is corrected at once.
func (b *book) update(change func(tx *store.Tx) error) error {
	err := b.st.Update(func(tx *store.Tx) error { return b.within(tx, change) })
	if err != nil { // else the next one does it
		_ = b.st.Update(func(tx *store.Tx) error { return b.within(tx, func(*store.Tx) error { return nil }) })
	}
	return err
}

// within runs the part of a transaction that changes windows.
func (b *book) within(tx *store.Tx, change func(tx *store.Tx) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.begin(tx); err != nil {
		return err
	}
	return change(tx)
}

// begin is the first step of each transaction. If the one before failed, memory is ahead of the store, and is read anew.
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

// changes notes that the transaction changes what is in memory.
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

// hold puts a window into memory, with the hashes of its batches.
func (b *book) hold(w *window) {
	b.near[w.windowID] = w
	b.file(w)
	for _, p := range w.Parts {
		b.index(p.Hash, w.windowID)
	}
}

// file notes the state of a window, so that the work of a commit grows with the open windows and not with all that are in
// memory.
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

// let removes a window from memory.
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

// opened returns the windows that lack batches, oldest first.
func (b *book) opened() []*window { return oldestFirst(slices.Collect(maps.Values(b.open))) }

// confirmed returns what is no longer needed of an epoch, and is durable.
func (b *book) confirmed(name string) wire.Confirm {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.confirms[name].Confirm
}

// cleared makes what is no longer needed be confirmed once the transaction is durable. It is the last step of the transaction.
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

// clear returns what is no longer needed of an epoch: all windows up to one, and some batches of the next.
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
