package serve

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/base/fault"
)

// params are the parameters of a request. What is wrong with them is gathered, so that all of it is told at
// once.
type params struct {
	values url.Values
	known  []string // those that were asked about
	faults []error
}

func readParams(r *http.Request) *params {
	p := new(params)
	var err error
	if p.values, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		p.bad("the query can't be read: %w", err)
	}
	return p
}

func (p *params) bad(format string, args ...any) {
	p.faults = append(p.faults, fmt.Errorf(format, args...))
}

// text is a parameter that may be missing; ok says whether it is there.
func (p *params) text(name string) (text string, ok bool) {
	p.known = append(p.known, name)
	switch values := p.values[name]; {
	case len(values) == 0:
		return "", false
	case len(values) > 1:
		p.bad("%s is there %d times", name, len(values))
	case values[0] == "":
		p.bad("%s is empty", name)
	default:
		return values[0], true
	}
	return "", false
}

// needed is a parameter that may not be missing.
func (p *params) needed(name string) string {
	text, ok := p.text(name)
	if !ok && len(p.values[name]) == 0 {
		p.bad("%s is missing", name)
	}
	return text
}

// hour is an hour of the day as reports have it, "00" to "23"; 7 means 07.
func (p *params) hour(text string) string {
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || len(text) > 2 || n > 23 {
		p.bad("hour: want 0 to 23, got %.50q", text)
	}
	return fmt.Sprintf("%02d", n)
}

// day is the day of the parameter date in UTC; ok is false if there is none.
func (p *params) day() (from, to time.Time, ok bool) {
	text, ok := p.text("date")
	if !ok {
		return from, to, false
	}
	from, err := time.Parse(time.DateOnly, text)
	if err != nil {
		p.bad("date: want a day such as 2023-09-19, got %.50q", text)
		return from, to, false
	}
	return from, from.AddDate(0, 0, 1), true
}

// span is the time between the parameters from and to, either of which may be missing.
func (p *params) span() (from, to time.Time) {
	from, to = p.time("from"), p.time("to")
	if !from.IsZero() && !to.IsZero() && !from.Before(to) {
		p.bad("from is not before to")
	}
	return from, to
}

func (p *params) time(name string) time.Time {
	text, ok := p.text(name)
	if !ok {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t, err = time.Parse(time.DateOnly, text)
	}
	if err != nil {
		p.bad("%s: want a time such as 2023-09-19T07:00:00Z or 2023-09-19, got %.50q", name, text)
		return time.Time{}
	}
	return t.UTC()
}

// limit is how many items are wanted.
func (p *params) limit(otherwise, most int) int {
	text, ok := p.text("limit")
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n < 1 || n > uint64(most) {
		p.bad("limit: want 1 to %d, got %.50q", most, text)
	}
	return int(n)
}

// err is everything that is wrong, also a parameter that nobody asked about: one that is mistyped would be a
// question without a bound.
func (p *params) err() error {
	var unknown []string
	for name := range p.values {
		if !slices.Contains(p.known, name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		p.bad("there is no parameter %.50q", name)
	}
	if len(p.faults) == 0 {
		return nil
	}
	words := strings.ReplaceAll(errors.Join(p.faults...).Error(), "\n", "; ")
	slices.Sort(p.known)
	return fault.WithHint(fault.New(fault.Invalid, "%s", words), "parameters are: %s",
		strings.Join(p.known, ", "))
}
