package clickhouse

import (
	"context"
	"errors"
	"fmt"
)

// Probe implements connector.Sink. It inserts a block of no rows: that shows that the server
// answers, knows us, lets us write, and that the table is there with our columns. It leaves nothing.
//
// What it can't see is what the server finds out only when it writes a part: that its disk is full
// or broken, its memory used up, or that the table has too many parts. So when the last Write was
// refused for want of room, Probe also lets the server write 32 MB of temporary files, which it
// removes by itself. They lie on the disk of the data unless tmp_path says otherwise.
func (s *Sink) Probe(ctx context.Context) error {
	s.mu.Lock()
	srv, m, full := s.server, s.schema, s.full
	s.mu.Unlock()
	if m == nil {
		_, err := s.readServer(ctx) // nobody has said yet which rows will be written
		return err
	}
	err := s.insertNothing(ctx, s.cfg.Timeout, srv, m)
	if errors.Is(err, errChanged) {
		err = s.prepare(ctx, m.schema, false)
		if c := code(err); s.cfg.Create && (c == 60 || c == 81) {
			return nil // the next Prepare makes the table
		}
	}
	if err != nil {
		return err
	}
	if !full {
		return nil
	}
	_, err = s.client.scan(ctx, s.cfg.Timeout, "SELECT count() FROM (SELECT intHash64(number) AS k FROM "+
		"(SELECT number FROM system.numbers LIMIT 4000000) GROUP BY k)",
		"max_bytes_before_external_group_by", "1000000", "max_threads", "1")
	if err != nil {
		return fmt.Errorf("probe room: %w", err)
	}
	return nil
}
