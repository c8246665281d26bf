package hear

import (
	"context"
	"errors"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
)

// A broker whose memory is full takes nothing from a role, and the role is among those who make room: what the broker
// keeps for it is taken and acknowledged whether anything can be said or not. So that a broker is full is told from its
// being away.

// refusal is what a broker says that has no room for a message.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// Publish gives a message to the broker, and marks the error if that had no room for it.
func Publish(ctx context.Context, b connector.Broker, m connector.Message) error {
	err := b.Publish(ctx, m)
	if fault.Is(err, fault.Full) {
		return refusal{err}
	}
	return err
}

// Refused reports whether the broker had no room, by an error of Publish.
func Refused(err error) bool {
	_, ok := errors.AsType[refusal](err)
	return ok
}

// Between is how long a broker that keeps messages for a role needs to give the next ones.
const Between = 100 * time.Millisecond
