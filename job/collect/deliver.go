package collect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/kernel/balance"
	"holdfast/kernel/gate"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// delivery is the work for one sink. It knows nothing of the others.
type delivery struct {
	Sink
	j    *Job
	k    *spool.Sink
	gate *gate.Gate

	settled chan struct{} // told after each settled delivery, for who waits for the backlog to shrink
	cached  cached
	drained int64 // rows replayed since the backlog was last empty
	mute    bool  // the sink could not say what it has when OnStart asked, and is not asked again there
	// doubtful: the sink may hold rows of a delivery whose outcome was not known when this process began.
	doubtful atomic.Bool
	brought  uint64      // the highest key that it had from us when this process began
	met      atomic.Bool // it was asked, in this process, how far its rows go
}

func newDelivery(j *Job, s Sink, k *spool.Sink) (*delivery, error) {
	d := &delivery{Sink: s, j: j, k: k, settled: make(chan struct{}, 1)}
	d.gate = gate.New(s.Name, gate.Options{Probe: d.prepare, OnChange: d.gateChanged, Closed: true,
		Fastest: s.Retry.Initial, Slowest: s.Retry.Max, Jitter: s.Retry.Jitter})
	err := j.env.Store.Latest(func(r store.Reader) (err error) {
		d.brought, err = spool.Brought(r, k.ID)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read what sink %s got: %w", s.Name, err)
	}
	return d, d.cached.begin(d)
}

// gateChanged tells of the sink, and when it went away of the rows that are kept for it.
func (d *delivery) gateChanged(g gate.Status) {
	d.j.env.History.Gate(g)
	if !g.Open {
		d.cached.closed()
	}
}

// prepare is the canary: it shows that the sink is there and takes rows like ours, and finds out up to which key the sink
// holds rows that this life of the store did not bring. It asks that once in each process, because another program may have
// written to the sink while we were away.
func (d *delivery) prepare(ctx context.Context) error {
	if err := d.Sink.Sink.Prepare(ctx, d.j.src.Schema()); err != nil {
		return err
	}
	if err := d.Sink.Sink.Probe(ctx); err != nil {
		return err
	}
	if d.met.Load() {
		return nil
	}
	h, others, err := d.holds(ctx)
	if err != nil {
		return err
	}
	// Keys above all that we brought before this process began are another program's, or come from a delivery whose outcome is
	// not known.
	above := max(d.brought, d.k.State().CheckTo)
	foreign := d.k.NeedsCheck()
	if !foreign && h > above {
		within, err := d.withinPlans(ctx, connector.KeyRange{From: above + 1, To: h})
		if err != nil {
			return err
		}
		d.doubtful.Store(true)
		foreign = !within
	}
	if foreign {
		if err := d.k.CheckTo(h, others); err != nil {
			return err
		}
	}
	d.met.Store(true)
	return nil
}

// withinPlans reports whether all keys that the sink holds of a range lie within our planned deliveries: those are compared by
// key then, and the others need not be.
func (d *delivery) withinPlans(ctx context.Context, in connector.KeyRange) (bool, error) {
	var planned [][2]uint64
	err := d.j.env.Store.View(ctx, func(r store.Reader) (err error) {
		planned, err = spool.Planned(r, d.k.ID)
		return err
	})
	if err != nil || len(planned) == 0 {
		return false, err
	}
	all, err := d.Sink.Sink.Reader().Tally(ctx, in)
	if err != nil {
		return false, err
	}
	ours := uint64(0)
	for _, p := range planned {
		part := connector.KeyRange{From: max(p[0], in.From), To: min(p[1], in.To)}
		if part.From > part.To {
			continue
		}
		t, err := d.Sink.Sink.Reader().Tally(ctx, part)
		if err != nil {
			return false, err
		}
		ours += t.Rows
	}
	return ours == all.Rows, nil
}

// holds asks the sink for the highest integer key that it holds, 0 for none. others says that it may hold rows without one.
func (d *delivery) holds(ctx context.Context) (highest uint64, others bool, err error) {
	r, s := d.Sink.Sink.Reader(), d.j.src.Schema()
	switch {
	case s.Key < 0: // nothing can be compared
		return 0, false, nil
	case r == nil:
		return 0, s.TextKeyed(), nil
	case s.TextKeyed():
		others, err = r.Holds(ctx)
		return 0, others, err
	}
	highest, ok, err := r.Highest(ctx)
	if err != nil || !ok {
		return 0, false, err
	}
	return highest, false, nil
}

// highest asks the sink how far its table goes, for a source without a cursor. A sink that is away does not hold the source
// up: the rows that it has are found by key when it is back.
func (d *delivery) highest(ctx context.Context) uint64 {
	if err := d.Sink.Sink.Prepare(ctx, d.j.src.Schema()); err != nil {
		return 0
	}
	h, _, err := d.holds(ctx)
	if err != nil {
		return 0
	}
	return h
}

func (d *delivery) flow(ctx context.Context) (f balance.Flow, err error) {
	err = d.j.env.Store.View(ctx, func(r store.Reader) error {
		f, err = balance.ReadFlow(r, d.k.ID)
		return err
	})
	return f, err
}

// run delivers until ctx ends. Writes run under grace, which outlives ctx for a while, because a
// delivery that is cut off has an unknown outcome.
func (d *delivery) run(ctx, grace context.Context) error {
	if d.j.cfg.Once {
		return d.runOnce(ctx, grace)
	}
	every, reading := d.Every, d.j.untilEnd(ctx)
	var next *ahead
	defer func() { next.stop() }()
	for {
		if d.j.sourceEnded() && ctx.Err() == nil { // what is left waits for no company
			if flow, err := d.flow(ctx); err != nil || flow.Pending == 0 {
				return err
			}
			every, reading = 0, ctx
		}
		if err := d.gate.Wait(ctx); err != nil {
			return err
		}
		if next == nil {
			next = d.readAhead(reading, every) // not before the sink was asked what it holds
		}
		now, err := next.take()
		next = nil
		if errors.Is(err, context.Canceled) && ctx.Err() == nil { // the source has ended meanwhile
			continue
		}
		if err != nil {
			return err
		}
		var ok bool
		err = d.j.whenRoom(ctx, func() (err error) {
			ok, err = d.k.Begin(now)
			return err
		})
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		// A plan in parts is worked off by itself: it may be cut again, or given up as a whole.
		if now.Whole() {
			next = d.readAhead(reading, every)
		}
		err = d.deliver(grace, now)
		if err != nil && !isSinkError(err) {
			return err
		}
		if err != nil {
			if err := d.interrupted(ctx, errors.Unwrap(err)); err != nil {
				return err
			}
		}
	}
}

// ahead is the next delivery, read while the sink is at work on the one before it.
type ahead struct {
	next   *spool.Delivery
	err    error
	cancel context.CancelFunc
	done   chan struct{} // closed when next and err stand
}

// readAhead begins to read the next delivery. run takes it, or stops it.
func (d *delivery) readAhead(ctx context.Context, every time.Duration) *ahead {
	a := &ahead{done: make(chan struct{})}
	ctx, a.cancel = context.WithCancel(ctx)
	go func() {
		defer close(a.done)
		a.err = fault.Catch(func() (err error) {
			a.next, err = d.k.Read(ctx, d.want(every))
			return err
		})
	}()
	return a
}

func (a *ahead) take() (*spool.Delivery, error) {
	<-a.done
	a.cancel()
	return a.next, a.err
}

func (a *ahead) stop() {
	if a == nil {
		return
	}
	a.cancel()
	<-a.done
}

// interrupted closes the gate, and sums up a drain that is cut short.
func (d *delivery) interrupted(ctx context.Context, err error) error {
	d.gate.Report(err)
	flow, err := d.flow(ctx)
	if err == nil {
		d.tellDrained(flow.Pending)
	}
	return err
}

// runOnce waits until the cycle's rows are in, and delivers all that the sink takes.
func (d *delivery) runOnce(ctx, grace context.Context) error {
	select {
	case <-d.j.intakeDone:
	case <-ctx.Done():
		return ctx.Err()
	}
	flow, err := d.flow(ctx)
	if err != nil || flow.Pending == 0 {
		return err
	}
	if err := d.prepare(ctx); err != nil {
		d.gate.Report(err)
		return nil
	}
	d.gate.OpenByHand()
	for flow.Pending > 0 {
		next, err := d.k.Next(ctx, d.want(0))
		if err != nil {
			return err
		}
		err = d.deliver(grace, next)
		if err != nil && !isSinkError(err) {
			return err
		}
		if flow, err = d.flowAfter(ctx, err); err != nil {
			return nil
		}
	}
	return nil
}

// flowAfter reads the flow, or tells that the sink went away.
func (d *delivery) flowAfter(ctx context.Context, failed error) (balance.Flow, error) {
	flow, err := d.flow(ctx)
	if err == nil && failed != nil {
		d.gate.Report(errors.Unwrap(failed))
		return flow, failed
	}
	return flow, err
}

func (d *delivery) want(every time.Duration) spool.Want {
	return spool.Want{Rows: d.Rows, Bytes: d.Bytes, Every: every}
}

// sinkError marks an error that speaks of the sink, not of us.
type sinkError struct{ error }

func (e sinkError) Unwrap() error { return e.error }

func isSinkError(err error) bool { _, ok := err.(sinkError); return ok }

// deliver writes one delivery and settles it. A sinkError means that it will be tried again.
func (d *delivery) deliver(ctx context.Context, next *spool.Delivery) error {
	if next.Damage != nil {
		return d.j.whenRoom(ctx, func() error { return d.forfeit(next) })
	}
	v, err := d.Sink.Sink.Write(ctx, connector.Delivery{Token: next.Token, Schema: next.Schema,
		Rows: next.Rows, FirstAttempt: next.FirstAttempt, Unknown: next.Unknown, ByKey: d.byKey(next)})
	switch {
	case err == nil:
		return d.settle(ctx, next, v)
	case fault.Is(err, fault.Invalid) && next.Rows.NumRows() > 1:
		return d.j.whenRoom(ctx, func() error { return d.k.Halve(next) })
	case fault.Is(err, fault.Invalid):
		return d.settle(ctx, next, connector.Verdict{Rejected: []connector.RowFault{{Reason: err.Error()}}})
	}
	d.k.Release(next)
	return sinkError{err}
}

// byKey reports whether the sink may hold rows of a delivery that another delivery brought. What is known of that may be
// younger than the plan.
func (d *delivery) byKey(next *spool.Delivery) bool {
	return next.ByKey || next.Unknown && d.doubtful.Load() || slices.ContainsFunc(next.Heads, d.k.Suspects)
}

// settle is the commit after a write: the rows are delivered or dead, and the sink is done with the blocks.
func (d *delivery) settle(ctx context.Context, next *spool.Delivery, v connector.Verdict) error {
	var flow balance.Flow
	err := d.j.whenRoom(ctx, func() error {
		return d.j.env.Store.Update(func(tx *store.Tx) (err error) {
			flow, err = d.record(tx, next, v)
			return err
		})
	})
	if err != nil {
		d.k.Release(next)
		return fmt.Errorf("settle delivery %s: %w", next.Token, err)
	}
	d.shrunk()
	d.tell(next, v, flow)
	return nil
}

// record writes down what became of a delivery, and returns the books after it.
func (d *delivery) record(tx *store.Tx, next *spool.Delivery, v connector.Verdict) (balance.Flow, error) {
	rows, dead := next.Rows.NumRows(), int64(len(v.Rejected))
	var lacking []uint64
	for _, f := range v.Rejected {
		if err := d.bury(tx, next, f); err != nil {
			return balance.Flow{}, err
		}
		seq, _ := next.At(f.Row)
		lacking = append(lacking, seq)
	}
	if err := d.onLack(tx, slices.Compact(lacking)); err != nil {
		return balance.Flow{}, err
	}
	bytes, err := d.k.Settle(tx, next)
	if err != nil {
		return balance.Flow{}, err
	}
	err = balance.AddFlow(tx, d.k.ID, balance.Flow{Delivered: rows - dead, Dead: dead, Pending: -rows,
		PendingBytes: -bytes})
	if err == nil {
		err = d.j.onSettle(tx)
	}
	if err != nil {
		return balance.Flow{}, err
	}
	return balance.ReadFlow(tx, d.k.ID)
}

// shrunk tells whoever waits for it that the backlog has shrunk.
func (d *delivery) shrunk() {
	select {
	case d.settled <- struct{}{}:
	default:
	}
}

// bury keeps a row that the sink refused, with the sink's words.
func (d *delivery) bury(tx *store.Tx, next *spool.Delivery, f connector.RowFault) error {
	if f.Row < 0 || int64(f.Row) >= next.Rows.NumRows() {
		return fault.New(fault.Unknown, "sink %s refused row %d of %d", d.Name, f.Row, next.Rows.NumRows())
	}
	row := next.Rows.NewSlice(int64(f.Row), int64(f.Row)+1)
	batch, hash, err := record.Encode(nil, row)
	if err != nil {
		return err
	}
	seq, at := next.At(f.Row)
	_, err = balance.Bury(tx, balance.DeadLetter{At: time.Now().UTC(), Stage: balance.AtSink, From: d.Name,
		FromID: d.k.ID, Seq: seq, Row: at, Key: keyText(next.Schema, row), Reason: f.Reason,
		Batch: batch, Hash: hash[:]})
	return err
}

func keyText(s record.Schema, row arrow.RecordBatch) string {
	if s.Key < 0 {
		return ""
	}
	return row.Column(s.Key).ValueStr(0)
}

// forfeit gives up a block that can't be read any more, as a gap of which people are told.
func (d *delivery) forfeit(next *spool.Delivery) error {
	var lost spool.Lost
	err := d.j.env.Store.Update(func(tx *store.Tx) (err error) {
		if lost, err = d.k.Forfeit(tx, next); err != nil {
			return err
		}
		return d.giveUp(tx, balance.Damage, &lost, next.Damage.Error())
	})
	if err != nil {
		return fmt.Errorf("give up damaged block %d: %w", next.Heads[0].Seq, err)
	}
	d.shrunk()
	d.j.env.History.Warn("damage.block", "sink %s does not get %s of block %d: %v", d.Name, plural.Of(lost.Rows, "row"),
		next.Heads[0].Seq, next.Damage)
	return nil
}

// giveUp counts as a gap what the sink will not get of a block that it is done with.
func (d *delivery) giveUp(tx *store.Tx, c balance.Cause, lost *spool.Lost, why string) error {
	h := lost.Heads[0]
	if h.Rows == 0 { // its head is lost as well: what was pending tells how many they were
		if err := d.recount(tx, lost); err != nil {
			return err
		}
	}
	if c == balance.Expired {
		tx.Set(expiredKey(d.k.ID, h.Seq), nil)
	}
	err := d.j.intake.lost(tx, c, d.Name, h.KeyLo, h.KeyHi, uint64(lost.Rows), why)
	if err != nil {
		return err
	}
	if err := d.onLack(tx, []uint64{h.Seq}); err != nil {
		return err
	}
	err = balance.AddFlow(tx, d.k.ID, balance.Flow{Expired: lost.Rows, Pending: -lost.Rows,
		PendingBytes: -lost.Bytes})
	if err != nil {
		return err
	}
	return d.j.onSettle(tx)
}

func (d *delivery) recount(tx *store.Tx, lost *spool.Lost) error {
	flow, err := balance.ReadFlow(tx, d.k.ID)
	if err != nil {
		return err
	}
	left, err := spool.Pending(tx, d.k.ID)
	lost.Rows, lost.Bytes = flow.Pending-left.Rows, flow.PendingBytes-left.Bytes
	return err
}

// tell logs a delivery on one line and, while a backlog drains, how far that has come.
func (d *delivery) tell(next *spool.Delivery, v connector.Verdict, flow balance.Flow) {
	if n := len(v.Rejected); n > 0 {
		d.j.env.History.Warn("dead.sink", "sink %s refused %d of %d %s, they are dead letters: %s", d.Name, n,
			next.Rows.NumRows(), d.j.cfg.Noun, v.Rejected[0].Reason)
	}
	all := next.Rows.NumRows()
	took := all - int64(len(v.Rejected))
	what := "Inserted %d %s into sink %s"
	if d.cached.covers(next.Heads[0].Seq) {
		d.drained += took
		d.cached.replayed(all)
		what = "Successfully replayed %d cached %s to sink %s"
	}
	if took > 0 {
		d.j.env.Log.Info(fmt.Sprintf(what, took, d.j.cfg.Noun, d.Name))
	}
	if d.drained > 0 && flow.Pending == 0 {
		d.tellDrained(flow.Pending)
	}
}

// tellDrained sums up a drain that is over, or that was cut short because the sink went away.
func (d *delivery) tellDrained(pending int64) {
	if d.drained > 0 {
		d.j.env.Log.Info(fmt.Sprintf("Cache replay: %d succeeded, %d still pending", d.drained, pending))
	}
	d.drained = 0
}
