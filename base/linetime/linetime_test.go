package linetime

import (
	"testing"
	"time"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestOf(t *testing.T) {
	for line, want := range map[string]string{
		"Dec 10 06:55:46 LabSZ sshd[24200]: x":                           "2025-12-10T06:55:46Z", // the last one that is over
		"Feb 29 00:00:00 host x":                                         "",                     // there is none in either year
		"Mar  1 11:59:59 host x":                                         "2026-03-01T11:59:59Z",
		"2026-01-31T12:00:00.5+01:00 x":                                  "2026-01-31T11:00:00.5Z",
		"2026-01-31T12:00:00Z":                                           "2026-01-31T12:00:00Z",
		"2026-01-31T12:00:00Zulu":                                        "2026-01-31T12:00:00Z",
		"2026-01-31 12:00:00,123 INFO x":                                 "2026-01-31T12:00:00.123Z",
		"2026-01-31 12:00:00.25 UTC [42] x":                              "2026-01-31T12:00:00.25Z",
		"2026-01-31 12:00:00 -0130 x":                                    "2026-01-31T13:30:00Z",
		"2026-01-31 12:00:00 -12345 is a number":                         "2026-01-31T12:00:00Z",
		"2026/01/31 12:00:00 [error] x":                                  "2026-01-31T12:00:00Z",
		"[2026-01-31T12:00:00] x":                                        "2026-01-31T12:00:00Z",
		"2026-02-30 12:00:00 x":                                          "",
		"2026-13-01 12:00:00 x":                                          "",
		"2026-01/31 12:00:00 x":                                          "",
		`10.0.0.1 - - [31/Jan/2026:13:55:36 -0700] "GET / HTTP/1.0" 200`: "2026-01-31T20:55:36Z",
		"[Sat Jan 31 13:55:36 2026] [error] x":                           "2026-01-31T13:55:36Z",
		"1769860800.250 12 x":                                            "2026-01-31T12:00:00.25Z",
		"no time at all":                                                 "",
		"":                                                               "",
		"12345 x":                                                        "",
	} {
		if got := shown((&Parser{Now: now}).Of([]byte(line))); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func shown(at time.Time, ok bool) string {
	if !ok {
		return ""
	}
	return at.UTC().Format(time.RFC3339Nano)
}

// What was read last is not taken for what only begins alike, and lines of several forms may stand in one log.
func TestSameText(t *testing.T) {
	p := &Parser{Now: now.In(time.FixedZone("", 3600))}
	for _, c := range [][2]string{
		{"2026-01-31 12:00:00", "2026-01-31T11:00:00Z"},
		{"2026-01-31 12:00:00.5", "2026-01-31T11:00:00.5Z"},
		{"2026-01-31 12:00:00Z", "2026-01-31T12:00:00Z"},
		{"2026-01-31 12:00:00 a", "2026-01-31T11:00:00Z"},
		{"2026-01-31 12:00:00 b", "2026-01-31T11:00:00Z"},
		{"none", ""},
		{"2026-01-31 12:00:00 +0000", "2026-01-31T12:00:00Z"},
		{"Jan 31 12:00:00 c", "2026-01-31T11:00:00Z"},
		{"Jan 31 12:00:01 c", "2026-01-31T11:00:01Z"},
	} {
		if got := shown(p.Of([]byte(c[0]))); got != c[1] {
			t.Errorf("%q: %q, want %q", c[0], got, c[1])
		}
	}
}

// A Parser says of a line what one says that has read no other.
func FuzzOf(f *testing.F) {
	f.Add("Dec 10 06:55:46 x", "2026-01-31 12:00:00 +0100 x")
	f.Fuzz(func(t *testing.T, before, line string) {
		p := Parser{Now: now}
		p.Of([]byte(before))
		if got, want := shown(p.Of([]byte(line))), shown((&Parser{Now: now}).Of([]byte(line))); got != want && p.last == 0 {
			t.Errorf("%q behind %q: %q, want %q", line, before, got, want)
		}
	})
}
