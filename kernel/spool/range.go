package spool

import (
	"context"
	"time"

	"github.com/klauspost/compress/s2"

	"holdfast/kernel/store"
)

// Range says which blocks are meant; a field that is zero is no bound.
type Range struct {
	First, Last uint64 // sequences
	// From and To are event times, or those at which a block came in if its rows have none. To itself is
	// not within.
	From, To time.Time
	// Waiting, if not nil, tells the blocks that a sink has not got; others are not meant.
	Waiting func(seq uint64) bool
	// Once leaves out what stands in another block too: copies, and rows that went to one sink again.
	Once bool
}

// Span is the time of a block's rows: from the first to the last event, else when it came in, twice.
func (h Head) Span() (lo, hi time.Time) {
	if h.HasTime {
		return time.Unix(h.TimeLo, 0).UTC(), time.Unix(h.TimeHi, 0).UTC()
	}
	return h.At, h.At
}

// Touches reports whether some of the block's rows may be meant.
func (g Range) Touches(h Head) bool {
	lo, hi := h.Span()
	return g.within(h) && (g.From.IsZero() || h.HasTime && hi.Add(time.Second).After(g.From) ||
		!hi.Before(g.From)) && (g.To.IsZero() || lo.Before(g.To))
}

// Holds reports whether every row of the block is meant. Event times of a head are in whole seconds.
func (g Range) Holds(h Head) bool {
	lo, hi := h.Span()
	if h.HasTime {
		hi = hi.Add(time.Second - 1)
	}
	return g.within(h) && (g.From.IsZero() || !lo.Before(g.From)) && (g.To.IsZero() || hi.Before(g.To))
}

func (g Range) within(h Head) bool {
	return h.Seq >= g.First && (g.Last == 0 || h.Seq <= g.Last) && (g.Waiting == nil || g.Waiting(h.Seq)) &&
		!(g.Once && (h.Copy || h.Only != 0))
}

// Each calls f for the head of every block that is touched, in order, and returns its first error. It
// reads the heads alone, one at a time. Where a head is lost, the block itself is asked.
func (g Range) Each(ctx context.Context, r store.Reader, f func(Head) error) error {
	stats, err := ReadStats(r)
	if err != nil {
		return err
	}
	first, end := max(g.First, stats.First), stats.Next
	if g.Last != 0 {
		end = min(end, g.Last+1)
	}
	gone, err := readSettled(r, released)
	if err != nil {
		return err
	}
	for seq := gone.nextGap(first); seq < end; seq = gone.nextGap(seq + 1) {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := readHeadAt(r, seq)
		if err != nil && !isBad(err) {
			return err
		}
		// What is lost whole is shown to f as far as it is known: by its number.
		if err != nil && (g.Waiting == nil || g.Waiting(seq)) {
			err = f(Head{Seq: seq})
		} else if err == nil && g.Touches(h) {
			err = f(h)
		} else {
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// samples is how many blocks are looked at for what cannot be kept with each commit.
const samples = 32

// Unpacked is about how many bytes the rows of the blocks from first to last have before they are packed into
// so many: by the ratio of at most a few of them, spread evenly.
func Unpacked(r store.Reader, first, last, packed uint64) (uint64, error) {
	small, large := uint64(0), uint64(0)
	step := max(1, (last+1-min(first, last+1))/samples)
	for seq := first; seq <= last; seq += step {
		_, err := r.Look(blockKey(seq), func(v []byte) error {
			h, payload, err := readHead(v)
			if err != nil {
				return nil // reported when the block is needed
			}
			if n, err := s2.DecodedLen(payload); err == nil {
				small, large = small+uint64(h.Bytes), large+uint64(n)
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	if small == 0 {
		return 0, nil
	}
	return uint64(float64(packed) * float64(large) / float64(small)), nil
}
