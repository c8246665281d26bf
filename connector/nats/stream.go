package nats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/messages"
)

// streamFeed reads a stream in order.
type streamFeed struct {
	cfg       SourceConfig
	session   *session
	following *following // nil until the first fetch
	at        position   // behind which the next message of following comes
	renewed   bool       // the stream was made anew, and nobody was told yet
}

func (f *streamFeed) Fetch(ctx context.Context, at position, to *messages.Block) (position, connector.Page, error) {
	if err := f.goOn(ctx, at); err != nil {
		return at, connector.Page{}, err
	}
	var p connector.Page
	err := f.one(ctx, to, &p)
	bounded, cancel := context.WithTimeout(ctx, f.cfg.Linger)
	defer cancel()
	for err == nil && !to.Full() {
		err = f.one(bounded, to, &p)
	}
	if err != nil && (to.Rows() == 0 || !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil) {
		return at, p, err
	}
	if f.renewed {
		p.Notes = map[string]int64{"streams_made_anew": 1}
		f.renewed = false
	}
	return f.at, p, nil
}

// one takes one message. Those before it that the stream does not hold any more are lost.
func (f *streamFeed) one(ctx context.Context, to *messages.Block, p *connector.Page) error {
	msg, meta, err := f.following.next(ctx)
	if err != nil {
		return err
	}
	seq := meta.Sequence.Stream
	p.Lost += int64(seq - f.at.Sequence - 1)
	f.at.Sequence = seq
	return to.AddMessage(msg.Data())
}

// goOn makes sure that what comes next is what stands behind the position.
func (f *streamFeed) goOn(ctx context.Context, at position) error {
	if f.following != nil && f.session.alive() && at.Sequence == f.at.Sequence && at.Created.Equal(f.at.Created) {
		return nil
	}
	f.Close()
	var err error
	if f.session, err = f.cfg.server().connect(ctx); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	stream, err := f.session.js.Stream(bounded, f.cfg.Stream)
	if err != nil {
		return err
	}
	info := stream.CachedInfo()
	if info.Config.Retention != jetstream.LimitsPolicy {
		return fault.WithHint(fault.New(fault.Permanent, "stream %s: its retention is %v, want limits",
			f.cfg.Stream, info.Config.Retention), "a stream that forgets what was consumed can't be read "+
			"again after a crash; let a stream with retention limits have it as its source")
	}
	f.at = at
	switch first := info.State.FirstSeq; {
	case at.Created.IsZero(): // what the stream dropped before we came was never ours to lose
		f.at = position{Version: messages.CursorVersion, Created: info.Created, Sequence: max(first, 1) - 1}
	case !at.Created.Equal(info.Created):
		f.at, f.renewed = position{Version: messages.CursorVersion, Created: info.Created}, true
	}
	f.following, err = f.session.follow(ctx, stream, jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq: f.at.Sequence + 1, MemoryStorage: true, Replicas: 1,
		InactiveThreshold: time.Hour}, f.cfg.Timeout)
	if err != nil {
		return fmt.Errorf("follow it from message %d: %w", f.at.Sequence+1, err)
	}
	return nil
}

// Lost is 0: the sequence tells what was lost.
func (f *streamFeed) Lost() int64 { return 0 }

func (f *streamFeed) Close() {
	if f.following != nil {
		f.following.close()
	}
	if f.session != nil {
		f.session.close()
	}
	f.following, f.session = nil, nil
}
