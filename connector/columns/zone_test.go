package columns

import (
	"strings"
	"testing"
	"time"

	"holdfast/base/record"
)

// TestClocksThatGoForwardAndBack: a time that a zone leaves out is a reject, and of one that comes twice the first is meant.
func TestClocksThatGoForwardAndBack(t *testing.T) {
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	table, err := New(Spec{Columns: []Column{{Name: "at", Type: Time, Format: "2006-01-02 15:04"}}, Time: "at", Zone: zone})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"2023-03-12 01:59": "2023-03-12T06:59:00Z",
		"2023-03-12 02:00": "",
		"2023-03-12 02:59": "",
		"2023-03-12 03:00": "2023-03-12T07:00:00Z",
		"2023-11-05 01:30": "2023-11-05T05:30:00Z",
		"2023-11-05 02:00": "2023-11-05T07:00:00Z",
	} {
		r := table.Begin(t.Context())
		if err := r.AddArray([]byte(`[{"at":"` + text + `"}]`)); err != nil {
			t.Fatal(err)
		}
		rows, err := r.Batch()
		if err != nil {
			t.Fatal(err)
		}
		if want == "" {
			if len(r.Rejected) != 1 || !strings.Contains(r.Rejected[0].Reason, "there is not in America/New_York") {
				t.Errorf("%s: got %v, want a reject", text, r.Rejected)
			}
			continue
		}
		if len(r.Rejected) > 0 {
			t.Errorf("%s: got %v", text, r.Rejected)
			continue
		}
		at, _ := record.EventTimes(table.Schema(), rows)
		if got := at(0).UTC().Format(time.RFC3339); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}
