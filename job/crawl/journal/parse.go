package journal

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Errors of lines.
var (
	errKind   = errors.New("it is of no kind that is known")
	errNoURL  = errors.New("it has no URL")
	errFields = errors.New("it has more fields than such a line has")
	errHops   = errors.New("neither hops nor the URL that led there stand behind the URL")
	errTime   = errors.New("its time is none")
	errByte   = errors.New("there is a byte in it that no URL has")
)

// errEmpty is the error of an empty line, of which journals of Heritrix have some: before the first line, and behind an error.
var errEmpty = errors.New("the line is empty")

// Parse reads a line, without what ends it. The strings of the Line are parts of s.
func Parse(s string) (Line, error) {
	s = strings.TrimSuffix(s, "\r")
	switch {
	case s == "":
		return Line{}, errEmpty
	case strings.HasPrefix(s, "T "):
		at, err := parseTime(s[2:])
		return Line{Kind: Time, At: at}, err
	case strings.HasPrefix(s, "E "):
		at, text, _ := strings.Cut(s[2:], " ")
		t, err := parseTime(at)
		return Line{Kind: Trouble, At: t, Text: text}, err
	}
	if len(s) < 3 || s[0] != 'F' || s[2] != ' ' {
		return Line{}, errKind
	}
	l := Line{Kind: Kind(s[1])}
	switch l.Kind {
	case Queued, Taken, Included, Disregarded, PutBack, Fetched, Failed:
	default:
		return Line{}, errKind
	}
	return l.parse(s[3:])
}

// parse reads the fields of a line.
func (l Line) parse(s string) (Line, error) {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return Line{}, errByte
		}
	}
	var rest string
	if l.URL, rest = field(s); l.URL == "" {
		return Line{}, errNoURL
	}
	first, rest := field(rest)
	second, _ := field(rest) // behind it comes the context of the link
	switch {
	case first == "":
		return l, nil
	case !l.Kind.long():
		return Line{}, errFields
	case isHops(first):
		l.Hops, l.Via = first, second
	case isURL(first) && (second == "" || isHops(second)): // a seed with a via, or a journal of 2004
		l.Hops, l.Via = second, first
	case isURL(first): // a seed with a via, and a context
		l.Via = first
	default:
		return Line{}, errHops
	}
	if l.Hops == "-" {
		l.Hops = ""
	}
	if !isURL(l.Via) { // a dash, which some write for nothing, or the context of the link
		l.Via = ""
	}
	return l, nil
}

// field cuts the first field off, at a run of blanks.
func field(s string) (first, rest string) {
	s = strings.TrimLeft(s, " \t")
	if i := strings.IndexAny(s, " \t"); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// isHops reports whether a field is a hop path: letters, in front of which may be the number of those left out, or a dash.
func isHops(s string) bool {
	if s == "-" {
		return true
	}
	if plus := strings.IndexByte(s, '+'); plus > 0 && strings.Trim(s[:plus], "0123456789") == "" {
		s = s[plus+1:]
	}
	for i := range len(s) {
		if c := s[i] | 0x20; c < 'a' || c > 'z' {
			return false
		}
	}
	return s != ""
}

// isURL reports whether a field may be a URL: it has a scheme.
func isURL(s string) bool { return strings.IndexByte(s, ':') > 0 }

// parseTime reads a time of 14 digits, or 17 with milliseconds.
func parseTime(s string) (time.Time, error) {
	layout := stamp
	if len(s) == len(stamp)+3 {
		s = s[:len(stamp)] + "." + s[len(stamp):]
		layout += ".000"
	}
	at, err := time.Parse(layout, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: %.40q", errTime, s)
	}
	return at, nil
}
