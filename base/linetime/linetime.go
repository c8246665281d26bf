// Package linetime finds out when a line of a log was written, by the time that it begins with.
//
// A line can say what it likes: who acts on its time should check it against bounds from elsewhere (when the file was last
// written to, when its end was last seen). Times without a zone are in the zone of Parser.Now; times without a year are the
// latest such that are not after it, give or take a day.
package linetime

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// Parser reads the times of the lines of one log: it tries first what fitted last. For one goroutine at a time.
type Parser struct {
	// Now is when the lines are read, in the zone of their times.
	Now time.Time

	last int       // index of the form that fitted last
	text []byte    // what the last time was read from, and two bytes behind it; empty if those may belong to a time
	at   time.Time // the last time
}

// mostLooked is how much of a line is looked at.
const mostLooked = 300

// form reads a time at the beginning of a line, of n bytes; n is 0 if there is none.
type form func(line []byte, now time.Time) (at time.Time, n int)

// forms are how logs write times.
var forms = []form{isoLine, syslogLine, layoutLine("Mon Jan 02 15:04:05 2006", '['),
	layoutLine("02/Jan/2006:15:04:05 -0700", '['), unixLine}

// Of is when a line was written; false if it does not say.
func (p *Parser) Of(line []byte) (time.Time, bool) {
	line = line[:min(len(line), mostLooked)]
	if len(p.text) > 0 && bytes.HasPrefix(line, p.text) { // many lines of a second have its text
		return p.at, true
	}
	if p.try(p.last, line) {
		return p.at, true
	}
	for i := range forms {
		if i != p.last && p.try(i, line) {
			p.last = i
			return p.at, true
		}
	}
	return time.Time{}, false
}

func (p *Parser) try(i int, line []byte) bool {
	at, n := forms[i](line, p.Now)
	if n == 0 {
		return false
	}
	p.at, p.text = at, p.text[:0]
	// In another line a fraction or a zone may follow the same text, and make it another time.
	if n+2 <= len(line) && bytes.IndexByte([]byte("+-ZUG0123456789"), line[n+1]) < 0 {
		p.text = append(p.text, line[:n+2]...)
	}
	return true
}

// isoLine is 2026-01-31T12:00:00.123Z and the like (ISO 8601, RFC 3339): with a space or a T, slashes or hyphens, a bracket
// before it, a fraction, and a zone, or without.
func isoLine(line []byte, now time.Time) (time.Time, int) {
	s := scanner{b: line}
	s.skip('[')
	year := s.number(4)
	sep := s.one("-/")
	month, _, day := s.number(2), s.one(sep), s.number(2)
	s.one("T ")
	hour, _, minute, _, second := s.number(2), s.one(":"), s.number(2), s.one(":"), s.number(2)
	if s.bad || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 60 {
		return time.Time{}, 0
	}
	nano := s.fraction()
	at := time.Date(year, time.Month(month), day, hour, minute, second, nano, s.zone(now.Location()))
	if d := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC); d.Day() != day {
		return time.Time{}, 0 // there is no such day
	}
	return at, s.at
}

// scanner reads the parts of a time. It is bad after the first that is not there.
type scanner struct {
	b   []byte
	at  int
	bad bool
}

// skip passes over a byte, if it is there.
func (s *scanner) skip(c byte) {
	if s.at < len(s.b) && s.b[s.at] == c {
		s.at++
	}
}

// number is one of so many digits.
func (s *scanner) number(digits int) (n int) {
	if s.bad = s.bad || len(s.b)-s.at < digits; s.bad {
		return 0
	}
	for _, c := range s.b[s.at : s.at+digits] {
		s.bad = s.bad || c < '0' || c > '9'
		n = n*10 + int(c-'0')
	}
	s.at += digits
	return n
}

// one is one of some bytes.
func (s *scanner) one(of string) string {
	if s.bad = s.bad || s.at >= len(s.b) || strings.IndexByte(of, s.b[s.at]) < 0; s.bad {
		return ""
	}
	s.at++
	return string(s.b[s.at-1])
}

// fraction are the nanoseconds behind a point or a comma; 0 if there are none.
func (s *scanner) fraction() (nano int) {
	i := s.at + 1
	if s.at >= len(s.b) || s.b[s.at] != '.' && s.b[s.at] != ',' || i >= len(s.b) || s.b[i] < '0' || s.b[i] > '9' {
		return 0
	}
	unit := 100_000_000
	for ; i < len(s.b) && s.b[i] >= '0' && s.b[i] <= '9'; i++ {
		nano += int(s.b[i]-'0') * unit
		unit /= 10
	}
	s.at = i
	return nano
}

// zone is what stands behind a time: Z, UTC, GMT, +01:00 or +0100, with a space before it or without; else the usual one.
func (s *scanner) zone(usual *time.Location) *time.Location {
	z := scanner{b: s.b, at: s.at}
	z.skip(' ')
	for _, name := range []string{"Z", "UTC", "GMT"} {
		if end := z.at + len(name); bytes.HasPrefix(z.b[z.at:], []byte(name)) && (end == len(z.b) || !isWord(z.b[end])) {
			s.at = end
			return time.UTC
		}
	}
	sign := 1
	if z.one("+-") == "-" {
		sign = -1
	}
	hours := z.number(2)
	z.skip(':')
	minutes := z.number(2)
	if z.bad || hours > 15 || minutes > 59 || z.at < len(z.b) && isWord(z.b[z.at]) {
		return usual
	}
	s.at = z.at
	return time.FixedZone("", sign*(hours*3600+minutes*60))
}

func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '-'
}

// syslogLine is Jan  2 15:04:05, of the year that makes it the last one that is over (RFC 3164, 4.1.2).
func syslogLine(line []byte, now time.Time) (time.Time, int) {
	const layout = "Jan _2 15:04:05"
	if len(line) < len(layout) || line[3] != ' ' || line[6] != ' ' || line[9] != ':' || line[12] != ':' {
		return time.Time{}, 0
	}
	for _, year := range []int{now.Year(), now.Year() - 1} {
		// Whether there is a 29th of February depends on the year.
		at, err := time.ParseInLocation("2006 "+layout, strconv.Itoa(year)+" "+string(line[:len(layout)]), now.Location())
		if err == nil && !at.After(now.AddDate(0, 0, 1)) {
			return at, len(layout)
		}
	}
	return time.Time{}, 0
}

// layoutLine reads a time of a layout behind the first occurrence of a byte.
func layoutLine(layout string, behind byte) form {
	return func(line []byte, now time.Time) (time.Time, int) {
		i := bytes.IndexByte(line, behind) + 1
		text := line[i:]
		if i == 0 || len(text) < len(layout) {
			return time.Time{}, 0
		}
		for k := range 8 { // most lines are none: that is seen soon
			if c := layout[k]; (c == ' ' || c == '/') && text[k] != c {
				return time.Time{}, 0
			}
		}
		at, err := time.ParseInLocation(layout, string(text[:len(layout)]), now.Location())
		if err != nil {
			return time.Time{}, 0
		}
		return at, i + len(layout)
	}
}

// unixLine is seconds since 1970, as dmesg and squid write them.
func unixLine(line []byte, _ time.Time) (time.Time, int) {
	end := bytes.IndexByte(line, ' ')
	if end < 10 || end > 24 {
		return time.Time{}, 0
	}
	if line[0] < '0' || line[0] > '9' {
		return time.Time{}, 0
	}
	seconds, err := strconv.ParseFloat(string(line[:end]), 64)
	if err != nil || seconds < 1e9 || seconds > 1e11 {
		return time.Time{}, 0
	}
	return time.UnixMicro(int64(seconds * 1e6)), end
}
