package hear

import (
	"context"
	"errors"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
)

// A broker whose memory is full takes nothing, but still delivers; and it is the roles that make room, by taking and
// acknowledging what it keeps for them. So each role goes on to listen while it can't publish, and a broker that is full
// is told from one that is away.

// refusal marks the error of a broker that has no room for a message.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// Publish gives a message to the broker. Refused tells an error by which that had no room for it.
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

// Between is how long a broker may take to deliver the next message that it keeps: after such a silence it has none.
const Between = 100 * time.Millisecond
