package warc

import (
	"time"

	"holdfast/base/fault"
)

// dateForms are the granularities of W3CDTF (5.4); RFC 3339's takes a fraction of a second too.
var dateForms = []string{time.RFC3339, "2006-01-02T15:04Z07:00", time.DateOnly, "2006-01", "2006"}

// ParseDate reads a WARC-Date of any granularity: what it leaves out is zero. An error is Invalid.
func ParseDate(s string) (time.Time, error) {
	for _, form := range dateForms {
		if t, err := time.Parse(form, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fault.New(fault.Invalid, "%.60q is no WARC-Date (2016-01-11T23:24:25.412Z)", s)
}

// appendDate writes as many digits of the second's fraction as there are: none, or one to nine (5.4).
func appendDate(b []byte, t time.Time) []byte { return t.UTC().AppendFormat(b, time.RFC3339Nano) }

// canDate reports whether a time has the four digits of a year that the format asks for.
func canDate(t time.Time) bool {
	year := t.UTC().Year()
	return !t.IsZero() && year >= 0 && year <= 9999
}
