package collect

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"holdfast/connector"
	"holdfast/kernel/balance"
	"holdfast/kernel/store"
)

// settledLooks is how many complete answers must have lacked a key before it counts as absent at the
// source: the first may have come while a neighbour was still being written there.
const settledLooks = 2

// settleTime is how long a new gap is left alone, for the same reason.
const settleTime = 30 * time.Second

// floorKey holds the key after which the source was first asked: rows up to it are not ours to collect.
func (in *Intake) floorKey() store.Key { return store.Job.K().Str("floor/").U32(in.id) }

// setFloor notes that everything up to key was somebody else's to collect.
func (in *Intake) setFloor(key uint64) error {
	return in.st.Update(func(tx *store.Tx) error {
		tx.Set(in.floorKey(), store.Key(nil).U64(key))
		return nil
	})
}

// reached returns the highest key that the intake has dealt with before this transaction.
func (in *Intake) reached(tx *store.Tx) (key uint64, ok bool, err error) {
	key, ok, err = in.known.Highest(tx)
	if err != nil {
		return 0, false, err
	}
	v, has, err := tx.Get(in.floorKey())
	if err == nil && has && len(v) == 8 {
		key, ok = max(key, binary.BigEndian.Uint64(v)), true
	}
	return key, ok, err
}

// findGap records the keys that the page skipped between what was reached before and its highest: one
// gap for a page, however many holes it has.
func (in *Intake) findGap(tx *store.Tx, w *work, prev uint64, seen bool) (*balance.Gap, error) {
	from := prev + 1
	if !seen {
		from = w.taken.Highest
		for _, k := range w.keys {
			from = min(from, k)
		}
	}
	if w.taken.Highest < from {
		return nil, nil
	}
	g := balance.Gap{Source: in.id, Cause: balance.Hole, State: balance.GapFound,
		Found: time.Now().UTC(), Next: time.Now().UTC().Add(settleTime)}
	if err := in.measure(tx, &g, from, w.taken.Highest); err != nil || g.Missing == 0 {
		return nil, err
	}
	if c := w.page.Complete; c != nil && c.From <= g.From && c.To >= g.To {
		g.Looks = 1
	} else {
		g.Cause = balance.Cut
	}
	// After a salvage it is suspected that what is missing here was lost by us.
	old, had, err := balance.ReadGap(tx, in.id, g.From)
	if err != nil {
		return nil, err
	}
	if had && old.Cause == balance.Damage {
		g.Cause, g.Note = old.Cause, old.Note
	}
	return &g, balance.PutGap(tx, g)
}

// measure finds the first, the last and the number of the keys between from and to that are neither
// known nor absent.
func (in *Intake) measure(r store.Reader, g *balance.Gap, from, to uint64) error {
	g.Missing = 0
	seq, fail := in.known.Missing(r, from, to)
	for m := range seq {
		gone, err := in.absent.Count(r, m.From, m.To)
		if err != nil {
			return err
		}
		n := m.To - m.From + 1 - gone
		if n == 0 {
			continue
		}
		if g.Missing == 0 {
			g.From = m.From
		}
		g.To = m.To
		g.Missing += n
	}
	return fail()
}

// fill asks the source for the gaps that are due, at most FillPages pages. An error speaks of the
// source.
func (j *Job) fill(ctx context.Context) error {
	if !j.src.Traits().Fillable {
		return nil
	}
	var due []balance.Gap
	err := j.env.Store.View(ctx, func(r store.Reader) (err error) {
		due, err = j.dueGaps(r, time.Now())
		return err
	})
	if err != nil {
		return err
	}
	pages := j.cfg.FillPages
	for _, g := range due {
		for next := max(g.From, g.Asked+1); pages > 0 && next <= g.To && next != 0; pages-- {
			if next, err = j.askGap(ctx, g, next); err != nil {
				return err
			}
		}
		if pages == 0 {
			return nil
		}
	}
	return nil
}

// gapsAtOnce is how many gaps are in memory at once while those that are due are looked for.
const gapsAtOnce = 1000

// dueGaps returns as many of the gaps that are due as there are pages for, those that have waited longest first: else gaps of
// which no answer tells anything would keep others from ever being asked for.
func (j *Job) dueGaps(r store.Reader, now time.Time) (due []balance.Gap, err error) {
	some, err := balance.ListGaps(r, j.intake.id, true, gapsAtOnce)
	for err == nil && len(some) > 0 {
		for _, g := range some {
			if j.isDue(g, now) {
				due = append(due, g)
			}
		}
		slices.SortStableFunc(due, func(a, b balance.Gap) int { return a.Next.Compare(b.Next) })
		due = due[:min(len(due), j.cfg.FillPages)]
		some, err = balance.GapsBehind(r, some[len(some)-1].Place(), true, gapsAtOnce)
	}
	return due, err
}

// isDue reports whether a gap is to be asked for now. One that seems to be put off for longer than any is was put off before the
// clock was set back.
func (j *Job) isDue(g balance.Gap, now time.Time) bool {
	wait := g.Next.Sub(now)
	return wait <= 0 || wait > max(j.cfg.FillEvery, settleTime)
}

// askGap fetches one page for what is left of a gap from key from on, and returns where the next question
// begins; 0 if the answer told nothing.
func (j *Job) askGap(ctx context.Context, g balance.Gap, from uint64) (next uint64, err error) {
	j.fetchMu.Lock()
	page, err := j.src.Fetch(ctx, connector.Request{Fill: &connector.KeyRange{From: from, To: g.To}})
	j.fetchMu.Unlock()
	if err != nil {
		return 0, sourceError{err}
	}
	if _, err := j.takeIn(ctx, page, Fill); err != nil {
		return 0, err
	}
	covered := uint64(0) // up to where the source has shown all it has
	if c := page.Complete; c != nil && c.From <= from {
		covered = min(c.To, g.To)
	}
	var settled *balance.Gap
	err = j.whenRoom(ctx, func() (err error) {
		settled, err = j.intake.look(g.From, covered, j.cfg.FillEvery)
		return err
	})
	if err != nil {
		return 0, err
	}
	if settled != nil && settled.State != balance.GapFilling {
		j.env.History.Note("gap.settled", "gap %d to %d: %d came, %d are absent at the source",
			settled.From, settled.To, settled.Filled, settled.Absent)
	}
	if covered == 0 {
		return 0, nil
	}
	return covered + 1, nil
}

// look writes down what an answer says about a gap: up to covered (0: nowhere) the source has no more keys of it than we know.
// Once all of the gap is covered, that counts as one look.
func (in *Intake) look(gapFrom, covered uint64, again time.Duration) (*balance.Gap, error) {
	var out *balance.Gap
	err := in.st.Update(func(tx *store.Tx) error {
		g, ok, err := balance.ReadGap(tx, in.id, gapFrom)
		if err != nil || !ok || !g.State.Open() {
			return err
		}
		before, span := g.Missing, g
		if err := in.measure(tx, &span, g.From, g.To); err != nil {
			return err
		}
		g.Missing = span.Missing
		g.Filled += before - min(before, g.Missing)
		g.State, g.Next = balance.GapFilling, time.Now().UTC().Add(again)
		if g.Asked = max(g.Asked, covered); g.Asked >= g.To {
			g.Looks, g.Asked = g.Looks+1, 0
		}
		if g.Missing == 0 {
			g.State = balance.GapFilled
		} else if g.Looks >= settledLooks {
			if err := in.markAbsent(tx, span.From, span.To); err != nil {
				return err
			}
			g.Absent += g.Missing
			g.Missing, g.State = 0, balance.GapAbsent
		}
		out = &g
		return balance.PutGap(tx, g)
	})
	if err != nil {
		return nil, fmt.Errorf("settle gap from %d: %w", gapFrom, err)
	}
	return out, nil
}

// widestAbsent is the widest range whose absent keys are remembered one by one. A wider one is a break
// in the source's numbering: the gap's record says enough.
const widestAbsent = 1 << 31

// markAbsent remembers that the source does not have the keys between from and to that we do not know.
func (in *Intake) markAbsent(tx *store.Tx, from, to uint64) error {
	seq, fail := in.known.Missing(tx, from, to)
	for m := range seq {
		if m.To-m.From >= widestAbsent {
			continue
		}
		if _, err := in.absent.AddRange(tx, m); err != nil {
			return err
		}
	}
	return fail()
}
