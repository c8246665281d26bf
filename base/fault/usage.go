package fault

// Usage is a mistake in how the program was called or configured: exit code 2.
type Usage struct{ Err error }

// Error returns the message.
func (u *Usage) Error() string { return u.Err.Error() }

// Unwrap returns the cause, which may carry a hint.
func (u *Usage) Unwrap() error { return u.Err }

// NewUsage returns a Usage of kind Permanent with a hint ("" for none); format and args are those of fmt.Errorf.
func NewUsage(hint, format string, args ...any) error {
	err := error(New(Permanent, format, args...))
	if hint != "" {
		err = WithHint(err, "%s", hint)
	}
	return &Usage{err}
}
