// Package hear listens to a broker for a role of a stream: one unbroken hearing at a time, whose messages are taken
// one by one from a channel.
package hear

import (
	"context"

	"holdfast/connector"
)

// Ear is one unbroken hearing.
type Ear struct {
	came  chan connector.Heard
	ready chan struct{} // closed when everything is heard
	ended chan struct{} // closed when nothing is heard any more; guards err
	err   error
	stop  context.CancelFunc
}

// waiting is how many messages wait in Came; more wait at the broker.
const waiting = 64

// Listen begins a hearing. It ends by Close, or when the broker ends it, but not with ctx.
func Listen(ctx context.Context, b connector.Broker, group string, topics ...string) *Ear {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	e := &Ear{came: make(chan connector.Heard, waiting), ready: make(chan struct{}), ended: make(chan struct{}),
		stop: stop}
	go func() { // Close waits
		defer close(e.ended)
		e.err = b.Listen(ctx, connector.Listener{Topics: topics, Group: group, Ready: func() { close(e.ready) },
			Hear: func(m connector.Heard) error {
				select {
				case e.came <- m:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}})
	}()
	return e
}

// Begin waits until everything that is published is heard, and returns the error of a hearing that ended before.
func (e *Ear) Begin(ctx context.Context) error {
	select {
	case <-e.ready:
		return nil
	case <-e.ended:
		return e.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Came is the channel of the messages.
func (e *Ear) Came() <-chan connector.Heard { return e.came }

// Ended is closed when nothing is heard any more; messages that came before may still wait in Came.
func (e *Ear) Ended() <-chan struct{} { return e.ended }

// Err is why the hearing ended. It may be asked once Ended is closed.
func (e *Ear) Err() error { return e.err }

// Close ends the hearing, and waits until it has ended.
func (e *Ear) Close() {
	e.stop()
	<-e.ended
}

// Deaf reports whether the hearing has ended, and all that it heard is taken.
func (e *Ear) Deaf() bool {
	select {
	case <-e.ended:
		return len(e.came) == 0
	default:
		return false
	}
}
