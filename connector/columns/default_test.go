package columns

import (
	"strings"
	"testing"
	"time"

	"holdfast/base/record"
)

// readTimes reads texts as a column of times, and returns each as RFC 3339, or its reject.
func readTimes(t *testing.T, c Column, zone *time.Location, loose bool, texts ...string) (out []string) {
	t.Helper()
	c.Name, c.Type = "at", Time
	table, err := New(Spec{Columns: []Column{c}, Time: "at", Zone: zone, Loose: loose})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		r := table.Begin(t.Context())
		if err := r.AddArray([]byte(`[{"at":"` + text + `"}]`)); err != nil {
			t.Fatal(err)
		}
		rows, err := r.Batch()
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Rejected) > 0 {
			out = append(out, r.Rejected[0].Reason)
			continue
		}
		at, _ := record.EventTimes(table.Schema(), rows)
		out = append(out, at(0).UTC().Format(time.RFC3339Nano))
	}
	return out
}

// TestTimesByDefault: a time is read as people write it; with a zone it is a moment, without one it is of the
// configuration's.
func TestTimesByDefault(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"2023-09-19 07:00":                    "2023-09-19T05:00:00Z",
		"2023-09-19 7:05":                     "2023-09-19T05:05:00Z",
		"2023-09-19T07:00":                    "2023-09-19T05:00:00Z",
		"2023-09-19 07:00:05":                 "2023-09-19T05:00:05Z",
		"2023-09-19T07:00:05.25":              "2023-09-19T05:00:05.25Z",
		"2023-09-19 07:00:05.000001":          "2023-09-19T05:00:05.000001Z",
		"2023-09-19 07:00Z":                   "2023-09-19T07:00:00Z",
		"2023-09-19T07:00:05Z":                "2023-09-19T07:00:05Z",
		"2023-09-19 07:00+02:00":              "2023-09-19T05:00:00Z",
		"2023-09-19T07:00:05-05:30":           "2023-09-19T12:30:05Z",
		"2023-09-19 07:00:05.5+0200":          "2023-09-19T05:00:05.5Z",
		"2023-09-19 07:00:05+00":              "2023-09-19T07:00:05Z",
		"2023-09-19 07:00:05 +00:00":          "2023-09-19T07:00:05Z",
		"2023-09-19T07:00:05.123456789+02:00": "2023-09-19T05:00:05.123456Z",
		"2023-03-26 02:30":                    "a time that there is not in Europe/Berlin",
		"2023-03-26T02:30:00":                 "a time that there is not in Europe/Berlin",
		"2023-03-26T02:30:00+01:00":           "2023-03-26T01:30:00Z",
		"2023-09-19 25:00":                    "want a time like 2006-01-02 15:04 or 2006-01-02T15:04:05Z07:00",
		"19.09.2023 07:00":                    "want a time like",
		"2023-09-19 07:00 in the morning":     "want a time like",
		"2023-02-29 07:00":                    "want a time like",
		"":                                    "want a time like",
		"2023-09-19 ":                         "want a time like",
	} {
		got := readTimes(t, Column{}, berlin, false, text)[0]
		if got != want && (want[0] == '2' || !strings.Contains(got, want)) {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

// TestTimesOfAFormat: a format is all that a column takes, but on the wire, where it may be too coarse for some.
func TestTimesOfAFormat(t *testing.T) {
	for _, format := range []string{"2006-01-02 15:04", "rfc3339"} {
		good, other := "2023-09-19 07:00", "2023-09-19T07:00:30Z"
		if format == "rfc3339" {
			good, other = other, good
		}
		got := readTimes(t, Column{Format: format}, nil, false, good, other)
		if got[0][:10] != "2023-09-19" || !strings.Contains(got[1], "want a time like") {
			t.Errorf("%s: got %q", format, got)
		}
		if got := readTimes(t, Column{Format: format}, nil, true, good, other); got[0][:10] != "2023-09-19" || got[1][:10] != "2023-09-19" {
			t.Errorf("%s, loose: got %q", format, got)
		}
	}
}
