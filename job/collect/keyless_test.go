package collect_test

import (
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/job/collect"
)

// TestReplayOfRowsWithoutAKey is refused, with the reason and what to do: also of blocks from before the source
// had a key, which a sink would have twice.
func TestReplayOfRowsWithoutAKey(t *testing.T) {
	st := emptyStore(t)
	bare := record.NewSchema(textSchema.Fields(), "", "at")
	open := func(s record.Schema) *collect.Intake {
		t.Helper()
		in, err := collect.OpenIntake(st, "spots", "feed", s, connector.SourceTraits{}, collect.IntakeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	in := open(bare)
	rows := readings(reading{"a", time.Now()}).Rows
	page := connector.Page{Rows: array.NewRecordBatch(bare.Schema, rows.Columns(), rows.NumRows())}
	if _, err := in.Take(t.Context(), page, collect.Follow); err != nil {
		t.Fatal(err)
	}
	before := readBooks(t, st)
	for what, c := range map[string]struct {
		s    record.Schema
		want string
		hint string
	}{
		"no key":         {bare, "its rows have no key", "name a key column"},
		"a key by today": {textSchema, "the rows of block 1, which came in at 20", "--from"},
	} {
		_, err := open(c.s).ReplayTo(t.Context(), collect.Replay{Sink: "main"}, func(_, _ uint64) {})
		if !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), c.want) ||
			!strings.Contains(fault.HintOf(err), c.hint) || !strings.Contains(fault.HintOf(err), "spool cat") {
			t.Errorf("%s: got %v (%s), want %q and a hint with %q", what, err, fault.HintOf(err), c.want, c.hint)
		}
	}
	if after := readBooks(t, st); after.Sinks[0].Flow != before.Sinks[0].Flow {
		t.Errorf("a replay that is refused changed the books: %+v, were %+v", after.Sinks[0].Flow, before.Sinks[0].Flow)
	}
}
