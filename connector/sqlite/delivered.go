package sqlite

import (
	"context"
	"database/sql"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/delivered"
)

const createDelivered = `CREATE TABLE IF NOT EXISTS ` + delivered.Table + ` (
  job TEXT NOT NULL,
  lineage TEXT NOT NULL,
  target TEXT NOT NULL,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  row_from INTEGER NOT NULL,
  row_to INTEGER NOT NULL,
  hash BLOB,
  rows INTEGER NOT NULL,
  present INTEGER NOT NULL,
  rejected TEXT,
  at INTEGER NOT NULL,
  PRIMARY KEY (job, lineage, target, first, last, row_from, row_to)
) WITHOUT ROWID`

// fitDelivered creates the table of the delivered set, and refuses one of another shape.
func (s *Sink) fitDelivered(ctx context.Context, c *sql.Conn) error {
	if _, err := c.ExecContext(ctx, createDelivered); err != nil {
		return err
	}
	_, err := c.ExecContext(ctx, `SELECT job, lineage, target, first, last, row_from, row_to, hash,
		rows, present, rejected, at FROM `+delivered.Table+` LIMIT 0`)
	if codeOf(err) == codeError {
		return fault.New(fault.Permanent, "prepare table %s of %s: it is not one of ours: %w",
			delivered.Table, s.path, err)
	}
	return err
}

// seen returns the entry that is the token or covers it, nil if there is none. One that overlaps it
// otherwise is a conflict; but compared by key, rows may come in other bounds than before: when a block
// of theirs was lost, its neighbours are cut anew. Then it is the entry, if there is no better one.
func (s *Sink) seen(ctx context.Context, c *sql.Conn, t record.Token, byKey bool) (*delivered.Entry, error) {
	// Entries don't overlap, but for parts of the same blocks: so from the highest one that begins
	// within the token downwards, the first that ends before it is the last that matters.
	rows, err := c.QueryContext(ctx, `SELECT `+delivered.Columns+` FROM `+delivered.Table+`
		WHERE job = ? AND lineage = ? AND target = ? AND first <= ?
		ORDER BY first DESC, last DESC, row_from DESC`,
		t.Job, t.Lineage.String(), s.cfg.Table, int64(t.Last))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var crossed *delivered.Entry
	for rows.Next() {
		var e delivered.Entry
		if err := rows.Scan(e.Fields()...); err != nil {
			return nil, err
		}
		if e.Last < int64(t.First) {
			break
		}
		switch e.Relation(t) {
		case delivered.Apart:
		case delivered.Covers:
			return &e, nil
		case delivered.Crosses:
			if !byKey {
				return nil, e.Conflict(s.path, t)
			}
			crossed = &e
		case delivered.Conflicts:
			return nil, e.Conflict(s.path, t)
		}
	}
	return crossed, rows.Err()
}

// record puts the token into the delivered set.
func (s *Sink) record(ctx context.Context, db *session, d connector.Delivery,
	v connector.Verdict) error {
	e, err := delivered.Of(d, v)
	if err == nil {
		err = s.put(ctx, db.w, d.Token, e)
	}
	if err != nil {
		return err
	}
	return s.tidy(ctx, db, d.Token)
}

func (s *Sink) put(ctx context.Context, c *sql.Conn, t record.Token, e delivered.Entry) error {
	_, err := c.ExecContext(ctx, `INSERT OR REPLACE INTO `+delivered.Table+` (job, lineage, target, `+
		delivered.Columns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		append([]any{t.Job, t.Lineage.String(), s.cfg.Table}, e.Values()...)...)
	return err
}
