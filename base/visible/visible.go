// Package visible makes text from outside fit to be shown: what a server or a feed answers may hold
// commands for the terminal, or line ends that make one entry of a log look like two.
package visible

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Text returns s with its control characters written out, as JSON does, so that JSON stays JSON. The
// ones in keep stay, and so do bytes that are no UTF-8.
func Text(s, keep string) string {
	if strings.IndexFunc(s, func(r rune) bool { return control(r, keep) }) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if control(r, keep) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// control reports whether a terminal may act on r: C0, DEL, C1, what turns the direction of text or ends a line, and what
// has no width and joins nothing. (Joiners stay: emoji and some scripts are written with them.)
func control(r rune, keep string) bool {
	switch {
	case r < ' ':
		return !strings.ContainsRune(keep, r)
	case r >= 0x7f && r <= 0x9f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	case r == 0x061c, r == 0x200b, r == 0x200e, r == 0x200f, r == 0x2028, r == 0x2029, r == 0xfeff:
		return true
	}
	return false
}

// Line is Text for what must be one line: line ends and tabs become spaces.
func Line(s string) string {
	return Text(strings.NewReplacer("\r\n", " ", "\n", " ", "\t", " ").Replace(s), "")
}
