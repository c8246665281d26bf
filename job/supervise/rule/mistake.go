package rule

import (
	"fmt"
	"strings"
)

// place is where something stands in a file, from 1.
type place struct{ line, column int }

// Mistake is one thing that is wrong in a rule file.
type Mistake struct {
	File         string
	Line, Column int    // from 1; 0 if it is about the whole file
	Path         string // the keys that lead there: rules[2].when.within
	Text         string
}

// Error tells where and what.
func (m Mistake) Error() string {
	var b strings.Builder
	b.WriteString(m.File)
	if m.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", m.Line, m.Column)
	}
	b.WriteString(": ")
	if m.Path != "" {
		b.WriteString(m.Path + ": ")
	}
	b.WriteString(m.Text)
	return b.String()
}

// Mistakes are all that is wrong in a file, in its order.
type Mistakes []Mistake

// Error has one of them a line.
func (m Mistakes) Error() string {
	all := make([]string, len(m))
	for i := range m {
		all[i] = m[i].Error()
	}
	return strings.Join(all, "\n")
}
