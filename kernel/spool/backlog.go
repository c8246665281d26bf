package spool

import (
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
	heads, err := Heads(r, k.settled.nextGap(k.state.Begin), stats.Next-1, 1)
	if err != nil || len(heads) == 0 {
		return time.Time{}, err
	}
	return heads[0].At, nil
}

// Pending recounts what a sink is not done with, from the heads of the blocks and its plans. The work
// grows with the undelivered blocks; it is for audits, the books have the number at once.
func Pending(r store.Reader, id uint32) (Backlog, error) {
	k := Sink{ID: id, plans: map[uint64]*plan{}}
	if err := k.load(r); err != nil {
		return Backlog{}, err
	}
	stats, err := ReadStats(r)
	if err != nil {
		return Backlog{}, err
	}
	var out Backlog
	for first := k.settled.nextGap(k.state.Begin); first < stats.Next; {
		last := k.settled.gapEnd(first, stats.Next-1)
		seq, fail := r.Scan(headKey(first), headKey(last+1))
		for _, v := range seq {
			h, _, err := readHead(v)
			if err != nil {
				return out, err
			}
			out.Rows += int64(h.Rows)
			out.Bytes += int64(h.Bytes)
			if out.Oldest.IsZero() || h.At.Before(out.Oldest) {
				out.Oldest = h.At
			}
		}
		if err := fail(); err != nil {
			return out, err
		}
		first = k.settled.nextGap(last + 1)
	}
	for _, p := range k.plans {
		for _, pt := range p.Parts {
			if pt.Done {
				out.Rows -= int64(pt.To - pt.From)
			}
		}
	}
	return out, nil
}
