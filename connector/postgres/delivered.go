package postgres

import (
	"cmp"
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/delivered"
)

const deliveredColumns = ` (
  job text NOT NULL,
  lineage text NOT NULL,
  target text NOT NULL,
  first bigint NOT NULL,
  last bigint NOT NULL,
  row_from bigint NOT NULL,
  row_to bigint NOT NULL,
  hash bytea,
  rows bigint NOT NULL,
  present bigint NOT NULL,
  rejected text,
  at bigint NOT NULL,
  PRIMARY KEY (job, lineage, target, first, last, row_from, row_to)
)`

// delivered is the quoted name of the delivered set.
func (s *Sink) delivered() string { return quote(s.cfg.Schema, delivered.Table) }

// fitDelivered creates the table of the delivered set, and refuses one of another shape.
func (s *Sink) fitDelivered(ctx context.Context) error {
	c := s.session.conn
	var there bool
	find := func() error {
		return c.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, s.delivered()).Scan(&there)
	}
	if err := find(); err != nil {
		return err
	}
	if !there {
		// Two that create it at once would make one of them fail.
		if err := s.lock(ctx, delivered.Table); err != nil {
			return err
		}
		if _, err := c.Exec(ctx, `CREATE TABLE IF NOT EXISTS `+s.delivered()+deliveredColumns); err != nil {
			return err
		}
	}
	_, err := c.Exec(ctx, `SELECT job, lineage, target, `+delivered.Columns+` FROM `+s.delivered()+
		` LIMIT 0`)
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "42703" { // no such column
		return fault.New(fault.Permanent, "prepare table %s: it is not one of ours: %w", s.delivered(),
			err)
	}
	return err
}

// seen returns the entry that is the token or covers it, nil if there is none. One that overlaps it
// otherwise is a conflict; but compared by key, rows may come in other bounds than before: when a block
// of theirs was lost, its neighbours are cut anew. Then it is the entry, if there is no better one.
func (s *Sink) seen(ctx context.Context, t record.Token, byKey bool) (*delivered.Entry, error) {
	rows, err := s.session.conn.Query(ctx, `SELECT `+delivered.Columns+` FROM `+s.delivered()+`
		WHERE job = $1 AND lineage = $2 AND target = $3 AND first <= $4 AND last >= $5`,
		t.Job, t.Lineage.String(), s.cfg.Table, int64(t.Last), int64(t.First))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found, crossed *delivered.Entry
	for rows.Next() {
		var e delivered.Entry
		if err := rows.Scan(e.Fields()...); err != nil {
			return nil, err
		}
		switch e.Relation(t) {
		case delivered.Apart:
		case delivered.Covers:
			found = &e
		case delivered.Crosses:
			if !byKey {
				return nil, e.Conflict(s.target, t)
			}
			crossed = &e
		case delivered.Conflicts:
			return nil, e.Conflict(s.target, t)
		}
	}
	return cmp.Or(found, crossed), rows.Err()
}

// record puts the token into the delivered set.
func (s *Sink) record(ctx context.Context, d connector.Delivery, v connector.Verdict) error {
	e, err := delivered.Of(d, v)
	if err == nil {
		err = s.put(ctx, d.Token, e)
	}
	if err != nil {
		return err
	}
	return s.tidy(ctx, d.Token)
}

func (s *Sink) put(ctx context.Context, t record.Token, e delivered.Entry) error {
	_, err := s.session.conn.Exec(ctx, `INSERT INTO `+s.delivered()+` (job, lineage, target, `+
		delivered.Columns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
		ON CONFLICT (job, lineage, target, first, last, row_from, row_to) DO UPDATE SET
		hash = excluded.hash, rows = excluded.rows, present = excluded.present,
		rejected = excluded.rejected, at = excluded.at`,
		append([]any{t.Job, t.Lineage.String(), s.cfg.Table}, e.Values()...)...)
	return err
}
