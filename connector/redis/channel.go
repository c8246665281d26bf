package redis

import (
	"context"
	"errors"
	"time"

	"github.com/redis/rueidis"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/messages"
)

// channelFeed hears a channel, or all whose names fit a pattern. Nobody keeps for us what it does not hold.
type channelFeed struct {
	cfg     Config
	buffer  *messages.Buffer
	hearing messages.Hearing
	conn    *connection   // nil while there is none
	closed  chan struct{} // is closed when conn hears no more
	err     error         // why; to be read once closed is
}

func (f *channelFeed) fetch(ctx context.Context, at position, to *messages.Block) (position, connector.Page,
	error) {
	var p connector.Page
	missed, err := f.listen(ctx, at)
	if err != nil {
		return at, p, err
	}
	if p.Missed = missed; missed != nil { // that there was a break is told at once
		p.Notes = map[string]int64{"reconnects": 1}
	} else if err := f.buffer.Wait(ctx, f.closed, nil, func() error { return f.err }); err != nil {
		return at, p, err
	}
	if f.alive() {
		at.Heard = f.hearing.Still()
	}
	return at, p, f.buffer.Take(to)
}

func (f *channelFeed) alive() bool {
	select {
	case <-f.closed:
		return false
	default:
		return f.conn != nil
	}
}

// listen makes sure that the channel is heard, or what was heard is not all taken yet. It tells of the
// time before a new connection in which it was not.
func (f *channelFeed) listen(ctx context.Context, at position) (missed *connector.Interval, err error) {
	if rows, _ := f.buffer.Waiting(); f.conn != nil && (f.alive() || rows > 0) {
		return nil, nil
	}
	f.close()
	if f.conn, err = dial(ctx, f.cfg.server()); err != nil {
		return nil, err
	}
	heard := make(chan struct{}, 1)
	f.closed = make(chan struct{})
	go f.hear(context.WithoutCancel(ctx), f.conn, f.closed, heard) // ends with the connection; close waits
	timer := time.NewTimer(f.cfg.Timeout)
	defer timer.Stop()
	select {
	case <-heard:
		return f.hearing.Begin(at.Heard), nil
	case <-f.closed:
		return nil, f.err
	case <-timer.C:
		return nil, fault.New(fault.Transient, "the server did not answer for %v", f.cfg.Timeout)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// hear puts messages into the buffer until the connection ends.
func (f *channelFeed) hear(ctx context.Context, c *connection, closed, heard chan struct{}) {
	defer close(closed)
	ctx = rueidis.WithOnSubscriptionHook(ctx, func(rueidis.PubSubSubscription) {
		select {
		case heard <- struct{}{}:
		default:
		}
	})
	cmd := c.B().Subscribe().Channel(f.cfg.Channel).Build()
	if f.cfg.Pattern != "" {
		cmd = c.B().Psubscribe().Pattern(f.cfg.Pattern).Build()
	}
	err := c.Receive(ctx, cmd, func(m rueidis.PubSubMessage) { f.buffer.Put([]byte(m.Message)) })
	if err == nil {
		err = errors.New("the server ended the subscription")
	}
	f.err = err
}

func (f *channelFeed) lost() int64 { return f.buffer.Lost() }

// close ends the connection and waits until nothing is heard any more. What was heard stays.
func (f *channelFeed) close() {
	if f.conn == nil {
		return
	}
	f.conn.close()
	if f.closed != nil {
		<-f.closed
	}
	f.conn, f.closed = nil, nil
}
