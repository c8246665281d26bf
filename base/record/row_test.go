package record_test

import (
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/record"
)

// TestNullIsNone: what a person sets to null is none, in a column of texts too, and refused where each row has
// a value; the word itself is written as JSON.
func TestNullIsNone(t *testing.T) {
	t.Parallel()
	s := record.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Uint64},
		{Name: "s", Type: arrow.BinaryTypes.String}, {Name: "n", Type: arrow.PrimitiveTypes.Int8},
		{Name: "maybe", Type: arrow.BinaryTypes.String, Nullable: true}}, "id", "")
	const row = `{"id": 1, "s": "x", "n": 2, "maybe": "y"}`
	for column, want := range map[string]string{"s": "column s may not be null: every row has a text there",
		"n": "column n may not be null: every row has a value there", "id": "column id may not be null"} {
		_, err := record.ReadRow(s, []byte(row), map[string]string{column: "null"})
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s=null: got %v, want %q", column, err, want)
		}
	}
	b, err := record.ReadRow(s, []byte(row), map[string]string{"maybe": "null"})
	if err != nil || !b.Column(3).IsNull(0) {
		t.Errorf("maybe=null: got %v (%v), want none", b, err)
	}
	b, err = record.ReadRow(s, []byte(strings.ReplaceAll(row, `"x"`, `"null"`)), nil)
	if err != nil || b.Column(1).IsNull(0) || b.Column(1).ValueStr(0) != "null" {
		t.Errorf("the word null: got %v (%v)", b, err)
	}
}
