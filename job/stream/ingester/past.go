package ingester

import (
	"encoding/json"
	"slices"
	"time"

	"holdfast/kernel/store"
)

// How much is kept of what is done.
const (
	nearest = 300 // windows in memory
	// MostPast is how many windows that are done are remembered, the newest.
	MostPast = 50_000
)

func keyPasts() store.Key { return store.Job.K().Str("stream/past/") }

// keyPast is the key, by its time, of a window that is done and no longer near.
func keyPast(from time.Time, id windowID) store.Key { return keyPastFrom(from).Raw(id.hashed()) }

func keyPastFrom(from time.Time) store.Key {
	return keyPasts().U64(uint64(from.Unix()) ^ 1<<63) // times before 1970 come first
}

// retire moves windows that are done out of memory when there are many, the oldest first, and removes the oldest of all. A
// window to which a batch is on its way stays.
func (b *book) retire(tx *store.Tx) error {
	spare := len(b.near) - nearest
	if spare <= 0 {
		return nil
	}
	busy := map[windowID]bool{}
	for at := range b.flying {
		busy[at.id] = true
	}
	var done []*window
	for _, w := range b.near {
		if w.done() && !busy[w.windowID] {
			done = append(done, w)
		}
	}
	for _, w := range oldestFirst(done)[:min(spare, len(done))] {
		if err := b.pass(tx, w); err != nil {
			return err
		}
	}
	return b.trim(tx)
}

// pass moves a window out of memory.
func (b *book) pass(tx *store.Tx, w *window) error {
	b.let(w)
	b.changes(tx)
	tx.Delete(keyWindow(w.windowID))
	key := keyPast(w.From, w.windowID)
	there, err := tx.Look(key, func([]byte) error { return nil })
	if err != nil {
		return err
	}
	if !there {
		b.log.Past++
	}
	b.log.Longest = max(b.log.Longest, w.To.Sub(w.From))
	v, err := json.Marshal(w.view())
	if err != nil {
		return err
	}
	tx.Set(key, v)
	return b.putLog(tx)
}

// trim removes the past windows with the oldest times.
func (b *book) trim(tx *store.Tx) error {
	if b.log.Past <= MostPast {
		return nil
	}
	all, failed := tx.Scan(keyPasts(), keyPasts().End())
	for k := range all {
		tx.Delete(slices.Clone(k))
		if b.log.Past--; b.log.Past <= MostPast {
			break
		}
	}
	if err := failed(); err != nil {
		return err
	}
	return b.putLog(tx)
}

// change changes a past window, if it is there.
func (b *book) change(tx *store.Tx, key store.Key, f func(v *View) error) error {
	text, ok, err := tx.Get(key)
	if err != nil || !ok {
		return err
	}
	v, err := viewOf(text)
	if err != nil {
		return err
	}
	if err := f(&v); err != nil {
		return err
	}
	if text, err = json.Marshal(v); err != nil {
		return err
	}
	b.changes(tx)
	tx.Set(key, text)
	return nil
}

// renew goes on with higher numbers in another life of the store. Notices that nobody was told of are told again, because
// nobody can ask for notices of the former life. A window of which nothing is known is asked for.
func (b *book) renew(tx *store.Tx, lineage string, now time.Time) error {
	was := b.log
	if was.Epoch == lineage {
		return nil
	}
	tx.DeleteRange(keyNotices(), keyNotices().End())
	b.log.Epoch, b.log.First, b.log.Next, b.log.Said = lineage, was.Newest+1, was.Newest+1, was.Newest
	untold := func(s State, number uint64) bool { return s == Stored && number >= max(was.First, was.Next) }
	for _, w := range b.near {
		if untold(w.State, w.Notice) {
			w.State = Lost
			w.settle(w.Since)
			b.put(tx, w)
		}
	}
	var again []store.Key
	known := map[windowID]bool{}
	all, failed := tx.Scan(keyPasts(), keyPasts().End())
	for k, text := range all {
		v, err := viewOf(text)
		if err != nil {
			return err
		}
		if known[v.id()] = true; untold(v.State, v.Notice) {
			again = append(again, slices.Clone(k))
		}
	}
	if err := failed(); err != nil {
		return err
	}
	for _, key := range again {
		err := b.change(tx, key, func(v *View) (err error) {
			v.Notice, err = b.notice(tx, *v, now)
			v.Notices++
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := b.mend(tx, known, now); err != nil {
		return err
	}
	return b.putLog(tx)
}

// mend makes the windows be asked for that a salvage did not find, as far as the windows around them tell that they existed.
func (b *book) mend(tx *store.Tx, past map[windowID]bool, now time.Time) error {
	for _, e := range b.epochs {
		lowest := e.Known + 1
		for id := range past {
			if id.Epoch == e.Epoch {
				lowest, e.Known = min(lowest, id.Number), max(e.Known, id.Number)
			}
		}
		for id := range b.near {
			if id.Epoch == e.Epoch {
				lowest, e.Known = min(lowest, id.Number), max(e.Known, id.Number)
			}
		}
		for id := (windowID{e.Epoch, lowest}); id.Number <= e.Known; id.Number++ {
			if b.near[id] == nil && !past[id] && len(b.near) < mostNear {
				w := unmade(id, now)
				b.hold(w)
				b.put(tx, w)
			}
		}
		if err := b.putEpoch(tx, e); err != nil {
			return err
		}
	}
	return nil
}
