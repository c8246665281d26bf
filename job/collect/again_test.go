package collect

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/kernel/store/storetest"
)

// TestWhatComesAgainForEverIsTakenInOnce: a source gives the same row, which has no time, and the same reject
// for longer than a key is known.
func TestWhatComesAgainForEverIsTakenInOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		schema := record.NewSchema([]arrow.Field{{Name: "name", Type: arrow.BinaryTypes.String}}, "name", "")
		st := storetest.Open(t, t.TempDir())
		in, err := OpenIntake(st, "job", "feed", schema, connector.SourceTraits{},
			IntakeOptions{Window: 48 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		rows := array.NewRecordBuilder(memory.DefaultAllocator, schema.Schema)
		rows.Field(0).(*array.StringBuilder).Append("alpha")
		page := connector.Page{Rows: rows.NewRecordBatch(), Cursor: []byte("1"),
			Rejected: []connector.Reject{{Raw: []byte("x"), Reason: "no"}}}
		accepted, rejected := int64(0), int64(0)
		for range 24 * 6 {
			taken, err := in.Take(t.Context(), page, Follow)
			if err == nil {
				err = in.forget(time.Now())
			}
			if err != nil {
				t.Fatal(err)
			}
			accepted, rejected = accepted+taken.Accepted, rejected+taken.Rejected
			time.Sleep(time.Hour)
		}
		if accepted != 1 || rejected != 1 {
			t.Errorf("the row was taken in %d times in 6 days, the reject %d times, want once", accepted, rejected)
		}
	})
}
