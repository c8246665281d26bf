package clickhouse

import (
	"context"
)

// Probe implements connector.Sink: it inserts no rows at all.
func (s *Sink) Probe(ctx context.Context) error {
	s.mu.Lock()
	srv, m, full := s.server, s.schema, s.full
	s.mu.Unlock()
	if m == nil {
		_, err := s.readServer(ctx)
		return err
	}
	if err := s.insertNothing(ctx, srv, m); err != nil {
		return err
	}
	_ = full
	return nil
}
