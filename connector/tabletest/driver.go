package tabletest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
)

// driver writes rows through the sink and asks the reader for them.
type driver struct {
	*testing.T
	tg     *Target
	sink   connector.Sink // nil before the first write
	tables connector.Tables
	next   uint64 // block of the next delivery
}

func start(t *testing.T, tg *Target) *driver {
	t.Helper()
	d := &driver{T: t, tg: tg, next: 1}
	d.tables = d.open(tg.Open)
	t.Cleanup(d.closeSink)
	return d
}

// open opens a reader that is closed at the end of the test.
func (d *driver) open(open func() (connector.Tables, error)) connector.Tables {
	d.Helper()
	tables, err := open()
	if err != nil {
		d.Fatalf("open the reader: %v", err)
	}
	d.Cleanup(func() {
		if err := tables.Close(); err != nil {
			d.Errorf("close the reader: %v", err)
		}
	})
	return tables
}

func (d *driver) closeSink() {
	if d.sink == nil {
		return
	}
	if err := d.sink.Close(); err != nil {
		d.Errorf("close the sink: %v", err)
	}
	d.sink = nil
}

// write delivers rows, which must all arrive.
func (d *driver) write(rows ...Row) {
	d.Helper()
	if err := d.deliver(rows); err != nil {
		d.Fatal(err)
	}
}

// deliver is write for any goroutine.
func (d *driver) deliver(rows []Row) error {
	ctx, cancel := context.WithTimeout(context.Background(), d.tg.Recovers)
	defer cancel()
	if d.sink == nil {
		sink, err := d.tg.Sink()
		if err != nil {
			return fmt.Errorf("new sink: %w", err)
		}
		d.sink = sink
		if err := d.sink.Prepare(ctx, Schema()); err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}
	batch := Batch(rows)
	_, hash, err := record.Encode(nil, batch)
	if err != nil {
		return fmt.Errorf("encode rows: %w", err)
	}
	v, err := d.sink.Write(ctx, connector.Delivery{Schema: Schema(), Rows: batch, FirstAttempt: time.Now(),
		Token: record.Token{Job: "weather", First: d.next, Last: d.next, Hash: hash}})
	d.next++
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if len(v.Rejected) > 0 {
		return fmt.Errorf("%d good rows rejected: %s", len(v.Rejected), v.Rejected[0].Reason)
	}
	return nil
}

// query is for all rows and columns.
func (d *driver) query() connector.TableQuery {
	return connector.TableQuery{Table: d.tg.Table, Time: d.tg.Time, Columns: Columns}
}

// in bounds a question in time; what of an answer takes longer is told by the test.
func (d *driver) in() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d.tg.Recovers)
	d.Cleanup(cancel)
	return ctx
}

// ask returns the rows of an answer, each as a text.
func (d *driver) ask(ctx context.Context, q connector.TableQuery) ([]string, error) {
	var got []string
	err := d.tables.Rows(ctx, q, func(values []any) error {
		if len(values) != len(q.Columns) {
			return fmt.Errorf("a row has %d values, want %d", len(values), len(q.Columns))
		}
		got = append(got, text(values))
		return nil
	})
	return got, err
}

// gives wants exactly these rows, in this order but for those of one time.
func (d *driver) gives(q connector.TableQuery, want ...Row) {
	d.Helper()
	got, err := d.ask(d.in(), q)
	if err != nil {
		d.Errorf("%s: %v (kind %v)", told(q), err, fault.KindOf(err))
		return
	}
	texts := make([]string, len(want))
	for i, r := range want {
		texts[i] = text(r.values(q.Columns))
	}
	for i, j := 0, 0; i < len(want); i = j { // of one time in any order
		for j = i; j < len(want) && want[j].Time == want[i].Time; j++ {
		}
		slices.Sort(texts[i:j])
		if j <= len(got) {
			slices.Sort(got[i:j])
		}
	}
	if !slices.Equal(got, texts) {
		d.Errorf("%s: got %d rows\n  %s\nwant %d\n  %s", told(q), len(got), some(got), len(texts), some(texts))
	}
}

// told is a query as a message shows it.
func told(q connector.TableQuery) string {
	return fmt.Sprintf("rows of %q from %v to %v with %q, at most %d", q.Table, q.From, q.To, q.Equal, q.Limit)
}

func some(lines []string) string {
	const most = 20
	if len(lines) > most {
		lines = append(slices.Clone(lines[:most]), "...")
	}
	return strings.Join(lines, "\n  ")
}

// text shows values with their types.
func text(values []any) string {
	parts := make([]string, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case time.Time:
			parts[i] = v.Format(time.RFC3339Nano)
			if v.Location() != time.UTC {
				parts[i] += " not in UTC"
			}
		case string:
			parts[i] = fmt.Sprintf("%q", v)
		default:
			parts[i] = fmt.Sprintf("%T %v", v, v)
		}
	}
	return strings.Join(parts, ", ")
}

// newest wants the time of the newest row, or none for a zero time.
func (d *driver) newest(q connector.TableQuery, want time.Time) {
	d.Helper()
	at, ok, err := d.tables.Newest(d.in(), q)
	switch {
	case err != nil:
		d.Errorf("newest: %s: %v (kind %v)", told(q), err, fault.KindOf(err))
	case ok == want.IsZero() || ok && (!at.Equal(want) || at.Location() != time.UTC):
		d.Errorf("newest: %s: got %v %v, want %v in UTC", told(q), at, ok, want)
	}
}

// refused wants both questions to fail as something of a kind, and returns the errors.
func (d *driver) refused(ctx context.Context, tables connector.Tables, q connector.TableQuery,
	kind fault.Kind) []error {
	d.Helper()
	rows := tables.Rows(ctx, q, func([]any) error { return nil })
	_, _, newest := tables.Newest(ctx, q)
	for what, err := range map[string]error{"rows": rows, "newest": newest} {
		if !fault.Is(err, kind) {
			d.Errorf("%s: got %v (kind %v), want %v", what, err, fault.KindOf(err), kind)
		}
	}
	return []error{rows, newest}
}

// recovers asks until the answer is whole again; until then only outages may be told.
func (d *driver) recovers(want ...Row) {
	d.Helper()
	ctx := d.in()
	for {
		_, err := d.ask(ctx, d.query())
		if err == nil {
			d.gives(d.query(), want...)
			return
		}
		if !fault.Is(err, fault.Transient) {
			d.Fatalf("after an outage: got %v (kind %v), want an outage or success", err, fault.KindOf(err))
		}
		select {
		case <-ctx.Done():
			d.Fatalf("still failing after %v: %v", d.tg.Recovers, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// lacks reports whether a case can't be run, and logs why.
func (d *driver) lacks(reason string) bool {
	d.Helper()
	if reason != "" {
		d.Logf("not applicable to this target: %s", reason)
	}
	return reason != ""
}

// do runs a hook's function.
func (d *driver) do(f func() error) {
	d.Helper()
	if f == nil {
		return
	}
	if err := f(); err != nil {
		d.Fatal(err)
	}
}
