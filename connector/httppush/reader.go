package httppush

import (
	"context"
	"encoding/json"
	"net/http"

	"holdfast/base/fault"
	"holdfast/connector"
)

// keysAtOnce is how many keys one answer needs to have.
const keysAtOnce = 50_000

// taken asks for a delivery by its key: the answer that says so, nil if it was not taken.
func (s *Sink) taken(ctx context.Context, v values) (*answer, error) {
	q, err := s.templates.fill(v)
	if err != nil {
		return nil, fault.As(fault.Permanent, err)
	}
	req, err := http.NewRequest(http.MethodGet, q.lookup, nil)
	if err != nil {
		return nil, fault.As(fault.Permanent, err)
	}
	a, err := s.do(ctx, req, q)
	switch {
	case err != nil:
		return nil, s.classify("look up a delivery of", err)
	case a.status == http.StatusNotFound:
		return nil, nil
	case a.ok():
		return a, nil
	}
	return nil, s.classify("look up a delivery of", s.judge(a))
}

// keys asks for the first keys of a range.
func (s *Sink) keys(ctx context.Context, kr connector.KeyRange, highest bool, limit int) ([]uint64, error) {
	v := nobody
	v.From, v.To, v.Limit = kr.From, kr.To, limit
	if highest {
		v.Order = "desc"
	}
	q, err := s.templates.fill(v)
	if err != nil {
		return nil, fault.As(fault.Permanent, err)
	}
	a, err := s.ask(ctx, http.MethodGet, q.keys, "ask for keys of")
	if err != nil {
		return nil, err
	}
	var out []uint64
	if err := json.Unmarshal(a.body, &out); err != nil {
		return nil, s.classify("ask for keys of", fault.As(fault.Permanent, err))
	}
	for i, key := range out {
		if key < kr.From || key > kr.To || i > 0 && highest && key > out[i-1] || i > 0 && !highest && key < out[i-1] {
			return nil, s.classify("ask for keys of", fault.New(fault.Permanent,
				"key %d is not from %d to %d in order %s", key, kr.From, kr.To, v.Order))
		}
	}
	return out, nil
}

// each calls yield for every key of a range, in ascending order, as often as there are rows with it.
func (s *Sink) each(ctx context.Context, kr connector.KeyRange, yield func(key uint64) error) error {
	for {
		keys, err := s.keys(ctx, kr, false, keysAtOnce)
		if err != nil || len(keys) == 0 {
			return err
		}
		// The rows of the last key may go on in the next answer.
		last := keys[len(keys)-1]
		whole := len(keys)
		for whole > 0 && keys[whole-1] == last {
			whole--
		}
		if whole == 0 { // the answer is one key, which fits as a whole or never will
			whole = len(keys)
			if len(keys) >= keysAtOnce {
				return s.classify("ask for keys of", fault.New(fault.Permanent, "%d rows have the key %d",
					len(keys), last))
			}
			last++
		}
		for _, key := range keys[:whole] {
			if err := yield(key); err != nil {
				return err
			}
		}
		if kr.From = last; last == 0 || last > kr.To {
			return nil
		}
	}
}

// reader asks the receiver about its keys.
type reader struct{ s *Sink }

// Reader returns the sink's reader, nil where the configuration says nothing of keys.
func (s *Sink) Reader() connector.SinkReader {
	if s.cfg.Keys == "" {
		return nil
	}
	return reader{s}
}

// countable refuses to ask for keys that are no integers.
func (r reader) countable() error {
	r.s.mu.Lock()
	schema := r.s.schema
	r.s.mu.Unlock()
	switch {
	case schema == nil:
		return fault.New(fault.Transient, "read %s: it is not prepared", r.s.place())
	case !schema.IntegerKeyed():
		return fault.New(fault.Permanent, "read %s: its rows have no integer key", r.s.place())
	}
	return nil
}

// Holds reports whether the receiver has any row.
func (r reader) Holds(ctx context.Context) (bool, error) {
	keys, err := r.s.keys(ctx, connector.KeyRange{To: 1<<64 - 1}, true, 1)
	return len(keys) > 0, err
}

// Highest is the highest key that the receiver has.
func (r reader) Highest(ctx context.Context) (uint64, bool, error) {
	if err := r.countable(); err != nil {
		return 0, false, err
	}
	keys, err := r.s.keys(ctx, connector.KeyRange{To: 1<<64 - 1}, true, 1)
	if err != nil || len(keys) == 0 {
		return 0, false, err
	}
	return keys[0], true, nil
}

// Tally sums up the keys of a range.
func (r reader) Tally(ctx context.Context, kr connector.KeyRange) (connector.Tally, error) {
	return connector.TallyOf(func(yield func(key, rows uint64) error) error { return r.Keys(ctx, kr, yield) })
}

// Keys yields the keys of a range.
func (r reader) Keys(ctx context.Context, kr connector.KeyRange, yield func(key, rows uint64) error) error {
	if err := r.countable(); err != nil {
		return err
	}
	key, rows := uint64(0), uint64(0)
	err := r.s.each(ctx, kr, func(k uint64) error {
		if rows > 0 && k != key {
			if err := yield(key, rows); err != nil {
				return err
			}
			rows = 0
		}
		key, rows = k, rows+1
		return nil
	})
	if err == nil && rows > 0 {
		err = yield(key, rows)
	}
	return err
}
