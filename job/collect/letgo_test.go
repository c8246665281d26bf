package collect

import (
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

// TestReplayOfABlockThatWasLetGo: a block that goes between the look of a replay and its commit does not wait
// for a sink: it would be told as damage.
func TestReplayOfABlockThatWasLetGo(t *testing.T) {
	schema := record.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Uint64}}, "id", "")
	st := storetest.Open(t, t.TempDir())
	in, err := OpenIntake(st, "job", "feed", schema, connector.SourceTraits{}, IntakeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	k, err := in.sp.Sink("main")
	if err != nil {
		t.Fatal(err)
	}
	rows := array.NewRecordBuilder(memory.DefaultAllocator, schema.Schema)
	rows.Field(0).(*array.Uint64Builder).Append(7)
	b, err := spool.Build(in.id, schema, rows.NewRecordBatch(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var heads []spool.Head
	err = st.Update(func(tx *store.Tx) error { _, err := in.sp.Append(tx, b); return err })
	if err == nil {
		err = st.Update(func(tx *store.Tx) (err error) { heads, err = k.Expire(tx, 1); return err })
	}
	if err == nil {
		_, err = in.sp.Trim(spool.Retain{}, time.Now().Add(time.Hour))
	}
	if err != nil || len(heads) != 1 {
		t.Fatalf("got %d blocks (%v)", len(heads), err)
	}
	var out Replayed
	p := &replay{in: in, k: k}
	err = st.Update(func(tx *store.Tx) error { return p.commit(tx, []again{{head: heads[0], rows: 1}}, &out) })
	if err != nil || out.Rows != 0 {
		t.Errorf("%d rows come again (%v), want none: they are gone", out.Rows, err)
	}
}
