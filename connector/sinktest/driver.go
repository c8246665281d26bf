package sinktest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
)

// tb is what the suite needs of a test; a rapid check has it too.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
	Cleanup(func())
}

// driver plays the job: it makes deliveries, calls the sink as a job would, and knows what the
// target must hold.
type driver struct {
	t       tb
	tg      *Target
	sink    connector.Sink
	schema  record.Schema
	lineage record.Lineage
	next    uint64          // sequence of the next block
	id      uint64          // highest id given out
	seed    uint64          // of the next spots
	want    map[uint64]Spot // what the target must hold
}

// start returns a driver with a prepared sink.
func start(t tb, tg *Target) *driver {
	t.Helper()
	return startWith(t, tg, Schema())
}

// startWith is start for rows of another schema with the same columns.
func startWith(t tb, tg *Target, schema record.Schema) *driver {
	t.Helper()
	d := &driver{t: t, tg: tg, schema: schema, next: 1, id: 6_040_000_000, lineage: record.Lineage{1},
		want: map[uint64]Spot{}}
	d.renew()
	t.Cleanup(func() {
		if d.sink != nil {
			d.close()
		}
	})
	return d
}

// renew closes the sink and takes a new one, as a restarted process would.
func (d *driver) renew() {
	d.t.Helper()
	if d.sink != nil {
		d.close()
	}
	sink, err := d.tg.New()
	if err != nil {
		d.t.Fatalf("new sink: %v", err)
	}
	d.sink = sink
	d.prepare()
}

func (d *driver) close() {
	d.t.Helper()
	if err := d.sink.Close(); err != nil {
		d.t.Fatalf("close sink: %v", err)
	}
	d.sink = nil
}

// patient bounds what may take as long as a recovery.
func (d *driver) patient() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d.tg.Recovers)
}

// prepare calls Prepare until it succeeds.
func (d *driver) prepare() {
	d.t.Helper()
	ctx, cancel := d.patient()
	defer cancel()
	for {
		err := d.sink.Prepare(ctx, d.schema)
		if err == nil {
			return
		}
		d.wait(ctx, "prepare", err)
	}
}

// wait lets a moment pass after an outage; any other error, and the end of patience, is fatal.
func (d *driver) wait(ctx context.Context, what string, err error) {
	d.t.Helper()
	if !outage(err) {
		d.t.Fatalf("%s: kind %v, want an outage or success: %v", what, fault.KindOf(err), err)
	}
	select {
	case <-ctx.Done():
		d.t.Fatalf("%s: still failing after %v: %v", what, d.tg.Recovers, err)
	case <-time.After(20 * time.Millisecond):
	}
}

// outage reports whether a job would just try again after err.
func outage(err error) bool {
	switch fault.KindOf(err) {
	case fault.Transient, fault.Throttled, fault.Full, fault.Busy:
		return true
	}
	return false
}

// fresh returns n new spots.
func (d *driver) fresh(n int) []Spot {
	d.seed++
	spots := Spots(d.seed, d.id, n)
	if n > 0 {
		d.id = spots[n-1].ID
	}
	return spots
}

// delivery wraps spots as the next blocks.
func (d *driver) delivery(spots []Spot) connector.Delivery {
	d.t.Helper()
	rows := array.NewRecordBatch(d.schema.Schema, Batch(spots).Columns(), int64(len(spots)))
	_, hash, err := record.Encode(nil, rows)
	if err != nil {
		d.t.Fatalf("encode rows: %v", err)
	}
	blocks := uint64(1 + len(spots)/1000)
	del := connector.Delivery{
		Token: record.Token{Job: "spots", Lineage: d.lineage, First: d.next,
			Last: d.next + blocks - 1, Hash: hash},
		Schema: d.schema, Rows: rows, FirstAttempt: time.Now(),
	}
	d.next += blocks
	return del
}

// deliver writes as a job does: again with Unknown set after an outage, until the sink says what
// became of the rows.
func (d *driver) deliver(del connector.Delivery) connector.Verdict {
	d.t.Helper()
	ctx, cancel := d.patient()
	defer cancel()
	for {
		v, err := d.sink.Write(ctx, del)
		if err == nil {
			d.checkVerdict(del, v)
			return v
		}
		d.wait(ctx, "write", err)
		del.Unknown = true
		d.prepare()
	}
}

func (d *driver) checkVerdict(del connector.Delivery, v connector.Verdict) {
	d.t.Helper()
	n := del.Rows.NumRows()
	if v.Present < 0 || v.Present+int64(len(v.Rejected)) > n {
		d.t.Fatalf("verdict of %d rows: %d present and %d rejected", n, v.Present, len(v.Rejected))
	}
	seen := map[int]bool{}
	for _, r := range v.Rejected {
		if r.Row < 0 || int64(r.Row) >= n || seen[r.Row] || r.Reason == "" {
			d.t.Fatalf("rejected row %+v of %d: out of range, told twice or without a reason", r, n)
		}
		seen[r.Row] = true
	}
}

// expect adds spots to what the target must hold.
func (d *driver) expect(spots []Spot) {
	for _, s := range spots {
		d.want[s.ID] = s
	}
}

// send delivers fresh spots, which must all arrive.
func (d *driver) send(n int) (connector.Delivery, []Spot) {
	d.t.Helper()
	spots := d.fresh(n)
	del := d.delivery(spots)
	if v := d.deliver(del); len(v.Rejected) > 0 {
		d.t.Fatalf("%d of %d good rows rejected: %s", len(v.Rejected), n, v.Rejected[0].Reason)
	}
	d.expect(spots)
	return del, spots
}

func (d *driver) wanted() []Spot {
	out := make([]Spot, 0, len(d.want))
	for _, s := range d.want {
		out = append(out, s)
	}
	return out
}

// verify compares the target with what it must hold, row by row.
func (d *driver) verify() {
	d.t.Helper()
	got := d.rows()
	if diff := Difference(d.wanted(), got); diff != "" {
		d.t.Fatalf("the target is not what it should be: %s", diff)
	}
}

func (d *driver) rows() []Spot {
	d.t.Helper()
	got, err := d.tg.Rows()
	if err != nil {
		d.t.Fatalf("read rows back: %v", err)
	}
	return got
}

// do runs a hook's function.
func (d *driver) do(what string, f func() error) {
	d.t.Helper()
	if f == nil {
		return
	}
	if err := f(); err != nil {
		d.t.Fatalf("%s: %v", what, err)
	}
}

// fails writes once and wants an outage.
func (d *driver) fails(del connector.Delivery) {
	d.t.Helper()
	ctx, cancel := d.patient()
	defer cancel()
	_, err := d.sink.Write(ctx, del)
	if !outage(err) {
		d.t.Fatalf("write to a broken target: got %v (kind %v), want an outage", err, fault.KindOf(err))
	}
}

// tally is what a reader must say about keys.
func tally(spots []Spot, r connector.KeyRange) connector.Tally {
	var t connector.Tally
	seen := map[uint64]bool{}
	for _, s := range spots {
		if s.ID < r.From || s.ID > r.To {
			continue
		}
		t.Rows++
		if !seen[s.ID] {
			seen[s.ID] = true
			t.Distinct++
			t.Xor ^= s.ID
			t.Sum += s.ID
		}
	}
	return t
}

// errStop ends a walk over keys.
var errStop = errors.New("stop")

// keysOf returns the distinct ids in order.
func keysOf(spots []Spot) []uint64 {
	keys := make([]uint64, len(spots))
	for i, s := range spots {
		keys[i] = s.ID
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
