package app

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"holdfast/base/fault"
)

// Mistake is one fault of a configuration, with its place.
type Mistake struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Path   string `json:"path,omitempty"` // the keys from the top, with dots between
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

// Mistakes are all faults of a configuration, in the order of their lines.
type Mistakes []Mistake

// Error returns one line for each.
func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i := range m {
		lines[i] = m[i].Error()
	}
	return strings.Join(lines, "\n")
}

// err returns the mistakes as an error, nil if there are none.
func (m Mistakes) err() error {
	if len(m) == 0 {
		return nil
	}
	slices.SortStableFunc(m, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column,
			b.Column))
	})
	return slices.Compact(m)
}

// Usage is a mistake in how the program was called or configured: exit code 2.
type Usage struct{ Err error }

// Error returns the message.
func (u *Usage) Error() string { return u.Err.Error() }

// Unwrap returns the cause, which may carry a hint.
func (u *Usage) Unwrap() error { return u.Err }

// usage returns a Usage error with a hint ("" for none).
func usage(hint, format string, args ...any) error {
	err := error(fault.New(fault.Permanent, format, args...))
	if hint != "" {
		err = fault.WithHint(err, "%s", hint)
	}
	return &Usage{err}
}

// IsUsage reports whether err is a mistake of the caller or of a configuration.
func IsUsage(err error) bool {
	_, usage := errors.AsType[*Usage](err)
	_, config := errors.AsType[Mistakes](err)
	return usage || config
}
