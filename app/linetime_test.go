package app

import (
	"testing"
	"time"
)

func TestLineTimes(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	l := lineTimes{now: now}
	for line, want := range map[string]string{
		"Dec 10 06:55:46 LabSZ sshd[24200]: x":                           "2025-12-10T06:55:46Z", // the last one that is over
		"Feb 29 00:00:00 host x":                                         "",                     // there is none in either year
		"Mar  1 11:59:59 host x":                                         "2026-03-01T11:59:59Z",
		"2026-01-31T12:00:00.5+01:00 x":                                  "2026-01-31T11:00:00.5Z",
		"2026-01-31T12:00:00Z":                                           "2026-01-31T12:00:00Z",
		"2026-01-31 12:00:00,123 INFO x":                                 "2026-01-31T12:00:00Z",
		"2026/01/31 12:00:00 [error] x":                                  "2026-01-31T12:00:00Z",
		`10.0.0.1 - - [31/Jan/2026:13:55:36 -0700] "GET / HTTP/1.0" 200`: "2026-01-31T20:55:36Z",
		"[Sat Jan 31 13:55:36 2026] [error] x":                           "2026-01-31T13:55:36Z",
		"1769860800.250 12 x":                                            "2026-01-31T12:00:00.25Z",
		"no time at all":                                                 "",
		"":                                                               "",
		"12345 x":                                                        "",
	} {
		at, ok := l.of([]byte(line))
		got := ""
		if ok {
			got = at.UTC().Format(time.RFC3339Nano)
		}
		if got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func FuzzLineTimes(f *testing.F) {
	f.Add("Dec 10 06:55:46 x")
	f.Fuzz(func(t *testing.T, line string) {
		l := lineTimes{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
		l.of([]byte(line))
	})
}
