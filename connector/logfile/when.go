package logfile

import (
	"time"

	"holdfast/base/linetime"
)

// when says when lines were written.
type when struct {
	times linetime.Parser
	zone  *time.Location
	// What is read was written at low or later, if that is known, and at high or earlier.
	low, high time.Time
	last      time.Time // the time of the line before, if both were read at once
	// The end of this file was seen at that time.
	ended identity
	seen  time.Time
}

// end notes when the end of a file was seen: whatever is read of it later was written later.
func (c *when) end(s *source, at time.Time) { c.ended, c.seen = s.identity, at.Add(-clockTick) }

// read begins with what was read of a file at once.
func (c *when) read(s *source, now time.Time) {
	c.times.Now = now.In(c.zone)
	c.low, c.high, c.last = time.Time{}, s.mod, time.Time{}
	if s.identity == c.ended {
		c.low = c.seen
	}
	// The clock of a file's times may be another one, on a network: what is known by ours counts.
	if c.high.Before(c.low) {
		c.high = c.low
	}
	if c.high.After(now) {
		c.high = now
	}
}

// of returns when a line was written.
func (c *when) of(line []byte) time.Time {
	at, ok := c.times.Of(line)
	switch {
	case ok && at.Before(c.low):
		at = c.low
	case ok && at.After(c.high), !ok && c.last.IsZero():
		at = c.high
	case !ok:
		return c.last
	}
	c.last = at
	return at
}
