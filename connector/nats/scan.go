package nats

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast/base/fault"
)

// scan calls yield for the id of every message of a subject that the stream holds, from a sequence on
// (0: all). The server may take any time for all of them, but not be silent for
// longer than the time-out.
func (s *session) scan(ctx context.Context, stream jetstream.Stream, subject string, from uint64,
	silence time.Duration, yield func(id string) error) error {
	cfg := jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, FilterSubject: subject,
		HeadersOnly: true, DeliverPolicy: jetstream.DeliverAllPolicy, MemoryStorage: true, Replicas: 1,
		InactiveThreshold: time.Minute}
	if from > 0 {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, from
	}
	f, err := s.follow(ctx, stream, cfg, silence)
	if err != nil {
		return err
	}
	defer f.close()
	for left := f.left; left > 0; {
		bounded, cancel := context.WithTimeout(ctx, silence)
		msg, meta, err := f.next(bounded)
		cancel()
		if err != nil {
			return err
		}
		left = meta.NumPending
		if id := msg.Headers().Get(nats.MsgIdHdr); id != "" {
			if err := yield(id); err != nil {
				return err
			}
		}
	}
	return nil
}

// following reads a stream in order by a consumer that leaves no trace.
type following struct {
	s     *session
	msgs  jetstream.MessagesContext
	drop  func()
	left  uint64 // messages that there were at the beginning
	count uint64 // messages so far, as the consumer counts them
}

// pullExpiry is how long the server holds one question for more open.
const pullExpiry = 30 * time.Second

func (s *session) follow(ctx context.Context, stream jetstream.Stream, cfg jetstream.ConsumerConfig,
	silence time.Duration) (*following, error) {
	bounded, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	consumer, err := stream.CreateConsumer(bounded, cfg)
	if err != nil {
		return nil, err
	}
	info := consumer.CachedInfo()
	beat := min(max(silence/2, time.Second/2), pullExpiry/2)
	msgs, err := consumer.Messages(jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(beat),
		jetstream.PullMaxMessages(mostUnanswered))
	if err != nil {
		return nil, err
	}
	return &following{s: s, msgs: msgs, left: info.NumPending, drop: func() {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(silence, time.Second))
		defer cancel()
		_ = stream.DeleteConsumer(bounded, info.Name) // if it fails, the server does so by itself
	}}, nil
}

// next returns the next message. None is left out: the consumer counts what it sends.
func (f *following) next(ctx context.Context) (jetstream.Msg, *jetstream.MsgMetadata, error) {
	msg, err := f.msgs.Next(jetstream.NextContext(ctx))
	if err != nil {
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			err = errors.Join(err, f.s.why())
		}
		return nil, nil, err
	}
	meta, err := msg.Metadata()
	if err != nil {
		return nil, nil, err
	}
	f.count++
	if meta.Sequence.Consumer != f.count {
		return nil, nil, fault.New(fault.Transient, "message %d of the stream came as number %d, want %d",
			meta.Sequence.Stream, meta.Sequence.Consumer, f.count)
	}
	return msg, meta, nil
}

// close stops reading.
func (f *following) close() {
	f.msgs.Stop()
	if f.s.alive() {
		f.drop()
	}
}
