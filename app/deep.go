package app

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

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
	if err := d.compareSink(ctx, &c, w); err != nil {
		c.Error, c.Hint = err.Error(), fault.HintOf(err)
		return c
	}
	// Which rows a person let go, and which came before the sink was added, is not kept by key, but
	// their number is.
	n := min(c.Missing, s.Discarded+max(0, b.Accepted-s.Accepted))
	c.Missing -= n
	c.Excused += n
	if c.Missing == 0 {
		c.MissingKeys = nil
	}
	return c
}

func (d *Desk) compareSink(ctx context.Context, c *Comparison, w *Work) error {
	sink, err := d.plan.Sink(ctx, c.Job, c.Sink)
	if err != nil {
		if fault.HintOf(err) == "" {
			err = hint(err, "give the configuration with -c FILE, or ask while holdfast runs")
		}
		return err
	}
	defer sink.Close()
	reader := sink.Reader()
	if reader == nil {
		return fault.New(fault.Permanent, "this kind of sink can't be read back")
	}
	return d.with(c.Job, func(st *store.Store) error {
		known, err := knownSets(ctx, st)
		if err != nil {
			return err
		}
		return st.View(ctx, func(r store.Reader) error {
			e, err := expect(r, known, c.Sink)
			if err != nil || e == nil {
				return err
			}
			c.From, c.To = e.from, e.to
			for from := e.from; from <= e.to; {
				to := min(from|(step-1), e.to)
				if err := c.part(ctx, reader, e, connector.KeyRange{From: from, To: to}); err != nil {
					return err
				}
				w.at(int64(to-e.from+1), int64(e.to-e.from+1))
				if from = to + 1; from == 0 {
					break
				}
			}
			return nil
		})
	})
}

// expected are the keys that a sink should hold: all that were taken in, but for those in excused.
type expected struct {
	r        store.Reader
	known    []*identity.Set
	from, to uint64
	excused  map[uint64]bool
	spans    []connector.KeyRange // excused as a whole
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
func expect(r store.Reader, known []*identity.Set, sink string) (*expected, error) {
	e := &expected{r: r, known: known, excused: map[uint64]bool{}}
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
	return e, errors.Join(e.lost(sink), e.dead(sink), e.pending(sinks[sink]))
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
				e.spans = append(e.spans, connector.KeyRange{From: g.From, To: g.To})
			}
		}
	}
	return nil
}

// dead excuses what died at intake or at this sink.
func (e *expected) dead(sink string) error {
	for after := uint64(0); ; {
		letters, err := balance.ListDead(e.r, after, 1000)
		if err != nil || len(letters) == 0 {
			return err
		}
		for _, l := range letters {
			after = l.ID
			if l.Stage == balance.AtSink && l.From != sink {
				continue
			}
			var key uint64
			if _, err := fmt.Sscan(l.Key, &key); err == nil {
				e.excused[key] = true
			}
		}
	}
}

// pending excuses what the sink has not got yet, and what came before it was added.
func (e *expected) pending(sink uint32) error {
	stats, err := spool.ReadStats(e.r)
	if err != nil {
		return err
	}
	done, err := deliveredTo(e.r, sink)
	if err != nil {
		return err
	}
	for seq := stats.First; seq < stats.Next; seq++ {
		if done(seq) {
			continue
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
		for _, k := range keys {
			e.excused[k] = true
		}
	}
	return nil
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
	return e.excused[key] || slices.ContainsFunc(e.spans, func(s connector.KeyRange) bool {
		return s.From <= key && key <= s.To
	})
}

// part compares one range: sums first, keys where they differ.
func (c *Comparison) part(ctx context.Context, reader connector.SinkReader, e *expected,
	r connector.KeyRange) error {
	have, err := reader.Tally(ctx, r)
	if err != nil {
		return err
	}
	c.Rows += have.Rows
	var want connector.Tally
	for k, err := range e.keys(r) {
		if err != nil {
			return err
		}
		want.Rows++
		want.Distinct++
		want.Xor ^= k
		want.Sum += k
	}
	if want == have {
		return nil
	}
	return c.keys(ctx, reader, e, r)
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
