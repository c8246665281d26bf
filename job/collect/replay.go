package collect

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/base/record"
	"holdfast/kernel/balance"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// Replay is an order to deliver retained rows to a sink once more, or for the first time if they came in
// before the sink was added.
type Replay struct {
	Sink     string
	From, To time.Time // event time, else the time at which a block came in; zero for no bound
}

// Replayed says what a replay found.
type Replayed struct {
	Blocks int64 `json:"blocks"` // that are pending again
	Rows   int64 `json:"rows"`
	// Left are rows of these blocks that stay what they are: dead letters, or discarded.
	Left int64 `json:"left"`
	// Unreadable are blocks that are damaged.
	Unreadable []uint64 `json:"unreadable,omitempty"`
}

// replayStep is how many blocks a replay looks at in one commit.
const replayStep = 256

// Replay makes the blocks that lie in a range of time pending for a sink again, as a whole: rows around
// the range come with them. What the sink has is compared by key, so no row is there twice. The rows move
// between the terms of the sink's law, and those of before its time are added to it. What is done survives
// a crash; the same order given again is done again. tell is called with the blocks looked at and all.
func (in *Intake) Replay(ctx context.Context, k *spool.Sink, o Replay, tell func(done, all uint64)) (
	out Replayed, err error) {
	if in.schema.Key < 0 {
		return out, keyless("its rows", "name a key column in the source's configuration (a stream's rows can't have one): "+
			"rows that come in from then on can be replayed")
	}
	p := &replay{in: in, k: k, o: o}
	var stats spool.Stats
	err = in.st.View(ctx, func(r store.Reader) (err error) {
		stats, err = spool.ReadStats(r)
		return err
	})
	if err == nil {
		err = p.loadLeft(stats.First)
	}
	for from := stats.First; err == nil && from < stats.Next; from += replayStep {
		if err = ctx.Err(); err == nil {
			err = p.step(ctx, from, min(from+replayStep, stats.Next)-1)
		}
		tell(min(from+replayStep, stats.Next)-stats.First, stats.Next-stats.First)
	}
	if err == nil {
		err = in.st.Update(func(tx *store.Tx) error {
			return in.note(tx, "replay.ordered", "sink %s gets %s of %s again (%s)", k.Name,
				plural.Of(p.out.Rows, "row"), plural.Of(p.out.Blocks, "block"), o.span())
		})
	}
	if err != nil {
		err = fmt.Errorf("replay to %s: %w", k.Name, err)
	}
	return p.out, err
}

// keyless refuses rows that no sink could compare.
func keyless(what, hint string) error {
	return fault.WithHint(fault.New(fault.Conflict, "%s have no key, and rows without a key can't be replayed: nothing "+
		"tells which of them the sink has, and it would have those twice", what), "%s; what is here without one, "+
		"`holdfast spool cat --output FILE` writes to a file, to be loaded by hand", hint)
}

// ReplayTo is Replay while the job does not run.
func (in *Intake) ReplayTo(ctx context.Context, o Replay, tell func(done, all uint64)) (Replayed, error) {
	if in.sinks[o.Sink] == 0 {
		return Replayed{}, fault.New(fault.NotFound, "job %s has no sink %s", in.job, o.Sink)
	}
	k, err := in.sp.Sink(o.Sink)
	if err != nil {
		return Replayed{}, err
	}
	return in.Replay(ctx, k, o, tell)
}

func (o Replay) span() string {
	text := func(t time.Time) string {
		if t.IsZero() {
			return "…"
		}
		return t.UTC().Format(time.RFC3339)
	}
	return text(o.From) + " to " + text(o.To)
}

// replay is one order on its way.
type replay struct {
	in   *Intake
	k    *spool.Sink
	o    Replay
	left map[string]fate
	out  Replayed
}

// again is a block that becomes pending again.
type again struct {
	head spool.Head
	rows int64
	copy *spool.Block // of the rows that are not left; nil for all of them
}

// step looks at the blocks from first to last.
func (p *replay) step(ctx context.Context, first, last uint64) error {
	var found []again
	highest, texts := uint64(0), false
	touched := spool.Range{From: p.o.From, To: p.o.To}
	err := p.in.st.View(ctx, func(r store.Reader) error {
		heads, err := spool.Heads(r, first, last, replayStep)
		if err != nil {
			return err
		}
		for _, h := range heads {
			if h.Copy || h.Only != 0 && h.Only != p.k.ID || !touched.Touches(h) {
				continue
			}
			a, ok, err := p.look(r, h)
			if err != nil {
				return err
			}
			if ok {
				found = append(found, a)
				highest, texts = max(highest, h.KeyHi), texts || !h.HasKeys
			}
		}
		return nil
	})
	if err != nil || len(found) == 0 {
		return err
	}
	if err := p.k.Suspect(highest, texts); err != nil {
		return err
	}
	var out Replayed
	err = p.in.st.Update(func(tx *store.Tx) error {
		out = Replayed{}
		return p.commit(tx, found, &out)
	})
	p.out.Blocks, p.out.Rows, p.out.Left = p.out.Blocks+out.Blocks, p.out.Rows+out.Rows, p.out.Left+out.Left
	return err
}

// look reads a block, and copies it if some of its rows are not to come again.
func (p *replay) look(r store.Reader, h spool.Head) (again, bool, error) {
	_, rows, err := spool.Read(r, h.Seq)
	if fault.Is(err, fault.Corrupt) || fault.Is(err, fault.NotFound) {
		p.out.Unreadable = append(p.out.Unreadable, h.Seq)
		return again{}, false, nil
	}
	if err != nil {
		return again{}, false, err
	}
	s, err := p.in.schemaOf(rows)
	if err != nil {
		return again{}, false, err
	}
	if s.Key < 0 { // it came in before the source had one
		return again{}, false, keyless(fmt.Sprintf("the rows of block %d, which came in at %s,", h.Seq,
			h.At.UTC().Format(time.RFC3339)), "begin the replay behind them with --from")
	}
	kept, err := p.keep(s, rows, h.Only != 0)
	if err != nil || kept.NumRows() == 0 {
		return again{}, false, err
	}
	a := again{head: h, rows: kept.NumRows()}
	if kept.NumRows() < rows.NumRows() {
		if a.copy, err = spool.Build(h.Source, s, kept, nil); err != nil {
			return again{}, false, err
		}
		a.copy.AskSinks()
		a.copy.Copies()
	}
	return a, true, nil
}

// keep returns which rows of a block are to come again. Left out are rows that are dead letters or were discarded, and, in the
// block that they came with, rows that were retried and stand in a block of their own since.
func (p *replay) keep(s record.Schema, rows arrow.RecordBatch, retried bool) (arrow.RecordBatch, error) {
	if len(p.left) == 0 {
		return rows, nil
	}
	keep := make([]bool, rows.NumRows())
	for i := range keep {
		f, left := p.left[rows.Column(s.Key).ValueStr(i)]
		keep[i] = !left || retried && f == wasRetried
	}
	return record.Keep(rows, keep)
}

// commit makes blocks pending that the sink is still done with.
func (p *replay) commit(tx *store.Tx, found []again, out *Replayed) error {
	done, err := spool.Done(tx, p.k.ID)
	if err != nil {
		return err
	}
	st := p.k.State()
	flow := balance.Flow{}
	for _, a := range found {
		seq := a.head.Seq
		if seq >= st.Begin && !done(seq) {
			continue // it is pending, or on its way
		}
		if there, err := spool.Heads(tx, seq, seq, 1); err != nil || len(there) == 0 {
			if err != nil {
				return err
			}
			continue // it was let go since it was looked at
		}
		if err := p.count(tx, a.head, a.rows, st.Added, &flow); err != nil {
			return err
		}
		bytes := int64(a.head.Bytes)
		if a.copy == nil {
			err = p.k.Unsettle(tx, seq, seq)
		} else {
			bytes = int64(a.copy.Bytes())
			_, err = p.in.sp.AppendFor(tx, a.copy, p.k.ID)
		}
		if err != nil {
			return err
		}
		flow.Pending += a.rows
		flow.PendingBytes += bytes
		out.Blocks++
		out.Rows += a.rows
		out.Left += int64(a.head.Rows) - a.rows
	}
	return balance.AddFlow(tx, p.k.ID, flow)
}

// count takes rows of a block out of the term that they stand in.
func (p *replay) count(tx *store.Tx, h spool.Head, rows int64, added uint64, flow *balance.Flow) error {
	seq := h.Seq
	expired := expiredKey(p.k.ID, seq)
	_, was, err := tx.Get(expired)
	if err != nil {
		return err
	}
	if was {
		tx.Delete(expired)
		flow.Expired -= rows
		return balance.Recover(tx, p.in.id, h.KeyLo, p.k.ID, uint64(rows))
	}
	came := cameKey(p.k.ID, seq)
	if seq < added {
		_, was, err := tx.Get(came)
		if err != nil {
			return err
		}
		if !was {
			tx.Set(came, nil)
			flow.Accepted += rows
			return nil
		}
	}
	flow.Delivered -= rows
	return nil
}

// fate is what became of a row that does not belong any more to the block that it came with.
type fate byte

const (
	isDead       fate = 'x'
	wasDiscarded fate = 'd'
	wasRetried   fate = 'r'
)

// expiredKey marks a block that a sink let go undelivered, cameKey one from before a sink's time that it got
// all the same, leftKey a row that left its block, by its key.
func expiredKey(sink uint32, seq uint64) store.Key {
	return store.Job.K().Str("expired/").U32(sink).U64(seq)
}

func leftKey(sink uint32, key string) store.Key {
	return store.Job.K().Str("left/").U32(sink).Str(key)
}

func cameKey(sink uint32, seq uint64) store.Key {
	return store.Job.K().Str("came/").U32(sink).U64(seq)
}

// dropMarks forgets the marks of blocks that are gone.
func (in *Intake) dropMarks(tx *store.Tx) error {
	stats, err := spool.ReadStats(tx)
	if err != nil {
		return err
	}
	sinks, err := store.NamesOf(tx, store.SinkName)
	for _, id := range sinks {
		tx.DeleteRange(expiredKey(id, 0), expiredKey(id, stats.First))
		tx.DeleteRange(cameKey(id, 0), cameKey(id, stats.First))
	}
	return err
}

// leave remembers that a row is no longer a dead letter of a sink.
func leave(tx *store.Tx, d balance.DeadLetter, f fate) {
	if d.Key != "" {
		tx.Set(leftKey(d.FromID, d.Key), append([]byte{byte(f)}, store.Key(nil).U64(d.Seq)...))
	}
}

// loadLeft reads which rows are not to come again. What stood in blocks that are gone is forgotten.
func (p *replay) loadLeft(first uint64) error {
	p.left = map[string]fate{}
	prefix := leftKey(p.k.ID, "")
	err := p.in.st.Update(func(tx *store.Tx) error {
		seq, fail := tx.Scan(prefix, prefix.End())
		var gone []store.Key
		for k, v := range seq {
			key := append(store.Key(nil), k...)
			if len(v) != 9 || binary.BigEndian.Uint64(v[1:]) < first {
				gone = append(gone, key)
				continue
			}
			p.left[string(key[len(prefix):])] = fate(v[0])
		}
		for _, k := range gone {
			tx.Delete(k)
		}
		return fail()
	})
	if err != nil {
		return err
	}
	return p.in.st.View(context.Background(), func(r store.Reader) error {
		return balance.EachDead(r, func(d balance.DeadLetter) error {
			if d.Stage == balance.AtSink && d.FromID == p.k.ID {
				p.left[d.Key] = isDead
			}
			return nil
		})
	})
}

// Replays reports whether rows can be delivered again: only those that have a key can.
func (j *Job) Replays() bool { return j.intake.schema.Key >= 0 }

// Replay is Intake.Replay, for the running job.
func (j *Job) Replay(ctx context.Context, o Replay, tell func(done, all uint64)) (Replayed, error) {
	for _, d := range j.sinks {
		if d.Name == o.Sink {
			return j.intake.Replay(ctx, d.k, o, tell)
		}
	}
	return Replayed{}, fault.New(fault.NotFound, "job %s has no sink %s", j.env.Name, o.Sink)
}
