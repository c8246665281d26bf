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

// channelFeed subscribes to a channel, or to all whose names fit a pattern. The server keeps no messages: what the buffer
// does not hold is lost.
type channelFeed struct {
	cfg    Config
	buffer *messages.Buffer
	conn   *connection   // nil while there is none
	closed chan struct{} // is closed when conn hears no more
	err    error         // why; to be read once closed is
}

func (f *channelFeed) Fetch(ctx context.Context, at position, to *messages.Block) (position, connector.Page,
	error) {
	var p connector.Page
	begun, err := f.listen(ctx)
	if err != nil {
		return at, p, err
	}
	if !begun.IsZero() { // since when, and what was missed, is told at once, so that the next life knows
		if p.Missed = messages.Missed(at.Heard, begun); p.Missed != nil {
			p.Notes = map[string]int64{"reconnects": 1}
		}
		at.Heard = begun
	} else if err := f.buffer.Wait(ctx, f.closed, nil, func() error { return f.err }); err != nil {
		return at, p, err
	}
	at.Heard, err = f.buffer.Take(to, at.Heard)
	return at, p, err
}

func (f *channelFeed) alive() bool {
	select {
	case <-f.closed:
		return false
	default:
		return f.conn != nil
	}
}

// listen makes sure that the channel is heard, or what was heard is not all taken yet. begun is when a new
// connection began to hear, zero if there is none.
func (f *channelFeed) listen(ctx context.Context) (begun time.Time, err error) {
	if rows, _ := f.buffer.Waiting(); f.conn != nil && (f.alive() || rows > 0) {
		return begun, nil
	}
	f.Close()
	if f.conn, err = dial(ctx, f.cfg.server()); err != nil {
		return begun, err
	}
	heard := make(chan struct{}, 1)
	f.closed = make(chan struct{})
	go f.hear(context.WithoutCancel(ctx), f.conn, f.closed, heard) // ends with the connection; close waits
	timer := time.NewTimer(f.cfg.Timeout)
	defer timer.Stop()
	select {
	case <-heard:
		return time.Now().UTC(), nil
	case <-f.closed:
		return begun, f.err
	case <-timer.C:
		return begun, fault.New(fault.Transient, "the server did not answer for %v", f.cfg.Timeout)
	case <-ctx.Done():
		return begun, ctx.Err()
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

func (f *channelFeed) Lost() int64 { return f.buffer.Lost() }

// close ends the connection and waits until nothing is heard any more. What was heard stays.
func (f *channelFeed) Close() {
	if f.conn == nil {
		return
	}
	f.conn.close()
	if f.closed != nil {
		<-f.closed
	}
	f.conn, f.closed = nil, nil
}
