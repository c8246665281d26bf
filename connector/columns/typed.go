package columns

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
)

// What an item of a source that knows types may have beside the values of JSON: time.Time, and these.
type (
	// Clock is a time that does not say of which zone it is: what a clock shows, in UTC.
	Clock time.Time
	// Odd is a value that no column can hold. What says what it is, as in "is binary, want text".
	Odd struct{ What string }
)

// clockLayout writes a Clock.
const clockLayout = "2006-01-02T15:04:05.999999999"

// plain makes a value of JSON of a typed one.
func plain(v any) (any, error) {
	switch v := v.(type) {
	case time.Time:
		return v.Format(time.RFC3339Nano), nil
	case Clock:
		return time.Time(v).Format(clockLayout), nil
	case Odd:
		return nil, errors.New("is " + v.What)
	}
	return v, nil
}

// plainFields makes values of JSON of the fields of an item, for an interpreter that knows no others. What there is none
// for is null.
func plainFields(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	var out map[string]any
	for name, v := range m {
		switch v.(type) {
		case time.Time, Clock, Odd:
			if out == nil {
				out = maps.Clone(m)
			}
			out[name], _ = plain(v)
		}
	}
	if out == nil {
		return m
	}
	return out
}

// in is the moment at which a clock of the zone shows the time.
func (c Clock) in(zone *time.Location) (time.Time, error) {
	w := time.Time(c)
	t := time.Date(w.Year(), w.Month(), w.Day(), w.Hour(), w.Minute(), w.Second(), w.Nanosecond(), zone)
	if w.Hour() != t.Hour() || w.Minute() != t.Minute() {
		return t, fmt.Errorf("is %s, a time that there is not in %v: clocks went forward over it", w.Format(clockLayout), zone)
	}
	return t, nil
}

// byDefault reads a time as people write it: a date, T or a blank, hours and minutes, seconds and their fraction if they
// are there, and a zone if it is there.
func byDefault(s string, zone *time.Location) (t time.Time, layout string, err error) {
	if t, err = time.Parse(time.RFC3339Nano, s); err == nil {
		return t, time.RFC3339Nano, nil
	}
	layout = likeLayout(s)
	t, err = time.ParseInLocation(layout, s, zone)
	return t, layout, err
}

// likeLayout is the layout that a text seems to have.
func likeLayout(s string) string {
	const date = len(time.DateOnly)
	layout := "2006-01-02T15:04"
	if len(s) <= date {
		return layout
	}
	if s[date] == ' ' {
		layout = "2006-01-02 15:04"
	}
	clock, offset := s[date+1:], ""
	if i := strings.IndexAny(clock, "Z+- "); i >= 0 {
		clock, offset = clock[:i], clock[i:]
	}
	if strings.Count(clock, ":") == 2 {
		layout += ":05" // a fraction may follow
	}
	if strings.HasPrefix(offset, " ") {
		layout, offset = layout+" ", offset[1:]
	}
	switch len(offset) {
	case 0:
		return layout
	case len("+02"):
		return layout + "Z07"
	case len("+0200"):
		return layout + "Z0700"
	}
	return layout + "Z07:00"
}
