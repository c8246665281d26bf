package streamer

import (
	"crypto/rand"
	"fmt"
	"slices"

	"holdfast/base/plural"
	"holdfast/kernel/store"
)

// mostFormer is how many former epochs a streamer answers for.
const mostFormer = 64

// loss is what a salvage did not find whole.
type loss struct {
	rows int
	what string
}

// begin makes an epoch in which the windows that are not confirmed are numbered anew. What was confirmed is where it belongs.
// What was sent is not sent again by itself: an ingester that hears of the epoch asks for what it lacks. lost says what is not
// there any more, after a salvage.
func (s *saved) begin(tx *store.Tx, lineage string) (lost []loss, err error) {
	if old := s.epoch.Epoch; old != "" {
		s.epoch.Former = append(s.epoch.Former, old)
		s.epoch.Former = s.epoch.Former[max(len(s.epoch.Former)-mostFormer, 0):]
	}
	s.epoch.Epoch, s.epoch.Lineage = rand.Text(), lineage
	tx.DeleteRange(key("window/"), key("window/").End())
	marked, released := s.marks, s.pace.Released
	s.marks.Sent, s.marks.Confirmed, s.marks.Batches, s.pace.Released = 0, 0, 0, 0
	var kept []*window
	used := map[uint64]bool{} // piles
	for _, w := range s.windows {
		if used[w.Pile] || w.Number <= marked.Confirmed {
			continue
		}
		if !whole(tx, w.Pile, w.Parts) {
			lost = append(lost, loss{w.Rows, fmt.Sprintf("%s from %v on, of a window that was cut", plural.Of(w.Rows, "row"),
				w.From)})
			continue
		}
		was := w.Number
		w.Number = uint64(len(kept)) + 1
		kept, used[w.Pile] = append(kept, w), true
		if was <= marked.Sent {
			s.marks.Sent = w.Number
		}
		if was <= released {
			s.pace.Released = w.Number
		}
		put(tx, keyWindow(w.Number), w)
	}
	s.windows, s.state.Next = kept, uint64(len(kept))+1
	lost = append(lost, s.mendPiles(tx, used)...)
	s.mendMore(tx)
	if s.unread > 0 {
		lost = append(lost, loss{0, fmt.Sprintf("%s of windows can't be read: how many rows they had "+
			"nobody knows", plural.Of(s.unread, "record"))})
	}
	for _, l := range lost {
		s.marks.GivenUp += int64(l.rows)
	}
	put(tx, keyEpoch(), s.epoch)
	put(tx, keyState(), s.state)
	put(tx, keyMarks(), s.marks)
	put(tx, keyPace(), s.pace)
	return lost, s.sweep(tx, used)
}

// mendMore corrects what windows say of other windows of their time, which may be lost.
func (s *saved) mendMore(tx *store.Tx) {
	for i, w := range s.windows {
		follows := slices.ContainsFunc(s.windows[i+1:], func(v *window) bool { return v.From.Before(w.To) && w.From.Before(v.To) }) ||
			slices.ContainsFunc(s.piles, func(p *pile) bool { return p.From.Before(w.To) && w.From.Before(p.To) })
		if w.More && !follows {
			w.More = false
			put(tx, keyWindow(w.Number), w)
		}
	}
}

// mendPiles keeps the piles that are whole.
func (s *saved) mendPiles(tx *store.Tx, used map[uint64]bool) (lost []loss) {
	tx.DeleteRange(key("pile/"), key("pile/").End())
	tx.DeleteRange(key("tail/"), key("tail/").End())
	var kept []*pile
	for _, p := range s.piles {
		switch {
		case !slices.Contains(s.state.Piles, p.ID) || used[p.ID]:
		case p.tail == nil || !whole(tx, p.ID, p.Parts):
			lost = append(lost, loss{p.Rows, fmt.Sprintf("%s from %v on, of a window that was not closed yet",
				plural.Of(p.Rows, "row"), p.From)})
		default:
			kept, used[p.ID] = append(kept, p), true
			p.write(tx)
		}
	}
	s.piles, s.state.Piles = kept, nil
	for _, p := range kept {
		s.state.Piles = append(s.state.Piles, p.ID)
	}
	return lost
}

// whole reports whether every batch is there. Whether it is what was cut, its checksum says once it is sent.
func whole(r store.Reader, pile uint64, parts []part) bool {
	for i := range parts {
		if ok, err := r.Look(keyBatch(pile, i), func([]byte) error { return nil }); err != nil || !ok {
			return false
		}
	}
	return true
}

// sweep removes the batches of piles that nothing names, and makes sure that no pile gets the id of one of
// them.
func (s *saved) sweep(tx *store.Tx, used map[uint64]bool) error {
	from := key("batch/")
	var unused []uint64
	seq, failed := tx.Scan(from, from.End())
	for k := range seq {
		id := pileOf(k)
		s.state.NextPile = max(s.state.NextPile, id+1)
		if n := len(unused); !used[id] && (n == 0 || unused[n-1] != id) {
			unused = append(unused, id)
		}
	}
	for _, id := range unused {
		tx.DeleteRange(keyBatches(id), keyBatches(id).End())
	}
	put(tx, keyState(), s.state)
	return failed()
}
