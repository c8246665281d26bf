package columns

import (
	"strings"
	"testing"
)

// A message is one JSON value, or a reject that is the same when it is read again.
func TestMessage(t *testing.T) {
	table, err := New(Spec{Columns: []Column{{Name: "id", Type: Uint64}}, Key: "id", Extra: ExtraDrop})
	if err != nil {
		t.Fatal(err)
	}
	for raw, want := range map[string]string{
		`{"id":7}`: "", `{"id":"x"}`: "column id: is text, want a number", `{}`: "column id: is missing",
		`{"id":7`: "the message is no JSON", ``: "the message is no JSON", `{"id":7} 8`: "something stands behind",
	} {
		r := table.Begin(t.Context())
		if err := r.Add(Message([]byte(raw))); err != nil {
			t.Fatal(err)
		}
		rows, err := r.Batch()
		if err != nil || int(rows.NumRows())+len(r.Rejected) != 1 {
			t.Fatalf("%q: %d rows, %d rejects, %v", raw, rows.NumRows(), len(r.Rejected), err)
		}
		if len(r.Rejected) > 0 != (want != "") || want != "" && !strings.Contains(r.Rejected[0].Reason, want) {
			t.Errorf("%q: got %+v, want %q", raw, r.Rejected, want)
		}
		if p := table.Parse([]byte(raw)); (want == "") != (len(p.Rejected) == 0) {
			t.Errorf("%q read again: got %+v", raw, p.Rejected)
		}
	}
}
