package scope

import (
	"strings"

	"holdfast/base/weburl"
)

// PatternOf returns what a budget against endless calendars, counters and listings is counted by: the queue of the
// host, a space, and path and query with # in the place of numbers, of names of months and weekdays beside them, and
// of hexadecimal ids. Two URLs have one pattern if they differ in nothing else. It is "" for a URL without any,
// which needs no budget.
func PatternOf(u weburl.URL) string {
	if u.IsZero() {
		return ""
	}
	s := u.String()
	at := strings.Index(s, "://") + 3
	at += max(strings.IndexByte(s[at:], '/'), 0)
	s = s[at:]
	var b []byte
	kept := 0 // of s, in b
	for i := 0; i < len(s); {
		end, k := word(s, i)
		if k == number || k == calendar && besideNumber(s, i, end) {
			b = append(append(b, s[kept:i]...), '#')
			kept = end
		}
		i = end
	}
	if b == nil {
		return ""
	}
	return u.QueueKey() + " " + string(append(b, s[kept:]...))
}

// What a word of a URL is.
type kind uint8

const (
	other kind = iota
	number
	calendar // the name of a month or a weekday
)

// word returns the end of the word that begins at byte i of s, and what it is: a run of digits, a run of letters, an id,
// or one sign. An encoded octet is a sign.
func word(s string, i int) (end int, k kind) {
	switch {
	case s[i] == '%':
		return min(i+3, len(s)), other
	case isDigit(s[i]):
		if end := id(s, i); end > 0 {
			return end, number
		}
		for end = i; end < len(s) && isDigit(s[end]); end++ {
		}
		return end, number
	case isLetter(s[i]):
		if end := id(s, i); end > 0 {
			return end, number
		}
		for end = i; end < len(s) && isLetter(s[end]); end++ {
		}
		if isCalendar(s[i:end]) {
			return end, calendar
		}
		return end, other
	}
	return i + 1, other
}

// id returns the end of a hexadecimal id, or part of one, that begins at byte i: four digits or more with a letter and a
// number among them, and no other letter or digit behind; 0 if there is none.
func id(s string, i int) int {
	var digit, letter bool
	end := i
	for ; end < len(s) && (isDigit(s[end]) || isLetter(s[end])); end++ {
		switch {
		case isDigit(s[end]):
			digit = true
		case s[end]|0x20 > 'f':
			return 0
		default:
			letter = true
		}
	}
	if end-i < 4 || !digit || !letter {
		return 0
	}
	return end
}

// besideNumber reports whether a digit stands next to s[i:end], or behind one sign.
func besideNumber(s string, i, end int) bool {
	return i > 0 && isDigit(s[i-1]) || i > 1 && !isLetter(s[i-1]) && isDigit(s[i-2]) ||
		end < len(s) && isDigit(s[end]) || end+1 < len(s) && !isLetter(s[end]) && isDigit(s[end+1])
}

func isDigit(b byte) bool  { return '0' <= b && b <= '9' }
func isLetter(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }

// isCalendar reports whether a word is the English name of a month or a weekday, whole or three letters of it.
func isCalendar(w string) bool {
	if len(w) < 3 || len(w) > 9 {
		return false
	}
	for _, name := range calendarNames {
		if strings.EqualFold(w, name) || len(w) == 3 && strings.EqualFold(w, name[:3]) {
			return true
		}
	}
	return false
}

var calendarNames = []string{"january", "february", "march", "april", "may", "june", "july", "august", "september",
	"october", "november", "december", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}
