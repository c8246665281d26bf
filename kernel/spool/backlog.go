package spool

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"holdfast/kernel/store"
)

// Backlog is what a sink is not done with, found by looking.
type Backlog struct {
	Rows   int64
	Bytes  int64
	Oldest time.Time // when the oldest of it came in; zero if there is none
}

// Oldest returns when the first block that a sink is not done with came in, zero if there is none. It
// costs the same whatever the backlog.
func Oldest(r store.Reader, id uint32) (time.Time, error) {
	k := Sink{ID: id, plans: map[uint64]*plan{}}
	if err := k.load(r); err != nil {
		return time.Time{}, err
	}
	stats, err := ReadStats(r)
	if err != nil {
		return time.Time{}, err
	}
	first := k.settled.nextGap(k.state.Begin)
	if first >= stats.Next {
		return time.Time{}, nil
	}
	h, err := readHeadAt(r, first)
	if isBad(err) {
		err = nil // its delivery will tell
	}
	return h.At, err
}

// Pending recounts what a sink is not done with, from the heads of the blocks and its plans. The work
// grows with the undelivered blocks; it is for audits, the books have the number at once.
func Pending(r store.Reader, id uint32) (Backlog, error) {
	sink := Sink{ID: id, plans: map[uint64]*plan{}}
	if err := sink.load(r); err != nil {
		return Backlog{}, err
	}
	stats, err := ReadStats(r)
	if err != nil {
		return Backlog{}, err
	}
	var out Backlog
	for first := sink.settled.nextGap(sink.state.Begin); first < stats.Next; {
		last := sink.settled.gapEnd(first, stats.Next-1)
		seq, fail := r.Scan(headKey(first), headKey(last+1))
		for k, v := range seq {
			h, _, err := readHead(v)
			if err != nil {
				h, err = readHeadAt(r, binary.BigEndian.Uint64(k[1:]))
			}
			if err != nil && !isBad(err) { // nobody knows what a lost block held
				return out, err
			}
			out.Rows += int64(h.Rows)
			out.Bytes += int64(h.Bytes)
			if out.Oldest.IsZero() || !h.At.IsZero() && h.At.Before(out.Oldest) {
				out.Oldest = h.At
			}
		}
		if err := fail(); err != nil {
			return out, err
		}
		first = sink.settled.nextGap(last + 1)
	}
	for _, p := range sink.plans {
		for _, pt := range p.Parts {
			if pt.Done {
				out.Rows -= int64(pt.To - pt.From)
			}
		}
	}
	return out, nil
}

// Brought returns a key up to which a sink got rows from us, as it seems: what it holds above that key
// somebody else put there, or we in a delivery whose outcome is not known, or in a block out of order. It
// looks at the last block of each range that the sink is done with, and costs the same whatever the backlog.
func Brought(r store.Reader, id uint32) (key uint64, err error) {
	settled, err := readSettled(r, id)
	if err != nil {
		return 0, err
	}
	for _, done := range settled {
		h, err := readHeadAt(r, done.last)
		if err != nil && !isBad(err) { // of one that was trimmed nothing is known
			return 0, err
		}
		key = max(key, h.KeyHi)
	}
	return key, nil
}

// Planned returns the ranges of keys, ascending and apart, of the blocks in deliveries that are planned: an
// attempt may have brought them to the sink.
func Planned(r store.Reader, id uint32) (keys [][2]uint64, err error) {
	k := Sink{ID: id, plans: map[uint64]*plan{}}
	if err := k.load(r); err != nil {
		return nil, err
	}
	for _, p := range k.plans {
		for seq := p.First; seq <= p.Last; seq++ {
			h, err := readHeadAt(r, seq)
			if err != nil && !isBad(err) {
				return nil, err
			}
			if h.HasKeys {
				keys = append(keys, [2]uint64{h.KeyLo, h.KeyHi})
			}
		}
	}
	slices.SortFunc(keys, func(a, b [2]uint64) int { return cmp.Compare(a[0], b[0]) })
	out := keys[:0]
	for _, s := range keys {
		if n := len(out); n > 0 && s[0] <= out[n-1][1] {
			out[n-1][1] = max(out[n-1][1], s[1])
			continue
		}
		out = append(out, s)
	}
	return out, nil
}

// Waiting returns whether a sink has still to get a block, delivered in part or not at all.
func Waiting(r store.Reader, id uint32) (func(seq uint64) bool, error) {
	k := Sink{ID: id, plans: map[uint64]*plan{}}
	if err := k.load(r); err != nil {
		return nil, err
	}
	stats, err := ReadStats(r)
	return func(seq uint64) bool {
		return seq >= max(k.state.Begin, stats.First) && seq < stats.Next && !k.settled.has(seq)
	}, err
}
