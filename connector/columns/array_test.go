package columns

import (
	"encoding/json"
	"testing"
	"time"

	"holdfast/base/record"
)

// FuzzArray: what is an array of JSON has the elements that encoding/json finds; what has elements here and is none
// there has one that is no JSON.
func FuzzArray(f *testing.F) {
	for _, text := range []string{`[]`, ` [ ] `, `[1,"a,]b",{"c":[1,2]},"\\\"]"]`, `[1`, `[1,]`, `[`, `{}`, `[1]x`, `[,1]`,
		`["a]`, `[[1,2],[3]]`, `[1 2]`, `[}]`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, ok := elements(text)
		var want []json.RawMessage
		if json.Unmarshal(text, &want) == nil && want != nil {
			if !ok || len(got) != len(want) {
				t.Fatalf("%q: got %d elements (%v), want %d", text, len(got), ok, len(want))
			}
			for i := range want {
				var a, b any
				if json.Unmarshal(got[i], &a) != nil || json.Unmarshal(want[i], &b) != nil {
					t.Fatalf("%q: element %d is %q, want %q", text, i, got[i], want[i])
				}
			}
			return
		}
		if json.Valid(text) && ok {
			t.Fatalf("%q is no array, and has %d elements", text, len(got))
		}
		for i := range got {
			if ok && !json.Valid(got[i]) {
				return
			}
		}
		if ok && !json.Valid(text) {
			t.Fatalf("%q is no JSON, and each of its %d elements is", text, len(got))
		}
	})
}

// TestArray: the elements of an array are rows, and half an array is none at all.
func TestArray(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	table, err := New(Spec{Columns: []Column{{Name: "at", Type: Time, Format: "2006-01-02 15:04"},
		{Name: "n", Type: Int64}}, Time: "at", Zone: berlin})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][2]int64{
		`[{"at":"2023-09-19 07:00","n":1},{"at":"2023-09-19 07:00","n":"x"},{"at":"2023-09-19 07:30","n":2}]`: {2, 1},
		`[{"at":"2023-09-19 07:00","n":1},{"at":"2023-09-`:                                                    {0, 1},
		`{"at":"2023-09-19 07:00","n":1}`:                                                                     {0, 1},
		`[]`:                                                                                                  {0, 0},
	} {
		r := table.Begin(t.Context())
		if err := r.AddArray([]byte(text)); err != nil {
			t.Fatal(err)
		}
		rows, err := r.Batch()
		if err != nil {
			t.Fatal(err)
		}
		if n := rows.NumRows(); n != want[0] || int64(len(r.Rejected)) != want[1] {
			t.Errorf("%s: got %d rows and %d rejects, want %v", text, n, len(r.Rejected), want)
		}
		if at, _ := record.EventTimes(table.Schema(), rows); rows.NumRows() > 0 && at(0).UTC().Hour() != 5 {
			t.Errorf("seven o'clock in Berlin is %v, want 5:00 UTC", at(0).UTC())
		}
	}
}
