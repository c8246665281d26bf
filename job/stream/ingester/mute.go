package ingester

import (
	"context"
	"time"

	"holdfast/connector"
	"holdfast/job/stream/hear"
)

// A broker whose memory is full takes nothing from us, and we are among those who make room: what it keeps for us is
// taken in and acknowledged whether it can be told or not. Meanwhile nothing is asked and said but one thing a second,
// by which the gate finds out that there is room.

func (in *Source) publish(ctx context.Context, m connector.Message) error {
	return hear.Publish(ctx, in.cfg.Broker, m)
}

// answer publishes what will be asked for once more if it is not heard: a broker that has no room for it is no reason
// to leave the question where it is.
func (in *Source) answer(ctx context.Context, m connector.Message) error {
	err := in.publish(ctx, m)
	if hear.Refused(err) {
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

// overhear makes a page of what is there to be taken, and says nothing.
func (in *Source) overhear(ctx context.Context, p *page) error {
	enough := time.NewTimer(hear.Between)
	defer enough.Stop()
	for waits := true; waits && p.room(); {
		select {
		case m := <-in.ear.Came():
			if err := in.take(ctx, p, m); err != nil {
				return err
			}
			enough.Reset(hear.Between)
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
