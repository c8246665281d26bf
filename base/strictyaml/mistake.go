package strictyaml

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Mistake is one thing that is wrong in a file, with its place.
type Mistake struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"` // from 1; 0 if it is about the whole file
	Column int    `json:"column,omitempty"`
	Path   string `json:"path,omitempty"` // the keys from the top: jobs.spots.sinks, rules[2].when
	Text   string `json:"text"`
	Hint   string `json:"hint,omitempty"`
}

// Error returns place, path and text, as editors and compilers write it.
func (m Mistake) Error() string {
	at := m.File
	if m.Line > 0 {
		at = fmt.Sprintf("%s:%d:%d", m.File, m.Line, m.Column)
	}
	if m.Path == "" {
		return at + ": " + m.Text
	}
	return at + ": " + m.Path + ": " + m.Text
}

// Mistakes are all that is wrong.
type Mistakes []Mistake

// Error returns one line for each.
func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i := range m {
		lines[i] = m[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Err returns the mistakes as an error, in the order of their places and each once; nil if there are none.
func (m Mistakes) Err() error {
	if len(m) == 0 {
		return nil
	}
	slices.SortStableFunc(m, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(m)
}
