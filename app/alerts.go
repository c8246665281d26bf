package app

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/connector/notify"
)

// Alerts says when people are told, and how often.
type Alerts struct {
	// Gate: people are told of a gate that is closed for longer than this; default 10m.
	Gate time.Duration `yaml:"gate"`
	// Lag: they are told of a row or a file that waits for longer than this; default 1h.
	Lag time.Duration `yaml:"lag"`
	// Silence: they are told when nothing new came for so many times the usual time; default 10.
	Silence int `yaml:"silence"`
	// Again is the least time between two messages of one kind and job; default 1h.
	Again time.Duration `yaml:"again"`
	// Summary is the time of day at which they are told how things stand, or off; default 09:00.
	Summary string `yaml:"summary"`
}

// WithDefaults returns a with everything filled in that has a default.
func (a Alerts) WithDefaults() Alerts {
	a.Gate, a.Lag = orElse(a.Gate, 10*time.Minute), orElse(a.Lag, time.Hour)
	a.Silence, a.Again = orElse(a.Silence, 10), orElse(a.Again, time.Hour)
	a.Summary = orElse(a.Summary, "09:00")
	return a
}

// NoSummary is the Summary that is none.
const NoSummary = "off"

// checkSummary says what is wrong with the time of the summary, "" if nothing is.
func (a Alerts) checkSummary() string {
	if _, err := time.Parse("15:04", a.Summary); a.Summary == "" || a.Summary == NoSummary || err == nil {
		return ""
	}
	return fmt.Sprintf("want a time of day such as 09:00, or %s, got %q", NoSummary, a.Summary)
}

// Due is the last moment at or before now for which there is a summary; ok is false if there are none.
func (a Alerts) Due(now time.Time) (at time.Time, ok bool) {
	clock, err := time.Parse("15:04", a.Summary)
	if err != nil {
		return at, false
	}
	year, month, day := now.Date()
	at = time.Date(year, month, day, clock.Hour(), clock.Minute(), 0, 0, now.Location())
	if at.After(now) {
		at = time.Date(year, month, day-1, clock.Hour(), clock.Minute(), 0, 0, now.Location())
	}
	return at, true
}

// TestNotify sends a test to every target; told hears how each went.
func (c *Config) TestNotify(told func(name string, err error)) (err error) {
	if len(c.Notify) == 0 {
		return fault.WithHint(fault.New(fault.NotFound, "nobody is to be told"), "name a target below notify:")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Notify)) {
		target, e := notify.Open(c.Notify[name])
		if e == nil {
			e = target.Send("Holdfast: this is a test")
		}
		told(name, e)
		if e != nil {
			err = errors.Join(err, fmt.Errorf("notify %s: %w", name, e))
		}
	}
	return err
}

// checkNotify says what is wrong with the URL of a target, "" if nothing is.
func checkNotify(url secret.Text) string {
	if _, err := notify.Open(url); err != nil {
		return err.Error()
	}
	return ""
}
