package tabletest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/sinktest"
)

// Keyed is one fresh, empty database of a sink whose configuration says what tells rows apart (`key`), and
// which of them replace others (`replace`).
type Keyed struct {
	// Table is the table that the sink writes to; its name needs no quotes. There is none yet.
	Table string
	// Sink returns a sink for Table, which is to create what is missing.
	Sink func(key []string, replace string) (connector.Sink, error)
	// Open returns a reader of the same database.
	Open func() (connector.Tables, error)
	// Exec runs a statement of SQL beside the sink.
	Exec func(statement string) error

	// LostAnswer makes one next write succeed while the sink learns of a failure.
	LostAnswer sinktest.Hook
	// Cut breaks the next write when about this many bytes of it have gone out; Undo stops that.
	Cut func(bytes int64) sinktest.Hook
	// Child is what Child's open is given to open the sink in a process of its own.
	Child []string
	// Histories is how many random histories are tried.
	Histories int
}

// replaceBy is the column of the revision, where rows replace others.
const replaceBy = "revision"

// RunKeyed runs the suite of keyed tables; open makes a fresh, empty target for each case.
func RunKeyed(t *testing.T, open func(t *testing.T) *Keyed) {
	for _, c := range []struct {
		name string
		run  func(k *keyed)
	}{
		{"same and other content", contents},
		{"twice in one delivery", twice},
		{"null in a key", nullKeys},
		{"repeats", repeats},
		{"rows lost by the target, by key", broughtBack},
		{"keys that do not fit", unfitKeys},
		{"tables that are there", foundTables},
		{"revisions in order", inOrder},
		{"revisions out of order", outOfOrder},
		{"two revisions in one delivery", together},
		{"halves of a revision", halves},
		{"repeat after a newer revision", lateRepeats},
		{"other content of one revision", sameRevision},
		{"what is refused replaces nothing", refusedReplaces},
		{"writer killed", killed},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(startKeyed(t, open(t))) })
	}
	t.Run("random histories", func(t *testing.T) { histories(t, open) })
}

// tb is what is needed of a test; a rapid check has it too.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Cleanup(func())
}

// keyed writes rows through sinks with a key, and knows nothing of what must stand.
type keyed struct {
	tb
	t       *testing.T
	tg      *Keyed
	sink    connector.Sink
	tables  connector.Tables
	lineage record.Lineage
	next    uint64 // block of the next delivery
}

func startKeyed(t *testing.T, tg *Keyed) *keyed {
	t.Helper()
	return startWith(t, t, tg)
}

func startWith(b tb, t *testing.T, tg *Keyed) *keyed {
	b.Helper()
	k := &keyed{tb: b, t: t, tg: tg, next: 1}
	var err error
	if k.tables, err = tg.Open(); err != nil {
		b.Fatalf("open the reader: %v", err)
	}
	b.Cleanup(func() {
		k.close()
		_ = k.tables.Close()
	})
	return k
}

func (k *keyed) close() {
	if k.sink != nil {
		_ = k.sink.Close()
	}
	k.sink = nil
}

// use takes a new sink with a key, as a restarted process would, and returns what Prepare says.
func (k *keyed) use(schema record.Schema, replace string, key ...string) error {
	k.Helper()
	k.close()
	sink, err := k.tg.Sink(key, replace)
	if err != nil {
		k.Fatalf("new sink: %v", err)
	}
	k.sink = sink
	return k.patiently(func(ctx context.Context) error { return k.sink.Prepare(ctx, schema) })
}

// begin takes a sink for rows that Keys tell apart.
func (k *keyed) begin(replace string) {
	k.Helper()
	if err := k.use(Schema(), replace, Keys...); err != nil {
		k.Fatalf("prepare: %v", err)
	}
}

// patiently calls f until it is no outage any more.
func (k *keyed) patiently(f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		err := f(ctx)
		if !fault.Is(err, fault.Transient) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// delivery wraps rows as the next block.
func (k *keyed) delivery(schema record.Schema, rows arrow.RecordBatch) connector.Delivery {
	k.Helper()
	_, hash, err := record.Encode(nil, rows)
	if err != nil {
		k.Fatalf("encode rows: %v", err)
	}
	d := connector.Delivery{Schema: schema, Rows: rows, FirstAttempt: time.Now(),
		Token: record.Token{Job: "weather", Lineage: k.lineage, First: k.next, Last: k.next, Hash: hash}}
	k.next++
	return d
}

// deliver writes until the sink says what became of the rows.
func (k *keyed) deliver(d connector.Delivery) (v connector.Verdict) {
	k.Helper()
	err := k.patiently(func(ctx context.Context) (err error) {
		v, err = k.sink.Write(ctx, d)
		d.Unknown = d.Unknown || err != nil
		return err
	})
	if err != nil {
		k.Fatalf("write: %v (kind %v)", err, fault.KindOf(err))
	}
	return v
}

// put delivers rows as a new block. present of them must be there or superseded, and these be refused.
func (k *keyed) put(rows []Row, present int64, refused ...connector.RowFault) {
	k.Helper()
	k.says(k.deliver(k.delivery(Schema(), Batch(rows))), present, refused...)
}

func (k *keyed) says(v connector.Verdict, present int64, refused ...connector.RowFault) {
	k.Helper()
	if v.Present != present || !slices.Equal(v.Rejected, refused) {
		k.Errorf("got %+v, want %d present and refused %+v", v, present, refused)
	}
}

// stand wants exactly these rows in the table, in any order.
func (k *keyed) stand(want ...Row) {
	k.Helper()
	got, wanted := k.rows(), make([]string, len(want))
	for i, r := range want {
		wanted[i] = text(r.values(Columns))
	}
	slices.Sort(wanted)
	if !slices.Equal(got, wanted) {
		k.Fatalf("the table holds %d rows\n  %s\nwant %d\n  %s", len(got), some(got), len(wanted), some(wanted))
	}
}

// rows are those of the table, as texts.
func (k *keyed) rows() []string {
	k.Helper()
	var got []string
	q := connector.TableQuery{Table: k.tg.Table, Time: "time", Columns: Columns}
	err := k.patiently(func(ctx context.Context) error {
		got = nil
		return k.tables.Rows(ctx, q, func(values []any) error {
			got = append(got, text(values))
			return nil
		})
	})
	if err != nil {
		k.Fatalf("read rows back: %v", err)
	}
	slices.Sort(got)
	return got
}

// exec runs SQL that must succeed.
func (k *keyed) exec(format string, args ...any) {
	k.Helper()
	if err := k.tg.Exec(fmt.Sprintf(format, args...)); err != nil {
		k.Fatalf("%v", err)
	}
}

// isOutage reports whether an error is one that a job tries again after.
func isOutage(err error) bool {
	return fault.Is(err, fault.Transient) || errors.Is(err, context.DeadlineExceeded)
}
