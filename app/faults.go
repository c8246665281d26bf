package app

import (
	"errors"

	"holdfast/base/fault"
)

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
