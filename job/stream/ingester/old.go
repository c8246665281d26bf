package ingester

import (
	"time"

	"holdfast/connector"
	"holdfast/job/stream/wire"
	"holdfast/kernel/store"
)

// A streamer of old says nothing but its channels: batches 0, 1, 2 and so on of an hour, and LAST. How many there
// are it does not say, nor which day it is, nor whether a payload is whole. So the day is that of the rows, the
// number of batches is configured, or learnt as far as LAST and the others tell, and what can't be read is asked for
// again.

// oldEpoch is the epoch of windows from a streamer of old. No streamer of ours has so short a name.
const oldEpoch = "old"

// silence is after how much of it the end of a window counts as missing from a streamer of old.
const silence = 10 * time.Second

// oldWindow returns the window of a time, which may be new. batches is how many it has, 0 if nobody knows.
func (b *book) oldWindow(tx *store.Tx, key string, from, to time.Time, batches int, now time.Time) *Window {
	id := ID{oldEpoch, uint64(from.Unix())}
	w := b.near[id]
	if w == nil {
		w = &Window{Epoch: id.Epoch, Number: id.Number, Key: key, From: from, To: to, State: Open, Since: now, Met: now,
			Parts: make([]Part, max(batches, 1)), spoilt: map[int]int{}}
		b.hold(w)
		b.put(tx, w)
	}
	return w
}

// oldKey returns the youngest window of a streamer of old with a key, nil if there is none.
func (b *book) oldKey(key string) (w *Window) {
	for id, x := range b.near {
		if id.Epoch == oldEpoch && x.Key == key && (w == nil || x.From.After(w.From)) {
			w = x
		}
	}
	return w
}

// takeOld finds the place of a batch that is missing, and marks it as on its way; known says that it is here.
func (b *book) takeOld(p wire.Place, from, to time.Time, batches, rows int, hash string, now time.Time) (at place,
	known bool, err error) {
	err = b.update(func(tx *store.Tx) error {
		w := b.oldWindow(tx, p.Window, from, to, batches, now)
		index := w.oldIndex(p, batches)
		if w.State != Open && w.State != Lost && w.Lacks() { // there are more than LAST had us believe
			w.State, w.Since = Open, now
		}
		part := &w.Parts[w.at(index)]
		if at = (place{w.ID(), index}); part.Have || part.taking {
			known = true
			return nil
		}
		part.Rows, part.Hash = rows, hash
		b.index(hash, at)
		w.Take(w.at(index), now)
		return nil
	})
	return at, known, err
}

// oldIndex is where a batch stands, which there is room for then.
func (w *Window) oldIndex(p wire.Place, batches int) int {
	end := len(w.Parts) - 1
	if p.Last || batches > 0 && p.Batch == end { // asked for again, the last one comes under its number
		return lastPart
	}
	if grow := p.Batch + 1 - end; grow > 0 {
		tail := w.Parts[end]
		w.Parts = append(append(w.Parts[:end:end], make([]Part, grow)...), tail)
	}
	return p.Batch
}

// spoiltOld counts a batch that made no rows; it is enough when asking again does not help.
func (b *book) spoiltOld(p wire.Place, batches int, now time.Time) (at place, enough bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.oldKey(p.Window)
	if w == nil {
		return place{}, false
	}
	index := w.oldIndex(p, batches)
	part := &w.Parts[w.at(index)]
	if part.Have || part.taking {
		return place{}, false
	}
	if w.spoilt == nil {
		w.spoilt = map[int]int{}
	}
	if w.spoilt[index]++; w.spoilt[index] < 3 {
		return place{}, false
	}
	w.Take(w.at(index), now)
	return place{w.ID(), index}, true
}

// missingOld are the batches that a streamer of old has sent, or should have by now, and that are not here; over
// says that it has sent all.
func (w *Window) missingOld(over bool) (out []int) {
	missing, end := w.Missing(), len(w.Parts)-1
	if over || w.Parts[end].Have || w.Parts[end].taking {
		return missing
	}
	sent := -1 // the highest one that came
	for i, p := range w.Parts[:end] {
		if p.Have || p.taking {
			sent = i
		}
	}
	for _, i := range missing {
		if i < sent {
			out = append(out, i)
		}
	}
	return out
}

// over reports whether a streamer of old must have sent all of a window: it is silent, or has begun with another.
func (b *book) over(w *Window, now time.Time) bool {
	if now.Sub(w.Came) >= silence {
		return true
	}
	for id, x := range b.near {
		if id.Epoch == oldEpoch && x.From.After(w.From) && !x.Came.IsZero() {
			return true
		}
	}
	return false
}

// dueOld is Due for a streamer of old.
func (b *book) dueOld(w *Window, now time.Time) (ask bool, at time.Time) {
	switch {
	case w.State != Open || len(w.Missing()) == 0:
		return false, time.Time{}
	case len(w.missingOld(b.over(w, now))) == 0:
		return false, w.Came.Add(silence)
	}
	return !now.Before(w.next), w.next
}

// lostOld is how many rows a window from a streamer of old lacks at most: nobody said how many they are.
func (w *Window) lostOld() (rows int) {
	most := 0
	for _, p := range w.Parts {
		most = max(most, p.Rows)
	}
	for _, p := range w.Parts {
		if !p.Have {
			rows += most
		}
	}
	return rows
}

// messages are a question as a streamer of ours or of old understands it.
func (a ask) messages(n wire.Names) (out []connector.Message) {
	if a.Epoch != oldEpoch {
		return []connector.Message{a.Message(n)}
	}
	for _, i := range a.Batches {
		p := wire.Place{Batch: i, Last: i == a.of-1, Window: a.key}
		out = append(out, connector.Message{Topic: n.Request(), Key: p.Key(), Payload: []byte(a.key)})
	}
	return out
}
