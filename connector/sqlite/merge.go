package sqlite

import (
	"context"

	"holdfast/base/record"
	"holdfast/connector/delivered"
)

// tidy keeps the delivered set of the token's lineage small: at the first delivery of a session and
// then at every keep-th, the entries beyond the newest ones are merged.
func (s *Sink) tidy(ctx context.Context, db *session, t record.Token) error {
	n, looked := db.tidied[t.Lineage]
	db.tidied[t.Lineage] = n + 1
	if looked && n < s.keep {
		return nil
	}
	db.tidied[t.Lineage] = 1
	entries, err := s.entries(ctx, db, t)
	if err != nil {
		return err
	}
	for _, group := range delivered.Mergeable(entries, s.keep) {
		for _, e := range group {
			_, err := db.w.ExecContext(ctx, `DELETE FROM `+delivered.Table+` WHERE job = ? AND
				lineage = ? AND target = ? AND first = ? AND last = ? AND row_from = ? AND row_to = ?`,
				t.Job, t.Lineage.String(), s.cfg.Table, e.First, e.Last, e.RowFrom, e.RowTo)
			if err != nil {
				return err
			}
		}
		if err := s.put(ctx, db.w, t, delivered.Fold(group)); err != nil {
			return err
		}
	}
	return nil
}

// entries reads the delivered set of the token's lineage.
func (s *Sink) entries(ctx context.Context, db *session, t record.Token) ([]delivered.Entry, error) {
	rows, err := db.w.QueryContext(ctx, `SELECT `+delivered.Columns+` FROM `+delivered.Table+`
		WHERE job = ? AND lineage = ? AND target = ?`, t.Job, t.Lineage.String(), s.cfg.Table)
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
