package app

import (
	"bytes"
	"strconv"
	"time"
)

// lineTimes finds out when lines of a log were written, by what they begin with.
type lineTimes struct {
	now  time.Time
	last int // of lineTimeForms, that fitted last
}

// lineTimeForms are how logs write times. Each takes what it needs from the begin of a line.
var lineTimeForms = []func(line []byte, now time.Time) (time.Time, bool){
	rfc3339Line, syslogLine,
	layoutLine("2006-01-02 15:04:05", 0), layoutLine("2006/01/02 15:04:05", 0), layoutLine("Mon Jan 02 15:04:05 2006", '['),
	layoutLine("02/Jan/2006:15:04:05 -0700", '['), unixLine,
}

// of is when a line was written; false if it does not say.
func (l *lineTimes) of(line []byte) (time.Time, bool) {
	line = line[:min(len(line), 300)]
	if at, ok := lineTimeForms[l.last](line, l.now); ok {
		return at, true
	}
	for i, form := range lineTimeForms {
		if at, ok := form(line, l.now); ok {
			l.last = i
			return at, true
		}
	}
	return time.Time{}, false
}

// rfc3339Line is 2026-01-31T12:00:00.123Z, and the like.
func rfc3339Line(line []byte, _ time.Time) (time.Time, bool) {
	if len(line) < 20 || line[10] != 'T' {
		return time.Time{}, false
	}
	end := bytes.IndexAny(line, " \t,]")
	if end < 0 {
		end = len(line)
	}
	at, err := time.Parse(time.RFC3339Nano, string(line[:end]))
	return at, err == nil
}

// syslogLine is Jan  2 15:04:05, of the year that makes it the last one that is over (RFC 3164, 4.1.2).
func syslogLine(line []byte, now time.Time) (time.Time, bool) {
	const layout = "Jan _2 15:04:05"
	if len(line) < len(layout) {
		return time.Time{}, false
	}
	for _, year := range []int{now.Year(), now.Year() - 1} {
		// Whether there is a 29th of February depends on the year.
		at, err := time.ParseInLocation("2006 "+layout, strconv.Itoa(year)+" "+string(line[:len(layout)]), now.Location())
		if err == nil && !at.After(now.AddDate(0, 0, 1)) {
			return at, true
		}
	}
	return time.Time{}, false
}

// layoutLine is a time of a layout that begins a line, or stands behind the first of a character.
func layoutLine(layout string, behind byte) func([]byte, time.Time) (time.Time, bool) {
	return func(line []byte, now time.Time) (time.Time, bool) {
		if behind != 0 {
			i := bytes.IndexByte(line, behind)
			if i < 0 {
				return time.Time{}, false
			}
			line = line[i+1:]
		}
		if len(line) < len(layout) {
			return time.Time{}, false
		}
		at, err := time.ParseInLocation(layout, string(line[:len(layout)]), now.Location())
		return at, err == nil
	}
}

// unixLine is seconds since 1970, as dmesg and squid write them.
func unixLine(line []byte, _ time.Time) (time.Time, bool) {
	end := bytes.IndexByte(line, ' ')
	if end < 10 {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseFloat(string(line[:end]), 64)
	if err != nil || seconds < 1e9 || seconds > 1e11 {
		return time.Time{}, false
	}
	return time.UnixMicro(int64(seconds * 1e6)), true
}
