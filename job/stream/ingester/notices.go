package ingester

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"holdfast/base/fault"
	"holdfast/job/collect"
	"holdfast/job/stream/wire"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// noticeLog is the log of notices. A notice is in the store from the commit on by which the last sink had its window. Whoever
// has missed one asks for it, so nobody need know who listens.
type noticeLog struct {
	Epoch  string `json:"epoch"`  // the lineage of the store: after a restore the numbers mean something else
	First  uint64 `json:"first"`  // number of the oldest one that is kept
	Newest uint64 `json:"newest"` // 0 for none
	Next   uint64 `json:"next"`   // the processor has done with those in front of this one
	Said   uint64 `json:"said"`   // the newest one that was published
	Past   uint64 `json:"past"`   // how many windows are past
	// Longest is the length of the longest past window.
	Longest time.Duration `json:"longest,omitempty"`
	Heard   bool          `json:"heard,omitempty"` // a processor was ever heard
	Cut     uint64        `json:"cut,omitempty"`   // how many were let go that no processor had done with
}

// notice is a notice as it is kept.
type notice struct {
	wire.Stored
	Of windowID `json:"of"`
}

// How many notices are kept, in the store alone. Those that a processor has not done with stay for as long as it takes,
// unless none was ever heard: there may be none.
const (
	mostNotices = 1_000_000 // while no processor was ever heard
	mostDone    = 10_000    // of those that one has done with, for another one
)

func keyLog() store.Key { return store.Job.K().Str("stream/log") }

func keyNotices() store.Key { return store.Job.K().Str("stream/notice/") }

func keyNotice(number uint64) store.Key { return keyNotices().U64(number) }

func readLog(r store.Reader) (l noticeLog, err error) {
	v, ok, err := r.Get(keyLog())
	if err != nil || !ok {
		return noticeLog{First: 1, Next: 1}, err
	}
	if err := json.Unmarshal(v, &l); err != nil {
		return l, fault.New(fault.Corrupt, "read the log of notices: %w", err)
	}
	return l, nil
}

func (b *book) putLog(tx *store.Tx) error {
	v, err := json.Marshal(b.log)
	if err != nil {
		return err
	}
	b.changes(tx)
	tx.Set(keyLog(), v)
	return nil
}

// stored appends a notice for every window that all sinks have.
func (b *book) stored(tx *store.Tx, done collect.Done, now time.Time) error {
	news := false
	for _, w := range oldestFirst(slices.Collect(maps.Values(b.ready))) {
		first := w.First
		if w.Elsewhere {
			stats, err := spool.ReadStats(tx)
			if err != nil {
				return err
			}
			first = stats.First
		}
		ok, err := done(first, w.Last)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		news = true
		if b.count != nil {
			if w.Keys, err = b.count(tx, w); err != nil {
				return err
			}
		}
		delete(b.noticed, w.Notice)
		if w.Notice, err = b.notice(tx, w.view(), now); err != nil {
			return err
		}
		w.Notices++
		w.State, w.Since = Stored, now
		b.put(tx, w)
	}
	b.look = false
	if !news {
		return nil
	}
	if err := b.retire(tx); err != nil {
		return err
	}
	return b.putLog(tx)
}

// notice appends a notice of a window, and returns its number. The log itself has to be written afterwards.
func (b *book) notice(tx *store.Tx, v View, now time.Time) (number uint64, err error) {
	n, err := b.noticeOf(tx, v, now)
	if err != nil {
		return 0, err
	}
	text, err := json.Marshal(n)
	if err != nil {
		return 0, err
	}
	tx.Set(keyNotice(n.Number), text)
	b.log.Newest = n.Number
	b.cut(tx)
	tx.OnDurable(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.told = max(b.told, n.Number)
	})
	return n.Number, nil
}

// cut removes notices if there are too many.
func (b *book) cut(tx *store.Tx) {
	few := func() bool { return b.log.Newest-b.log.First < mostDone }
	for steps := 0; b.log.First < b.log.Next && !few() && steps < mostDone; steps++ {
		tx.Delete(keyNotice(b.log.First))
		b.log.First++
	}
	if b.log.Heard || b.awaits || b.log.Newest-b.log.First < mostNotices {
		return
	}
	tx.Delete(keyNotice(b.log.First))
	b.log.First++
	b.log.Next = max(b.log.Next, b.log.First)
	b.log.Cut++
}

// noticeOf makes the notice of a window.
func (b *book) noticeOf(tx *store.Tx, v View, now time.Time) (notice, error) {
	n := notice{Of: v.id(), Stored: wire.Stored{Epoch: b.log.Epoch, Number: b.log.Newest + 1, Window: v.Window,
		From: v.From, To: v.To, Rows: v.Rows, Lost: v.MissingRows, Sure: v.Epoch != oldEpoch, Again: v.Notices, At: now,
		Keys: v.Keys}}
	others, err := b.sharing(tx, v)
	known := map[windowID]bool{}
	for _, x := range others {
		known[x.id()] = true
	}
	for _, x := range others {
		n.Shared, n.Again = true, n.Again+x.Notices
		if x.State == Open || x.State == Complete {
			n.More = true
		} else {
			n.Lost += x.MissingRows
		}
		if x.From.Equal(v.From) && x.To.Equal(v.To) {
			n.Keys = max(n.Keys, x.Keys)
		}
	}
	for _, x := range append(others, v) { // the next one may not be known yet
		n.More = n.More || x.More && !known[windowID{x.Epoch, x.Number + 1}] && n.Of != windowID{x.Epoch, x.Number + 1}
	}
	return n, err
}

// sharing returns the other windows that share some time with one, as far as their times are known.
func (b *book) sharing(tx *store.Tx, v View) (others []View, err error) {
	shares := func(from, to time.Time) bool { return from.Before(v.To) && v.From.Before(to) }
	for id, x := range b.near {
		if id != v.id() && !x.Unmade && shares(x.From, x.To) {
			others = append(others, x.view())
		}
	}
	first := v.From.Add(-max(b.log.Longest, v.To.Sub(v.From)))
	all, failed := tx.Scan(keyPastFrom(first), keyPastFrom(v.To.Add(time.Second)))
	for _, text := range all {
		x, err := viewOf(text)
		if err != nil {
			return nil, err
		}
		if x.id() != v.id() && shares(x.From, x.To) {
			others = append(others, x)
		}
	}
	return others, failed()
}

// follow takes the place that a processor has reached. It returns false if that is a place in no log that we have.
func (b *book) follow(f wire.Follow, now time.Time) (ours bool, err error) {
	b.mu.Lock()
	ours = f.Epoch == b.log.Epoch && f.Next >= b.log.First && f.Next <= b.log.Newest+1
	news := ours && f.Next > b.log.Next || !b.log.Heard
	b.mu.Unlock()
	if !news {
		return ours, nil
	}
	return ours, b.update(func(tx *store.Tx) error {
		b.log.Heard = true
		if !ours {
			return b.putLog(tx)
		}
		for number := max(b.log.Next, b.log.First); number < f.Next; number++ {
			if err := b.tell(tx, number, now); err != nil {
				return err
			}
		}
		b.log.Next = max(b.log.Next, f.Next)
		return b.putLog(tx)
	})
}

// tell notes that the processor is done with a notice.
func (b *book) tell(tx *store.Tx, number uint64, now time.Time) error {
	text, ok, err := tx.Get(keyNotice(number))
	if err != nil || !ok {
		return err
	}
	n, err := noticeFrom(text)
	if err != nil {
		return err
	}
	if w := b.near[n.Of]; w != nil {
		if w.State == Stored && w.Notice == number {
			w.State, w.Since = Told, now
			b.put(tx, w)
		}
		return nil
	}
	return b.change(tx, keyPast(n.From, n.Of), func(v *View) error {
		if v.State == Stored && v.Notice == number {
			v.State, v.Since = Told, now
		}
		return nil
	})
}

func noticeFrom(text []byte) (n notice, err error) {
	if err := json.Unmarshal(text, &n); err != nil {
		return n, fault.New(fault.Corrupt, "read a notice: %w", err)
	}
	return n, nil
}

// said remembers what was published; after a crash some of it is said once more.
func (b *book) said(number uint64) error {
	if number <= b.saidSoFar() {
		return nil
	}
	return b.st.UpdateLazy(func(tx *store.Tx) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if err := b.begin(tx); err != nil {
			return err
		}
		b.log.Said = max(b.log.Said, number)
		return b.putLog(tx)
	})
}

// has returns what the log has, as far as it is durable; end says that there will be nothing more.
func (b *book) has(end bool) wire.Told {
	b.mu.Lock()
	defer b.mu.Unlock()
	return wire.Told{Epoch: b.log.Epoch, Oldest: min(b.log.First, b.told+1), Newest: b.told, Next: b.log.Next, End: end}
}

// notices returns the durable notices from a number on, at most max.
func (b *book) notices(ctx context.Context, from uint64, max int) (out []wire.Stored, err error) {
	err = b.st.View(ctx, func(r store.Reader) error {
		all, failed := r.Scan(keyNotice(from), keyNotices().End())
		for _, text := range all {
			n, err := noticeFrom(text)
			if err != nil {
				return err
			}
			if out = append(out, n.Stored); len(out) >= max {
				break
			}
		}
		return failed()
	})
	if err != nil {
		return nil, fmt.Errorf("read notices: %w", err)
	}
	return out, nil
}

// saidSoFar returns the newest notice that was published, as far as is known.
func (b *book) saidSoFar() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Said
}

// cutSoFar returns how many notices were removed that no processor had done with, and the oldest that is left.
func (b *book) cutSoFar() (n, oldest uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Cut, b.log.First
}

// followed reports whether a processor has done with every notice.
func (b *book) followed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Next > b.log.Newest
}

// ended reports whether a streamer is at its end, and every window of it is stored, or lost without a trace. It is only so
// once every notice is durable: a processor that heard of the end and not of the last notice would end without it.
func (b *book) ended(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.epochs[name]
	return e != nil && e.End && b.allStored(name)
}

// unended reports whether every window that is known of a streamer is stored, and it has not said that there are no more.
func (b *book) unended(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.epochs[name]
	return e != nil && !e.End && b.allStored(name)
}

// allStored is called with the lock held.
func (b *book) allStored(name string) bool {
	if b.told < b.log.Newest {
		return false
	}
	for _, all := range []map[windowID]*window{b.open, b.ready} {
		for id := range all {
			if id.Epoch == name {
				return false
			}
		}
	}
	return true
}

// looks reports whether a window may be stored, and nobody has looked yet.
func (b *book) looks() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.look
}
