package desk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/identity"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// Comparison is what a sink holds, against what the books say that it got.
type Comparison struct {
	Job  string `json:"job"`
	Sink string `json:"sink"`
	// From and To are the keys that were compared.
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
	Rows uint64 `json:"rows"` // in the sink, between them
	// Missing rows were delivered and are not there; Doubled ones are there more than once.
	Missing int64 `json:"missing"`
	Doubled int64 `json:"doubled"`
	// Excused rows are not there for a reason that the books know: they are pending, dead, discarded
	// or expired, or came before the sink was added.
	Excused int64 `json:"excused"`
	// Foreign rows are of another's making. They are told, not judged.
	Foreign int64 `json:"foreign"`
	// The first keys in question, at most maxKeys of each kind.
	MissingKeys []uint64 `json:"missing_keys,omitempty"`
	DoubledKeys []uint64 `json:"doubled_keys,omitempty"`
	Note        string   `json:"note,omitempty"`  // why missing keys are not named
	Error       string   `json:"error,omitempty"` // why it could not be compared
	Hint        string   `json:"hint,omitempty"`
}

// maxKeys is how many keys of each kind a comparison names.
const maxKeys = 100

// step is how many keys are compared by their sums at once. Where the sums differ the keys
// themselves are compared.
const step = 1 << 20

// compare asks a sink what it holds.
func (d *Desk) compare(ctx context.Context, b engine.Books, s engine.SinkBooks,
	tell func(Progress)) Comparison {
	c := Comparison{Job: b.Job, Sink: s.Sink}
	w := d.begin(b.Job, "comparing with sink "+s.Sink, tell)
	defer w.end()
	if err := d.compareSink(ctx, &c, b, s, w); err != nil {
		c.Error, c.Hint = err.Error(), fault.HintOf(err)
		return c
	}
	return c
}

// excuse takes off what is known by its number only: which rows a person let go, and which came
// before the sink was added and left the spool since, is not kept by key. Among others like that the
// ones that are missing can't be named.
func (c *Comparison) excuse(b engine.Books, s engine.SinkBooks, e *expected) {
	n := s.Discarded + e.discarded + max(0, b.Accepted-s.Accepted-e.early.count())
	if n = min(c.Missing, n); n == 0 {
		return
	}
	c.Missing -= n
	c.Excused += n
	c.MissingKeys = nil
	if c.Missing > 0 {
		c.Note = fmt.Sprintf("%d of the %d rows that are not there were discarded or came before the "+
			"sink was added; which ones is not kept, so the %d that are missing can't be named",
			n, n+c.Missing, c.Missing)
	}
}

func (d *Desk) compareSink(ctx context.Context, c *Comparison, b engine.Books, s engine.SinkBooks,
	w *Work) error {
	if j, _ := d.plan.Job(c.Job); j.Role() != "" {
		return d.compareStream(ctx, c, b, s, j.Role())
	}
	sink, err := d.plan.Sink(ctx, c.Job, c.Sink)
	if err != nil {
		if fault.Is(err, fault.NotFound) && fault.HintOf(err) == "" {
			err = fault.WithHint(err, "give the configuration with -c FILE, or ask while holdfast runs")
		}
		return err
	}
	defer sink.Close()
	reader := sink.Reader()
	if reader == nil {
		return fault.New(fault.Permanent, "this kind of sink can't be read back")
	}
	return d.with(ctx, c.Job, func(st *store.Store) error {
		known, err := knownSets(ctx, st)
		if err != nil {
			return err
		}
		return st.View(ctx, func(r store.Reader) error {
			e, err := expect(ctx, r, known, c.Sink)
			if err != nil || e == nil {
				return err
			}
			if err := c.walk(ctx, reader, e, w); err != nil {
				return err
			}
			c.excuse(b, s, e)
			return nil
		})
	})
}

// walk compares all that lies between the known keys, part by part. A stretch without any known key
// is one part, however long: a single key far above the others must not cost more than it is.
func (c *Comparison) walk(ctx context.Context, reader connector.SinkReader, e *expected,
	w *Work) error {
	c.From, c.To = e.from, e.to
	done := uint64(0)
	for from := e.from; ; {
		next, err := e.next(from)
		if err != nil {
			return err
		}
		to := min(next|(step-1), e.to)
		if next > from {
			have, err := reader.Tally(ctx, connector.KeyRange{From: from, To: next - 1})
			if err != nil {
				return err
			}
			c.Rows += have.Rows
			c.Foreign += int64(have.Rows)
		}
		n, err := c.part(ctx, reader, e, connector.KeyRange{From: next, To: to})
		if err != nil {
			return err
		}
		done += n
		w.at(int64(min(done, e.total)), int64(e.total))
		if to == e.to {
			return nil
		}
		from = to + 1
	}
}

// expected are the keys that a sink should hold: all that were taken in, but for those in excused.
type expected struct {
	r        store.Reader
	known    []*identity.Set
	from, to uint64
	total    uint64 // keys in known
	excused  keySet
	early    keySet                     // of blocks from before the sink was added
	letters  struct{ all, known int64 } // dead letters of the intake; those whose key is known
	// discarded is how many known keys are of items that were no rows and were let go: the key stays
	// known, so that the item does not come in again.
	discarded int64
}

// knownSets are the keys that each source has given so far.
func knownSets(ctx context.Context, st *store.Store) (sets []*identity.Set, err error) {
	var names map[string]uint32
	err = st.View(ctx, func(r store.Reader) error {
		names, err = store.NamesOf(r, store.SourceName)
		return err
	})
	for name := range names {
		set, err := identity.Open(st, name+"/known")
		if err != nil {
			return nil, err
		}
		sets = append(sets, set)
	}
	return sets, err
}

// expect finds out what a sink should hold; nil if no key is known.
func expect(ctx context.Context, r store.Reader, known []*identity.Set, sink string) (*expected, error) {
	e := &expected{r: r, known: known}
	found := false
	for _, set := range known {
		lo, ok, err := set.Lowest(r)
		if err != nil {
			return nil, err
		}
		hi, _, err := set.Highest(r)
		if err != nil {
			return nil, err
		}
		n, err := set.Total(r)
		if err != nil {
			return nil, err
		}
		e.total += n
		if ok && !found {
			e.from, e.to, found = lo, hi, true
		} else if ok {
			e.from, e.to = min(e.from, lo), max(e.to, hi)
		}
	}
	if !found {
		return nil, nil
	}
	sinks, err := store.NamesOf(r, store.SinkName)
	if err != nil {
		return nil, err
	}
	return e, errors.Join(e.lost(sink), e.dead(sink), e.letGo(), e.pending(ctx, sinks[sink]))
}

// letGo counts the known keys that are of no row and of no dead letter any more. Two sums bound it:
// items that were rejected may have had no key, and rows that every sink held already are known too.
func (e *expected) letGo() error {
	sources, err := store.NamesOf(e.r, store.SourceName)
	if err != nil {
		return err
	}
	var sum balance.Intake
	for _, id := range sources {
		in, err := balance.ReadIntake(e.r, id)
		if err != nil {
			return err
		}
		sum.Accepted += in.Accepted
		sum.Rejected += in.Rejected
	}
	e.discarded = max(0, min(sum.Rejected-e.letters.all,
		int64(e.total)-sum.Accepted-e.letters.known))
	return nil
}

// next is the first known key from a key on; there is one up to e.to.
func (e *expected) next(from uint64) (uint64, error) {
	// The first look is a short one: the ids of a long range are not all gone through for its first.
	for _, to := range []uint64{min(from|(step-1), e.to), e.to} {
		first, found := e.to, false
		for _, set := range e.known {
			seq, fail := set.Ranges(e.r, from, to)
			for part := range seq {
				first, found = min(first, part.From), true
				break
			}
			if err := fail(); err != nil {
				return 0, err
			}
		}
		if found {
			return first, nil
		}
	}
	return e.to, nil
}

// lost excuses what expired or was damaged.
func (e *expected) lost(sink string) error {
	sources, err := store.NamesOf(e.r, store.SourceName)
	if err != nil {
		return err
	}
	for _, id := range sources {
		gaps, err := balance.ListGaps(e.r, id, false, 1<<30)
		if err != nil {
			return err
		}
		for _, g := range gaps {
			if g.State == balance.GapLost && (g.Sink == "" || g.Sink == sink) {
				e.excused.addRange(connector.KeyRange{From: g.From, To: g.To})
			}
		}
	}
	return nil
}

// dead excuses what died at intake or at this sink.
func (e *expected) dead(sink string) error {
	return balance.EachDead(e.r, func(l balance.DeadLetter) error {
		if l.Stage == balance.AtSink && l.From != sink {
			return nil
		}
		key, none := strconv.ParseUint(l.Key, 10, 64)
		if none == nil {
			e.excused.add(key)
		}
		if l.Stage == balance.AtSink {
			return nil
		}
		e.letters.all++
		isKnown, err := e.has(key)
		if none == nil && isKnown {
			e.letters.known++
		}
		return err
	})
}

func (e *expected) has(key uint64) (bool, error) {
	for _, set := range e.known {
		if ok, err := set.Has(e.r, key); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// pending excuses what the sink has not got yet, and what came before it was added.
func (e *expected) pending(ctx context.Context, sink uint32) error {
	stats, err := spool.ReadStats(e.r)
	if err != nil {
		return err
	}
	waits, err := spool.Waiting(e.r, sink)
	if err != nil {
		return err
	}
	begin, err := beginOf(e.r, sink)
	if err != nil {
		return err
	}
	for seq := stats.First; seq < stats.Next; seq++ {
		into := &e.excused
		if seq < begin {
			into = &e.early
		} else if !waits(seq) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		_, rows, err := spool.Read(e.r, seq)
		if err != nil {
			continue // told by spool verify; its keys can't be known here
		}
		s, err := record.SchemaOf(rows.Schema())
		if err != nil {
			return err
		}
		keys, _ := record.Keys(s, rows)
		into.add(keys...)
	}
	return nil
}

// beginOf is the first block that a sink gets.
func beginOf(r store.Reader, sink uint32) (uint64, error) {
	var state spool.SinkState
	v, ok, err := r.Get(store.Sinks.K().U32(sink))
	if err != nil || !ok {
		return 0, err
	}
	if err := json.Unmarshal(v, &state); err != nil {
		return 0, fault.New(fault.Corrupt, "read state of sink %d: %w", sink, err)
	}
	return state.Begin, nil
}

// keys yields the known keys of a range, ascending.
func (e *expected) keys(r connector.KeyRange) iter.Seq2[uint64, error] {
	return func(yield func(uint64, error) bool) {
		for _, set := range e.known {
			seq, fail := set.Ranges(e.r, r.From, r.To)
			for part := range seq {
				for k := part.From; ; k++ {
					if !yield(k, nil) {
						return
					}
					if k == part.To {
						break
					}
				}
			}
			if err := fail(); err != nil && !yield(0, err) {
				return
			}
		}
	}
}

func (e *expected) excuses(key uint64) bool {
	return e.excused.has(key) || e.early.has(key)
}

// part compares one range, sums first, keys where they differ, and returns how many keys are known
// in it.
func (c *Comparison) part(ctx context.Context, reader connector.SinkReader, e *expected,
	r connector.KeyRange) (uint64, error) {
	have, err := reader.Tally(ctx, r)
	if err != nil {
		return 0, err
	}
	c.Rows += have.Rows
	var want connector.Tally
	for k, err := range e.keys(r) {
		if err != nil {
			return 0, err
		}
		want.Rows++
		want.Distinct++
		want.Xor ^= k
		want.Sum += k
	}
	if want == have {
		return want.Rows, nil
	}
	return want.Rows, c.keys(ctx, reader, e, r)
}

// keys walks the keys of the sink and the expected ones side by side.
func (c *Comparison) keys(ctx context.Context, reader connector.SinkReader, e *expected,
	r connector.KeyRange) error {
	next, stop := iter.Pull2(e.keys(r))
	defer stop()
	want, err, ok := next()
	absent := func() {
		if e.excuses(want) {
			c.Excused++
		} else if c.Missing++; len(c.MissingKeys) < maxKeys {
			c.MissingKeys = append(c.MissingKeys, want)
		}
		want, err, ok = next()
	}
	scanErr := reader.Keys(ctx, r, func(key, rows uint64) error {
		for ok && err == nil && want < key {
			absent()
		}
		if err != nil {
			return err
		}
		switch {
		case !ok || want != key:
			c.Foreign += int64(rows)
			return nil
		case rows > 1:
			c.Doubled += int64(rows - 1)
			if len(c.DoubledKeys) < maxKeys {
				c.DoubledKeys = append(c.DoubledKeys, key)
			}
		}
		want, err, ok = next()
		return nil
	})
	for ok && err == nil && scanErr == nil {
		absent()
	}
	if scanErr != nil {
		return scanErr
	}
	return err
}
