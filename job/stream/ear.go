package stream

import (
	"context"

	"holdfast/connector"
)

// ear is one unbroken hearing of a broker, taken by who looks for it.
type ear struct {
	came  chan connector.Heard
	ready chan struct{} // closed when everything is heard
	ended chan struct{} // closed when nothing is heard any more; guards err
	err   error
	stop  context.CancelFunc
}

// waiting is how many messages wait for who takes them; more wait at the broker.
const waiting = 64

// listen begins a hearing. It ends by close.
func listen(ctx context.Context, b connector.Broker, group string, topics ...string) *ear {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	e := &ear{came: make(chan connector.Heard, waiting), ready: make(chan struct{}), ended: make(chan struct{}),
		stop: stop}
	go func() { // close waits
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

// begin waits until everything is heard.
func (e *ear) begin(ctx context.Context) error {
	select {
	case <-e.ready:
		return nil
	case <-e.ended:
		return e.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends the hearing, and waits until it has ended.
func (e *ear) close() {
	e.stop()
	<-e.ended
}
