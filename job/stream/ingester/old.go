package ingester

import (
	"time"

	"holdfast/job/stream/wire"
)

// A streamer of old says no more than its channels do: batches 0, 1, 2 and so on of an hour, and LAST. It says neither how
// many batches there are, nor of which day the hour is, nor whether a payload is whole. So the day is taken from the rows. The
// number of batches is configured, or learnt as far as LAST and the other batches tell it. What can't be read is asked for
// again.

// oldEpoch is the epoch of windows from a streamer of old. No streamer of ours has so short a name.
const oldEpoch = "old"

const (
	// silence is how long a streamer of old must have been silent before the end of a window counts as missing.
	silence = 10 * time.Second
	// mostOldBatches bounds what the name of a channel can make us believe of a window.
	mostOldBatches = 10_000
	// enough is how often a batch that can't be read must have come before it is taken as it is.
	enough = 3
)

// oldBatch is what a batch of a streamer of old tells of its window.
type oldBatch struct {
	key      string
	from, to time.Time
	hash     string
	batches  int  // how many the window has, 0 if nobody knows
	end      bool // it is here already, and known now as the last one
}

// openOld begins a window of a streamer of old.
func (b *book) openOld(x batch, now time.Time) *window {
	w := &window{windowID: x.id, Key: x.old.key, From: x.old.from, To: x.old.to, State: Open, Since: now, Met: now,
		Parts: make([]part, max(x.old.batches, 1))}
	b.hold(w)
	return w
}

// takeOld finds the place of a batch, and notes that it is on its way; ok is false if it is here already. A batch that differs
// from what it was before is taken in as well.
func (b *book) takeOld(p wire.Place, old oldBatch, rows int, now time.Time) (found batch, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id := windowID{oldEpoch, uint64(old.from.Unix())}
	w := b.near[id]
	found = batch{place: place{id, oldIndex(w, p, old)}, rows: rows, old: &old}
	if b.flying[found.place] {
		return batch{}, false
	}
	if have := w.oldPart(found.index); have != nil && have.Have && have.Hash == old.hash {
		if old.end = b.endsOld(w, found); !old.end {
			return batch{}, false
		}
	}
	if w != nil {
		w.takes(now)
	}
	b.flying[found.place] = true
	return found, true
}

// oldIndex returns where a batch belongs in a window, which is nil for a new one. The last batch comes under its number too,
// if it was asked for.
func oldIndex(w *window, p wire.Place, old oldBatch) int {
	if p.Last {
		return lastPart
	}
	if w != nil && p.Batch == len(w.Parts)-1 {
		last := w.Parts[p.Batch]
		if last.Have && last.Hash == old.hash || w.askedLast && old.batches > 0 {
			return lastPart
		}
	}
	return p.Batch
}

// oldPart returns the batch at an index, nil if there is none.
func (w *window) oldPart(index int) *part {
	if w == nil || index >= len(w.Parts)-1 {
		return nil
	}
	return &w.Parts[w.at(index)]
}

// endsOld reports whether a batch that comes once more is the answer to the question for the last one of a window of
// which nobody knew how many it has: that answer comes under its number.
func (b *book) endsOld(w *window, x batch) bool {
	end := len(w.Parts) - 1
	return x.index == end-1 && x.index >= x.old.batches-1 && w.askedLast && !w.Parts[end].Have && !b.flying[w.place(end)]
}

// keepOld makes room for a batch, and notes what it is.
func (b *book) keepOld(w *window, x batch) {
	end := len(w.Parts) - 1
	if x.old.end {
		if x.index == end-1 && !w.Parts[end].Have {
			w.Parts = w.Parts[:end]
		}
		return
	}
	if x.index >= end {
		tail := w.Parts[end]
		w.Parts = append(append(w.Parts[:end:end], make([]part, x.index+1-end)...), tail)
	}
	p := &w.Parts[w.at(x.index)]
	p.Rows, p.Hash = x.rows, x.old.hash
	b.index(p.Hash, w.windowID)
}

// spoiltOld counts a batch that made no rows; it is taken as it is when asking again does not help.
func (b *book) spoiltOld(p wire.Place, now time.Time) (found batch, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var w *window // the youngest with that key
	for id, x := range b.near {
		if id.Epoch == oldEpoch && x.Key == p.Window && (w == nil || x.From.After(w.From)) {
			w = x
		}
	}
	if w == nil {
		return batch{}, false
	}
	at := place{w.windowID, oldIndex(w, p, oldBatch{batches: 1})}
	if have := w.oldPart(at.index); have != nil && have.Have || b.flying[at] {
		return batch{}, false
	}
	if w.spoilt == nil {
		w.spoilt = map[int]int{}
	}
	if w.spoilt[at.index]++; w.spoilt[at.index] < enough {
		return batch{}, false
	}
	w.takes(now)
	b.flying[at] = true
	return batch{place: at, rows: 1, old: &oldBatch{}}, true
}

// latestOld returns the time of the latest window of a streamer of old.
func (b *book) latestOld() (latest time.Time) {
	for id, w := range b.near {
		if id.Epoch == oldEpoch && w.From.After(latest) {
			latest = w.From
		}
	}
	return latest
}

// dueOld returns which of the missing batches a streamer of old has sent, or should have by now, and when to ask for
// them. It must have sent all if it is, or was, silent, has begun with another window, or has sent the last batch.
func (w *window) dueOld(missing []int, latest, now time.Time) (due []int, at time.Time) {
	end := len(w.Parts) - 1
	if len(missing) == 0 || latest.After(w.From) || w.Parts[end].Have || w.askedLast || now.Sub(w.Came) >= silence {
		return missing, w.next
	}
	sent := -1 // the highest one that came
	for i, p := range w.Parts[:end] {
		if p.Have {
			sent = i
		}
	}
	for _, i := range missing {
		if i < sent {
			due = append(due, i)
		}
	}
	if len(due) == 0 {
		return missing, w.Came.Add(silence)
	}
	return due, w.next
}

// mostOld is the most rows of a batch from a streamer of old: nobody says how many a missing one has.
func (w *window) mostOld() (most int) {
	for _, p := range w.Parts {
		most = max(most, p.Rows)
	}
	return most
}
