package ingester

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"holdfast/base/fault"
	"holdfast/job/collect"
	"holdfast/job/stream/wire"
	"holdfast/kernel/store"
)

// noticeLog is what is said of stored windows: a notice stands in the store from the commit on by which the last sink
// had the window. Who has missed one asks for it, so nobody need know who listens.
type noticeLog struct {
	Epoch  string `json:"epoch"`  // the lineage of the store: after a restore the numbers mean something else
	First  uint64 `json:"first"`  // number of the oldest one that is kept
	Newest uint64 `json:"newest"` // 0 for none
	Next   uint64 `json:"next"`   // the processor has done with those in front of this one
	Said   uint64 `json:"said"`   // the newest one that was published
	Past   uint64 `json:"past"`   // how many windows are past
}

// How much is kept of what is done.
const (
	nearest     = 300    // windows in memory
	mostPast    = 50_000 // windows for people to look at
	mostNotices = 10_000
)

func keyLog() store.Key { return store.Job.K().Str("stream/log") }

func keyNotice(number uint64) store.Key { return store.Job.K().Str("stream/notice/").U64(number) }

// openLog reads the log. One of another life of the store ends, and goes on with higher numbers.
func openLog(r store.Reader, lineage string) (noticeLog, error) {
	l := noticeLog{Epoch: lineage, First: 1, Next: 1}
	v, ok, err := r.Get(keyLog())
	if err != nil || !ok {
		return l, err
	}
	if err := json.Unmarshal(v, &l); err != nil {
		return l, fmt.Errorf("read the log of notices: %w", err)
	}
	if l.Epoch != lineage {
		l.Epoch, l.First, l.Next, l.Said = lineage, l.Newest+1, l.Newest+1, l.Newest
	}
	return l, nil
}

func (b *book) putLog(tx *store.Tx) error {
	v, err := json.Marshal(b.log)
	if err != nil {
		return err
	}
	tx.Set(keyLog(), v)
	return nil
}

// stored appends a notice for every window that all sinks have. The result says whether there was one.
func (b *book) stored(tx *store.Tx, done collect.Done, now time.Time) (news bool, err error) {
	for _, w := range b.windows() {
		if !w.waits() {
			continue
		}
		ok, err := done(w.First, w.Last)
		if err != nil {
			return news, err
		}
		if ok {
			news = true
			if err := b.notice(tx, w, now); err != nil {
				return news, err
			}
		}
	}
	if !news {
		return false, nil
	}
	return true, b.putLog(tx)
}

// again has the windows stored anew whose notices nobody can ask for any more.
func (b *book) again() error {
	return b.update(func(tx *store.Tx) error {
		for _, w := range b.windows() {
			if w.State == Stored && w.Notice < b.log.First {
				w.State = Lost
				w.settle(w.Since)
				b.put(tx, w)
			}
		}
		return nil
	})
}

func (b *book) notice(tx *store.Tx, w *Window, now time.Time) error {
	n, err := b.noticeOf(tx, w, now)
	if err != nil {
		return err
	}
	v, err := json.Marshal(n)
	if err != nil {
		return err
	}
	tx.Set(keyNotice(n.Number), v)
	b.log.Newest = n.Number
	if b.log.Newest-b.log.First >= mostNotices {
		tx.Delete(keyNotice(b.log.First))
		b.log.First++
	}
	w.Notice, w.Notices = n.Number, w.Notices+1
	w.State, w.Since = Stored, now
	b.put(tx, w)
	return b.retire(tx)
}

// noticeOf is what is to be said of a window.
func (b *book) noticeOf(tx *store.Tx, w *Window, now time.Time) (wire.Stored, error) {
	came, missing := w.Rows()
	n := wire.Stored{Epoch: b.log.Epoch, Number: b.log.Newest + 1, Window: w.Key, From: w.From, To: w.To, Rows: came,
		Lost: missing, Sure: w.Epoch != oldEpoch, Again: w.Notices, At: now}
	other := func(x View) { // which has the same time
		n.Shared, n.Again = true, n.Again+x.Notices
		if x.State != Open && x.State != Complete {
			n.Lost += x.MissingRows
		}
	}
	for _, x := range b.near {
		if x != w && !x.Unmade && x.From.Equal(w.From) {
			other(x.view())
		}
	}
	from := keyPastFrom(w.From)
	all, failed := tx.Scan(from, from.End())
	for _, v := range all {
		x, err := viewOf(v)
		if err != nil {
			return n, err
		}
		other(x)
	}
	return n, failed()
}

// retire moves windows that are done out of memory when there are many, and lets the oldest of all go.
func (b *book) retire(tx *store.Tx) error {
	if len(b.near) <= nearest {
		return nil
	}
	spare := len(b.near) - nearest
	for _, w := range b.windows() {
		if spare == 0 {
			break
		}
		if w.State != Told && w.State != Stored && !(w.State == Lost && w.Unmade) {
			continue
		}
		spare--
		b.let(w)
		tx.Delete(keyWindow(w.ID()))
		v, err := json.Marshal(w.view())
		if err != nil {
			return err
		}
		tx.Set(keyPast(w.From, w.ID()), v)
		b.log.Past++
	}
	if b.log.Past <= mostPast {
		return nil
	}
	from := store.Job.K().Str("stream/past/")
	all, failed := tx.Scan(from, from.End())
	for k := range all {
		tx.Delete(slices.Clone(k))
		if b.log.Past--; b.log.Past <= mostPast {
			break
		}
	}
	return failed()
}

// follow takes where a processor is. It is false if what it says is of no log that we have.
func (b *book) follow(f wire.Follow, now time.Time) (ours bool, err error) {
	b.mu.Lock()
	ours = f.Epoch == b.log.Epoch && f.Next >= b.log.First && f.Next <= b.log.Newest+1
	news := ours && f.Next > b.log.Next
	b.mu.Unlock()
	if !news {
		return ours, nil
	}
	return ours, b.update(func(tx *store.Tx) error {
		b.log.Next = f.Next
		for _, w := range b.near {
			if w.State == Stored && w.Notice < f.Next {
				w.State, w.Since = Told, now
				b.put(tx, w)
			}
		}
		return b.putLog(tx)
	})
}

// said remembers what was published; after a crash some of it is said once more.
func (b *book) said(number uint64) error {
	return b.st.UpdateLazy(func(tx *store.Tx) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.log.Said = max(b.log.Said, number)
		return b.putLog(tx)
	})
}

// told is what the log has, as far as it is durable; end says that there will be nothing more.
func (b *book) told(end bool) wire.Told {
	b.mu.Lock()
	defer b.mu.Unlock()
	return wire.Told{Epoch: b.log.Epoch, Oldest: b.log.First, Newest: b.log.Newest, End: end}
}

// notices returns those from a number on that are durable, at most max.
func (b *book) notices(ctx context.Context, from uint64, max int) (out []wire.Stored, err error) {
	err = b.st.View(ctx, func(r store.Reader) error {
		all, failed := r.Scan(keyNotice(from), store.Job.K().Str("stream/notice/").End())
		for _, v := range all {
			var n wire.Stored
			if err := json.Unmarshal(v, &n); err != nil {
				return fault.New(fault.Corrupt, "read a notice: %w", err)
			}
			if out = append(out, n); len(out) >= max {
				break
			}
		}
		return failed()
	})
	return out, err
}

// saidSoFar is the newest notice that was published, as far as is known.
func (b *book) saidSoFar() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Said
}

// newest is the number of the newest notice.
func (b *book) newest() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Newest
}

// followed reports whether a processor has done with every notice.
func (b *book) followed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Next > b.log.Newest
}

// allStored reports whether every window that a streamer has sent is stored, or lost without a trace.
func (b *book) allStored(m wire.Beacon) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.epochs[m.Epoch]
	if m.Newest > 0 && (e == nil || e.Known < m.Newest) {
		return false
	}
	for id, w := range b.near {
		if id.Epoch == m.Epoch && (w.State == Open || w.waits()) {
			return false
		}
	}
	return true
}
