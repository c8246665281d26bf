package desk

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/engine"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// Selection says which blocks and rows of a spool are meant; what is zero is no bound.
type Selection struct {
	First, Last uint64 // blocks
	// From and To are event times; rows without one go by when their block came in. To is not within.
	From, To time.Time
	Sink     string // only what this sink has not got
}

// bounds is the selection over a store. It is NotFound if the blocks that were asked for are not there, or
// there is no such sink.
func (s Selection) bounds(r store.Reader) (g spool.Range, err error) {
	if !s.To.IsZero() && !s.From.Before(s.To) {
		return g, fault.New(fault.Invalid, "the time from which on rows are meant is not before the one up to "+
			"which they are")
	}
	// Blocks that were asked for by number are shown whatever they are.
	g = spool.Range{First: s.First, Last: s.Last, From: s.From, To: s.To,
		Once: s.First == 0 && s.Last == 0 && s.Sink == ""}
	stats, err := spool.ReadStats(r)
	if err != nil {
		return g, err
	}
	if s.First >= stats.Next || s.Last > 0 && (s.Last < stats.First || s.Last < s.First) {
		return g, fault.New(fault.NotFound, "there are no such blocks: the spool holds %d to %d", stats.First,
			stats.Next-1)
	}
	if s.Sink == "" {
		return g, nil
	}
	sinks, err := store.NamesOf(r, store.SinkName)
	if err != nil {
		return g, err
	}
	if sinks[s.Sink] == 0 {
		return g, fault.WithHint(fault.New(fault.NotFound, "the job has no sink %s", s.Sink), "sinks are: %v",
			slices.Sorted(maps.Keys(sinks)))
	}
	g.Waiting, err = spool.Waiting(r, sinks[s.Sink])
	return g, err
}

// Block is a block of a spool as people see it.
type Block struct {
	Seq   uint64    `json:"seq"`
	At    time.Time `json:"at"`
	Rows  uint32    `json:"rows"`
	Bytes uint32    `json:"bytes"`
	From  uint64    `json:"from,omitempty"` // keys
	To    uint64    `json:"to,omitempty"`
	// Begin and End are the times of its first and its last row, if rows have one.
	Begin time.Time `json:"begin,omitzero"`
	End   time.Time `json:"end,omitzero"`
	// Only is the one sink that gets it; Copy says that its rows stand in another block too.
	Only string `json:"only,omitempty"`
	Copy bool   `json:"copy,omitempty"`
	// Pending are the sinks that have not got it yet.
	Pending []string `json:"pending,omitempty"`
}

// errEnough ends a walk over blocks; nobody sees it.
var errEnough = errors.New("enough")

// Blocks lists blocks, at most max; those behind the last one are another question.
func (d *Desk) Blocks(ctx context.Context, job string, sel Selection, max int) (out []Block,
	err error) {
	err = d.view(ctx, job, func(r store.Reader) error {
		g, err := sel.bounds(r)
		if fault.Is(err, fault.NotFound) && sel.Sink == "" {
			return nil // a list may be empty
		}
		if err != nil {
			return err
		}
		g.Once = false
		sinks, err := store.NamesOf(r, store.SinkName)
		if err != nil {
			return err
		}
		waits := map[string]func(uint64) bool{}
		for name, id := range sinks {
			if waits[name], err = spool.Waiting(r, id); err != nil {
				return err
			}
		}
		err = g.Each(ctx, r, func(h spool.Head) error {
			if len(out) >= max {
				return errEnough
			}
			b := Block{Seq: h.Seq, At: h.At, Rows: h.Rows, Bytes: h.Bytes, From: h.KeyLo, To: h.KeyHi, Copy: h.Copy}
			if h.HasTime {
				b.Begin, b.End = h.Span()
			}
			for name, id := range sinks {
				if waits[name](h.Seq) {
					b.Pending = append(b.Pending, name)
				}
				if id == h.Only {
					b.Only = name
				}
			}
			slices.Sort(b.Pending)
			out = append(out, b)
			return nil
		})
		if errors.Is(err, errEnough) {
			return nil
		}
		return err
	})
	return out, err
}

// SpoolStats are the figures of a spool, or of a selection of its blocks.
type SpoolStats struct {
	Job string `json:"job"`
	spool.Stats
	// RawBytes is about how large the rows are before they are packed: a few blocks are looked at.
	RawBytes uint64    `json:"raw_bytes"`
	Oldest   time.Time `json:"oldest,omitzero"` // came in
	Newest   time.Time `json:"newest,omitzero"`
	// Begin and End are the times of the first and the last row: of a selection exactly, else those of the
	// first and the last block.
	Begin time.Time          `json:"begin,omitzero"`
	End   time.Time          `json:"end,omitzero"`
	Sinks []engine.SinkBooks `json:"sinks"` // of the whole spool, however small the selection
}

// Stats returns the figures of a job's spool. Without a selection they are those that the store keeps, and
// the work does not grow with the blocks; with one, their heads are read.
func (d *Desk) Stats(ctx context.Context, job string, sel Selection) (s SpoolStats, err error) {
	s.Job = job
	err = d.view(ctx, job, func(r store.Reader) error {
		if s.Stats, err = spool.ReadStats(r); err != nil {
			return err
		}
		books, err := engine.ReadCounters(r, job)
		if err != nil {
			return err
		}
		s.Sinks = books.Sinks
		if sel.Sink != "" {
			s.Sinks = slices.DeleteFunc(s.Sinks, func(k engine.SinkBooks) bool { return k.Sink != sel.Sink })
		}
		if sel != (Selection{}) {
			return s.sum(ctx, r, sel)
		}
		for i, seq := range []uint64{s.First, s.Next - 1} {
			h, err := spool.Heads(r, seq, seq, 1)
			if err != nil || len(h) != 1 {
				continue // it is not here, or its damage is told elsewhere
			}
			s.see(h[0], i == 0)
		}
		s.RawBytes, err = spool.Unpacked(r, s.First, s.Next-1, s.Bytes)
		return err
	})
	return s, err
}

// see widens the times by a block.
func (s *SpoolStats) see(h spool.Head, first bool) {
	if s.Newest = h.At; first {
		s.Oldest = h.At
	}
	if lo, hi := h.Span(); h.HasTime {
		if s.Begin.IsZero() || lo.Before(s.Begin) {
			s.Begin = lo
		}
		if hi.After(s.End) {
			s.End = hi
		}
	}
}

// sum adds up the blocks of a selection.
func (s *SpoolStats) sum(ctx context.Context, r store.Reader, sel Selection) error {
	g, err := sel.bounds(r)
	if err != nil {
		return err
	}
	s.Stats = spool.Stats{Next: s.Next, First: s.First}
	first, last := uint64(0), uint64(0)
	err = g.Each(ctx, r, func(h spool.Head) error {
		s.see(h, first == 0)
		if last = h.Seq; first == 0 {
			first = h.Seq
		}
		s.Blocks++
		s.Rows += uint64(h.Rows)
		s.Bytes += uint64(h.Bytes)
		return nil
	})
	if err == nil && first > 0 {
		s.RawBytes, err = spool.Unpacked(r, first, last, s.Bytes)
	}
	return err
}
