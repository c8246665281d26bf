// Package fault says what kind of thing went wrong, so that whoever decides what happens next (a
// gate, a job, an exit code) decides by kind and never by the words of a message.
//
// Whoever meets an error first and knows its meaning classifies it: a connector knows which of its
// server's answers are an outage and which speak of one row. Everything above only reads the kind.
// An error that nobody classified has the kind Unknown and is handled like an outage, but told as
// what it is: a hole in a connector's knowledge.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Kind is the class of an error. The set is small on purpose: each kind is a different decision.
type Kind uint8

const (
	// Unknown is an error that nobody classified.
	Unknown Kind = iota
	// Transient is an outage: the dependency can't do it now and nothing is wrong with the item.
	// The gate closes and the same work is tried again later, without spending an attempt.
	Transient
	// Throttled is a dependency that asks for time. Wait says how much.
	Throttled
	// Credentials means that the dependency refuses who we are. A person must act; it is told at
	// once and not retried in a storm.
	Credentials
	// Permanent means that the work can't succeed until a person changes something other than
	// credentials: a schema that does not fit, a setting, a missing table.
	Permanent
	// Invalid is poison: this item is at fault, its neighbours are not. It goes to the dead letters.
	Invalid
	// Conflict is the same identity with other content: told, never dropped, never overwritten.
	Conflict
	// Corrupt means that bytes are not what was written.
	Corrupt
	// NotFound means that the thing asked for is not there.
	NotFound
	// Full means that there is no room: on a disk, in a quota.
	Full
	// Busy means that somebody else holds it: a data directory, a lock.
	Busy
)

var kindNames = [...]string{"unknown", "outage", "throttled", "credentials", "permanent", "invalid",
	"conflict", "corrupt", "not found", "full", "busy"}

// String returns the word that status, events and logs use for the kind.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Error is an error with its kind. Hint, if there is one, tells a person what to do; Wait is how
// long a throttling dependency asked us to stay away.
type Error struct {
	Kind Kind
	Err  error
	Hint string
	Wait time.Duration
}

// Error returns the message without the hint: the face prints the hint on a line of its own.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New returns an error of kind k; format and args are those of fmt.Errorf, %w included.
func New(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Err: fmt.Errorf(format, args...)}
}

// As gives err the kind k. It returns nil for nil, and keeps hint and wait of an inner fault.
func As(k Kind, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: k, Err: err, Hint: HintOf(err), Wait: WaitOf(err)}
}

// WithHint returns err with a hint for a person; the kind stays.
func WithHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: KindOf(err), Err: err, Hint: fmt.Sprintf(format, args...), Wait: WaitOf(err)}
}

// WithWait returns a Throttled error that asks to stay away for d.
func WithWait(err error, d time.Duration) error {
	return &Error{Kind: Throttled, Err: err, Hint: HintOf(err), Wait: d}
}

// KindOf returns the kind of the outermost fault in err's chain, Unknown if there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Unknown
}

// Is reports whether err is of kind k.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }

// HintOf returns the hint of the outermost fault that has one.
func HintOf(err error) string {
	for err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}

// WaitOf returns the wait of the outermost fault that has one, 0 if none.
func WaitOf(err error) time.Duration {
	for err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			return 0
		}
		if e.Wait > 0 {
			return e.Wait
		}
		err = e.Err
	}
	return 0
}
