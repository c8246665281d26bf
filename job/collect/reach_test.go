package collect

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

// TestEditedKeyIsWithinReach: where the source numbers its rows, a mistyped key above all that came would hide
// every gap from then on.
func TestEditedKeyIsWithinReach(t *testing.T) {
	schema := record.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Uint64}}, "id", "")
	st := storetest.Open(t, t.TempDir())
	in, err := OpenIntake(st, "job", "feed", schema, connector.SourceTraits{DenseKeys: true}, IntakeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rows := array.NewRecordBuilder(memory.DefaultAllocator, schema.Schema)
	rows.Field(0).(*array.Uint64Builder).AppendValues([]uint64{7, 9}, nil)
	_, err = in.Take(t.Context(), connector.Page{Rows: rows.NewRecordBatch(), Cursor: []byte("9"),
		Rejected: []connector.Reject{{Raw: []byte("x"), Reason: "no", Loose: true}}}, Follow)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(id uint64) error {
		return in.EditDead(t.Context(), 1, Edit{Row: json.RawMessage(fmt.Sprintf(`{"id": %d}`, id))})
	}
	if err := edit(10_000_000_000); !fault.Is(err, fault.Invalid) {
		t.Errorf("a key far above: got %v, want it invalid", err)
	}
	if err := edit(8); err != nil {
		t.Error(err)
	}
	err = st.Update(func(tx *store.Tx) error {
		if reached, _, err := in.reached(tx); err != nil || reached != 9 {
			t.Errorf("the highest key is %d (%v), want 9", reached, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
