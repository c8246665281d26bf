package ingester

import (
	"time"

	"holdfast/job/collect"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// place is where a batch belongs. lastPart stands for the index of a window's last batch while others may still come in
// front of it.
type place struct {
	id    windowID
	index int
}

const lastPart = -1

// place is that of a batch of a window as it is now.
func (w *window) place(index int) place {
	if w.Epoch == oldEpoch && index == len(w.Parts)-1 {
		index = lastPart
	}
	return place{w.windowID, index}
}

// at is the index of a place in a window as it is now.
func (w *window) at(index int) int {
	if index == lastPart {
		return len(w.Parts) - 1
	}
	return index
}

// batch is one that is on its way into the spool.
type batch struct {
	place
	rows int
	old  *oldBatch // of a streamer of old; nil for one of ours
}

// missing returns the batches that are neither in the spool nor on their way there.
func (b *book) missing(w *window) (indexes []int) {
	for i := range w.Parts {
		if !w.Parts[i].Have && !b.flying[w.place(i)] {
			indexes = append(indexes, i)
		}
	}
	return indexes
}

// find returns the batch that a payload is, if it is missing, and says that it is on its way. known says that a window
// has it.
func (b *book) find(hash string, now time.Time) (found batch, missing, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range b.hashes[hash] {
		w := b.near[id]
		for i, p := range w.Parts {
			if at := w.place(i); p.Hash == hash && !p.Have && !b.flying[at] {
				b.flying[at] = true
				w.takes(now)
				return batch{place: at, rows: p.Rows}, true, true
			}
		}
		known = true
	}
	return batch{}, false, known
}

// release says that batches are on their way no longer.
func (b *book) release(batches []batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.idle = time.Time{}
	for _, x := range batches {
		delete(b.flying, x.place)
	}
}

// kept is the part of the commit of a page that says which batches it holds. One of a window that memory does not have
// any more is in the spool all the same, and comes once more if it is missed.
func (b *book) kept(tx *store.Tx, batches []batch, t collect.Taken, now time.Time) error {
	if len(batches) == 0 {
		return nil
	}
	stats, err := spool.ReadStats(tx)
	if err != nil {
		return err
	}
	var changed []*window
	met := map[*window]bool{}
	for _, x := range batches {
		w := b.near[x.id]
		if w == nil && x.old != nil {
			w = b.openOld(x, now)
		}
		if w == nil || !b.keep(w, x, now) || met[w] {
			continue
		}
		met[w] = true
		changed = append(changed, w)
	}
	var epochs []string
	for _, w := range changed {
		w.spans(t.First, t.Last)
		if t.Duplicate > 0 {
			w.Elsewhere = true
			w.spans(0, stats.Next-1)
		}
		if err := b.found(tx, w); err != nil {
			return err
		}
		b.put(tx, w)
		epochs = append(epochs, w.Epoch)
	}
	b.cleared(tx, epochs...)
	tx.OnDurable(func() { b.release(batches) })
	return nil
}

// keep marks a batch as being in the spool, if the window has a place for it.
func (b *book) keep(w *window, x batch, now time.Time) bool {
	if x.old != nil {
		b.keepOld(w, x)
	}
	i := w.at(x.index)
	if i >= len(w.Parts) {
		return false
	}
	w.Came = now
	w.kept(i, now)
	return true
}
