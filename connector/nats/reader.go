package nats

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
)

// reader asks the stream about its rows, on connections of its own. A stream has no index of ids:
// every question about keys reads the headers of all its messages.
type reader struct{ s *Sink }

// Reader returns the sink's reader. Before Prepare no key column is known, and its methods fail.
func (s *Sink) Reader() connector.SinkReader { return reader{s} }

// countable reports whether the key column holds 64-bit integers.
func countable(schema record.Schema) bool {
	if schema.Key < 0 {
		return false
	}
	id := schema.Field(schema.Key).Type.ID()
	return id == arrow.UINT64 || id == arrow.INT64
}

// ask calls f with a connection and the stream.
func (r reader) ask(ctx context.Context, f func(*session, jetstream.Stream) error) error {
	s := r.s
	s.mu.Lock()
	schema := s.schema
	s.mu.Unlock()
	if schema == nil {
		return fault.New(fault.Transient, "read stream %s: it is not prepared", s.cfg.Stream)
	}
	c, err := s.cfg.server().connect(ctx)
	if err != nil {
		return s.classify("connect to read", err)
	}
	defer c.close()
	bounded, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	stream, err := c.js.Stream(bounded, s.cfg.Stream)
	if err == nil {
		err = f(c, stream)
	}
	return err
}

// walk calls yield for every integer key that the stream holds, in the order of its messages.
func (r reader) walk(ctx context.Context, yield func(key uint64) error) error {
	s := r.s
	s.mu.Lock()
	schema := s.schema
	s.mu.Unlock()
	if schema != nil && !countable(*schema) {
		return fault.New(fault.Permanent, "read stream %s: its rows have no integer key", s.cfg.Stream)
	}
	return s.classify("read", r.ask(ctx, func(c *session, stream jetstream.Stream) error {
		return c.scan(ctx, stream, s.cfg.Subject, 0, s.cfg.Timeout, func(id string) error {
			if key, ok := s.integerKey(id); ok {
				return yield(key)
			}
			return nil
		})
	}))
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

// Holds reports whether the stream has a row of ours.
func (r reader) Holds(ctx context.Context) (some bool, err error) {
	s := r.s
	err = r.ask(ctx, func(c *session, stream jetstream.Stream) error {
		return c.scan(ctx, stream, s.cfg.Subject, 0, s.cfg.Timeout, func(string) error {
			some = true
			return errEnough
		})
	})
	if some {
		return true, nil
	}
	return false, s.classify("read", err)
}

// Highest is the highest key in the stream.
func (r reader) Highest(ctx context.Context) (key uint64, ok bool, err error) {
	err = r.walk(ctx, func(k uint64) error {
		key, ok = max(key, k), true
		return nil
	})
	return key, ok, err
}

// Tally sums up the keys of a range.
func (r reader) Tally(ctx context.Context, kr connector.KeyRange) (connector.Tally, error) {
	return connector.TallyOf(func(yield func(key, rows uint64) error) error { return r.Keys(ctx, kr, yield) })
}

// Keys yields the keys of a range, which it holds in memory for their order.
func (r reader) Keys(ctx context.Context, kr connector.KeyRange,
	yield func(key, rows uint64) error) error {
	var keys []uint64
	err := r.walk(ctx, func(k uint64) error {
		if k >= kr.From && k <= kr.To {
			keys = append(keys, k)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return connector.YieldKeys(keys, yield)
}
