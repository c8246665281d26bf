package clickhouse

import (
	"context"
	"strings"

	"holdfast/base/fault"
	"holdfast/connector"
)

// Highest implements connector.SinkReader. The server reads the whole key column for it, unless the
// key is the first of the sorting columns.
func (s *Sink) Highest(ctx context.Context) (uint64, bool, error) {
	k, tab, err := s.keyColumn()
	if err != nil {
		return 0, false, err
	}
	a, err := s.client.ask(ctx, "SELECT max("+k+"), count() FROM "+tab.name)
	if err != nil {
		if c := code(err); c == 60 || c == 81 {
			return 0, false, nil
		}
		return 0, false, err
	}
	high, n, ok := twoNumbers([]byte(a.body))
	if !ok || !strings.HasSuffix(a.body, "\n") {
		return 0, false, garbage("asked for the highest key: %s", excerpt(a.body))
	}
	return high, n > 0, nil
}

// keyColumn returns the key's column, quoted, and its table.
func (s *Sink) keyColumn() (string, *table, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.schema == nil {
		return "", nil, fault.New(fault.Transient, "clickhouse: not prepared")
	}
	if s.schema.key == nil {
		return "", nil, fault.New(fault.Permanent, "clickhouse: the rows have no integer key")
	}
	return name(s.schema.key.name), s.table, nil
}

// Tally implements connector.SinkReader.
func (s *Sink) Tally(ctx context.Context, r connector.KeyRange) (connector.Tally, error) {
	return connector.Tally{}, nil
}

// Keys implements connector.SinkReader.
func (s *Sink) Keys(ctx context.Context, r connector.KeyRange, yield func(key, rows uint64) error) error {
	return nil
}

// Probe implements connector.Sink.
func (s *Sink) Probe(ctx context.Context) error { return nil }
