package ingester

import (
	"context"
	"time"

	"holdfast/connector"
	"holdfast/job/stream/hear"
)

// A broker whose memory is full takes no messages from us. But it is we who can make room there: what it keeps for us is taken
// in and acknowledged, whether we can tell anything or not. Meanwhile only one message a second is tried, by which the gate
// finds out that there is room again.

func (in *Source) publish(ctx context.Context, m connector.Message) error {
	return hear.Publish(ctx, in.cfg.Broker, m)
}

// answer publishes something that will be asked for again if it is not heard. So a broker that has no room for it is no reason
// to keep the question.
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
