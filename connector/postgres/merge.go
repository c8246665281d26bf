package postgres

import (
	"context"

	"holdfast/base/record"
	"holdfast/connector/delivered"
)

// tidy keeps the delivered set of the token's lineage small: at the first delivery of a session and
// then at every keep-th, the entries beyond the newest ones are merged.
func (s *Sink) tidy(ctx context.Context, t record.Token) error {
	n, looked := s.session.tidied[t.Lineage]
	s.session.tidied[t.Lineage] = n + 1
	if looked && n < s.keep {
		return nil
	}
	s.session.tidied[t.Lineage] = 1
	entries, err := s.entries(ctx, t)
	if err != nil {
		return err
	}
	for _, group := range delivered.Mergeable(entries, s.keep) {
		for _, e := range group {
			_, err := s.session.conn.Exec(ctx, `DELETE FROM `+s.delivered()+` WHERE job = $1 AND
				lineage = $2 AND target = $3 AND first = $4 AND last = $5 AND row_from = $6 AND row_to = $7`,
				t.Job, t.Lineage.String(), s.cfg.Table, e.First, e.Last, e.RowFrom, e.RowTo)
			if err != nil {
				return err
			}
		}
		if err := s.put(ctx, t, delivered.Fold(group)); err != nil {
			return err
		}
	}
	return nil
}

// entries reads the delivered set of the token's lineage.
func (s *Sink) entries(ctx context.Context, t record.Token) ([]delivered.Entry, error) {
	rows, err := s.session.conn.Query(ctx, `SELECT `+delivered.Columns+` FROM `+s.delivered()+`
		WHERE job = $1 AND lineage = $2 AND target = $3`, t.Job, t.Lineage.String(), s.cfg.Table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []delivered.Entry
	for rows.Next() {
		var e delivered.Entry
		if err := rows.Scan(e.Fields()...); err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, rows.Err()
}
