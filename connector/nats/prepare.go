package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/base/rowtext"
)

// prepare makes the session ready for rows of the schema.
func (s *Sink) prepare(ctx context.Context, schema record.Schema) error {
	if err := rowtext.Fit(schema.Schema); err != nil {
		return fault.New(fault.Permanent, "prepare stream %s: %w", s.cfg.Stream, err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	stream, err := s.find(ctx)
	if err != nil {
		return s.classify("prepare", err)
	}
	info := stream.CachedInfo()
	if err := s.fit(info.Config); err != nil {
		return err
	}
	if err := s.routed(ctx); err != nil {
		return s.classify("prepare", err)
	}
	t := &target{stream: stream, schema: schema, window: info.Config.Duplicates,
		most: int(s.session.nc.MaxPayload())}
	if m := info.Config.MaxMsgSize; m > 0 {
		t.most = min(t.most, int(m))
	}
	t.made, t.last = info.Created, info.State.LastSeq
	s.target = t
	s.mu.Lock()
	s.schema = &schema
	s.mu.Unlock()
	return nil
}

// find returns the stream, and makes it if that was asked for.
func (s *Sink) find(ctx context.Context) (jetstream.Stream, error) {
	stream, err := s.session.js.Stream(ctx, s.cfg.Stream)
	if !errors.Is(err, jetstream.ErrStreamNotFound) || !s.cfg.Create {
		return stream, err
	}
	return s.session.js.CreateStream(ctx, jetstream.StreamConfig{Name: s.cfg.Stream,
		Subjects: []string{s.cfg.Subject}, Storage: jetstream.FileStorage, Replicas: s.cfg.Replicas,
		Duplicates: s.cfg.DuplicateWindow})
}

// fit refuses a stream that could not keep the promise.
func (s *Sink) fit(c jetstream.StreamConfig) error {
	why := ""
	switch {
	case c.Retention != jetstream.LimitsPolicy:
		why = fmt.Sprintf("its retention is %v, so what was consumed can't be told from what is missing; "+
			"want limits", c.Retention)
	case c.NoAck:
		why = "it acknowledges nothing (no_ack)"
	case c.Sealed:
		why = "it is sealed"
	case c.Duplicates <= 0:
		why = "it has no duplicate window"
	}
	if why == "" {
		return nil
	}
	return fault.New(fault.Permanent, "prepare stream %s: %s", s.cfg.Stream, why)
}

// routed proves that what is published to the subject goes into the stream.
func (s *Sink) routed(ctx context.Context) error {
	names := s.session.js.StreamNames(ctx, jetstream.WithStreamListSubject(s.cfg.Subject))
	var takers []string
	for name := range names.Name() {
		takers = append(takers, name)
	}
	if err := names.Err(); err != nil {
		return err
	}
	if slices.Contains(takers, s.cfg.Stream) {
		return nil
	}
	return fault.WithHint(fault.New(fault.Permanent, "prepare stream %s: it does not take subject %s",
		s.cfg.Stream, s.cfg.Subject), "add the subject to the stream, or give one of its own")
}

// Probe publishes a message that the stream's leader must refuse, because it asks for a last message
// that there is not. Only a stream that could have taken it says so.
func (s *Sink) Probe(ctx context.Context) error {
	return s.alone(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
		defer cancel()
		stream, err := s.find(ctx)
		if err != nil {
			return s.classify("probe", err)
		}
		if err := s.room(stream.CachedInfo()); err != nil {
			return err
		}
		msg := nats.NewMsg(s.cfg.Subject)
		_, err = s.session.js.PublishMsg(ctx, msg, jetstream.WithExpectLastMsgID("holdfast:probe"),
			jetstream.WithExpectStream(s.cfg.Stream), jetstream.WithRetryAttempts(0))
		if e, ok := errors.AsType[*jetstream.APIError](err); ok && e.ErrorCode == codeWrongLastID {
			return nil
		}
		if err == nil {
			err = fault.New(fault.Permanent, "probe stream %s: it took a message that it had to refuse",
				s.cfg.Stream)
		}
		return s.classify("probe", err)
	})
}

// codeWrongLastID says that the last message has another id than was asked for.
const codeWrongLastID = 10070

// room tells of a stream that is full and takes no more.
func (s *Sink) room(info *jetstream.StreamInfo) error {
	c, st := info.Config, info.State
	if c.Discard == jetstream.DiscardNew && (c.MaxMsgs > 0 && st.Msgs >= uint64(c.MaxMsgs) ||
		c.MaxBytes > 0 && st.Bytes >= uint64(c.MaxBytes)) {
		return fault.New(fault.Full, "probe stream %s: it is at its limit and discards new messages",
			s.cfg.Stream)
	}
	return nil
}
