package ingester

import (
	"context"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
)

// A broker whose memory is full takes nothing from us, and we are among those who make room: what it keeps for us is
// taken in and acknowledged whether it can be told or not. Meanwhile nothing is asked and said but one thing a second,
// by which the gate finds out that there is room.

// refusal is what a broker says that has no room for a message.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

func (in *Source) publish(ctx context.Context, m connector.Message) error {
	err := in.cfg.Broker.Publish(ctx, m)
	if fault.Is(err, fault.Full) {
		return refusal{err}
	}
	return err
}

// answer publishes what will be asked for once more if it is not heard: a broker that has no room for it is no reason
// to leave the question where it is.
func (in *Source) answer(ctx context.Context, m connector.Message) error {
	err := in.publish(ctx, m)
	if _, full := err.(refusal); full {
		return nil
	}
	return err
}

// speak finds out whether the broker takes messages again. What is missing is asked for next.
func (in *Source) speak(ctx context.Context) error {
	in.talk.due = time.Time{}
	_, err := in.say(ctx, now())
	in.mute = err != nil
	return err
}

// between is how long a broker that keeps messages for us needs to give the next ones.
const between = 100 * time.Millisecond

// overhear makes a page of what is there to be taken, and says nothing.
func (in *Source) overhear(ctx context.Context, p *page) error {
	enough := time.NewTimer(between)
	defer enough.Stop()
	for waits := true; waits && p.room(); {
		select {
		case m := <-in.ear.Came():
			if err := in.take(ctx, p, m); err != nil {
				return err
			}
			enough.Reset(between)
		case <-enough.C:
			waits = false
		case <-in.ear.Ended():
			waits = len(in.ear.Came()) > 0
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return in.finish(ctx, p)
}
