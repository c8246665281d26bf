package connector

import (
	"context"

	"holdfast/base/fault"
)

// Turn lets one at a time use something, such as a connection, until it is closed. It is no mutex, so that waiting for it ends
// with a context.
type Turn struct {
	what   string
	free   chan struct{} // holds a value while nobody has the turn
	closed bool          // guarded by the turn itself
}

// NewTurn returns a turn that is free. what names in errors what it is for: "stream SPOTS".
func NewTurn(what string) *Turn {
	t := &Turn{what: what, free: make(chan struct{}, 1)}
	t.free <- struct{}{}
	return t
}

// Take waits for the turn, which the caller has to Give back if there is no error. A context that ends meanwhile is Transient, a
// turn that is closed Permanent.
func (t *Turn) Take(ctx context.Context) error {
	select {
	case <-t.free:
	case <-ctx.Done():
		return fault.New(fault.Transient, "wait for another use of %s: %w", t.what, ctx.Err())
	}
	if t.closed {
		t.Give()
		return fault.New(fault.Permanent, "use %s: it is closed", t.what)
	}
	return nil
}

// Give ends the turn that was taken.
func (t *Turn) Give() { t.free <- struct{}{} }

// Close waits for a use that is under way, and calls last, the last use of all. Each Take fails from then on.
func (t *Turn) Close(last func()) {
	<-t.free
	defer t.Give()
	t.closed = true
	last()
}
