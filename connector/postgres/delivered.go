package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
)

const (
	deliveredTable = "holdfast_delivered"
	// keepHashes is how many deliveries of one lineage into one table keep their hash at least.
	keepHashes = 10_000
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
func (s *Sink) delivered() string { return quote(s.cfg.Schema, deliveredTable) }

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
		if err := s.lock(ctx, deliveredTable); err != nil {
			return err
		}
		if _, err := c.Exec(ctx, `CREATE TABLE IF NOT EXISTS `+s.delivered()+deliveredColumns); err != nil {
			return err
		}
	}
	_, err := c.Exec(ctx, `SELECT job, lineage, target, `+entryColumns+` FROM `+s.delivered()+
		` LIMIT 0`)
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "42703" { // no such column
		return fault.New(fault.Permanent, "prepare table %s: it is not one of ours: %w", s.delivered(),
			err)
	}
	return err
}

// entry is one row of the delivered set.
type entry struct {
	first, last    int64
	rowFrom, rowTo int64
	hash           []byte // nil when merged
	rows, present  int64
	rejected       *string
	at             int64
}

const entryColumns = `first, last, row_from, row_to, hash, rows, present, rejected, at`

func (e *entry) scan(rows pgx.Rows) error {
	return rows.Scan(&e.first, &e.last, &e.rowFrom, &e.rowTo, &e.hash, &e.rows, &e.present,
		&e.rejected, &e.at)
}

// seen returns the entry that is the token or covers it, nil if there is none. One that overlaps it
// otherwise is a conflict.
func (s *Sink) seen(ctx context.Context, t record.Token) (*entry, error) {
	rows, err := s.session.conn.Query(ctx, `SELECT `+entryColumns+` FROM `+s.delivered()+`
		WHERE job = $1 AND lineage = $2 AND target = $3 AND first <= $4 AND last >= $5`,
		t.Job, t.Lineage.String(), s.cfg.Table, int64(t.Last), int64(t.First))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found *entry
	for rows.Next() {
		var e entry
		if err := e.scan(rows); err != nil {
			return nil, err
		}
		switch e.relation(t) {
		case apart:
		case covers:
			found = &e
		case conflicts:
			return nil, fault.New(fault.Conflict, "write to %s: delivery %s meets one with other "+
				"bounds or content: blocks %d-%d, rows %d-%d, hash %x",
				s.target, t, e.first, e.last, e.rowFrom, e.rowTo, e.hash)
		}
	}
	return found, rows.Err()
}

// relation is how an entry stands to a token whose blocks overlap its own.
type relation uint8

const (
	apart relation = iota
	covers
	conflicts
)

func (e *entry) relation(t record.Token) relation {
	from, to := int64(t.RowFrom), int64(t.RowTo)
	sameBlocks := e.first == int64(t.First) && e.last == int64(t.Last)
	switch {
	case sameBlocks && e.rowFrom == from && e.rowTo == to:
		if e.hash == nil || string(e.hash) == string(t.Hash[:]) {
			return covers
		}
	case e.hash == nil && e.rowTo == 0 && e.first <= int64(t.First) && int64(t.Last) <= e.last:
		return covers
	case sameBlocks && e.rowTo != 0 && to != 0:
		if e.hash == nil && e.rowFrom <= from && to <= e.rowTo {
			return covers
		}
		if e.rowTo <= from || to <= e.rowFrom {
			return apart
		}
	}
	return conflicts
}

// verdict is what the first Write of the entry's token said, or would say now: all rows that were
// not refused are there.
func (e *entry) verdict() (connector.Verdict, error) {
	var v connector.Verdict
	if e.rejected != nil {
		if err := json.Unmarshal([]byte(*e.rejected), &v.Rejected); err != nil {
			return v, fault.New(fault.Corrupt, "read refused rows of blocks %d-%d: %w",
				e.first, e.last, err)
		}
	}
	v.Present = e.rows - int64(len(v.Rejected))
	return v, nil
}

// record puts the token into the delivered set.
func (s *Sink) record(ctx context.Context, d connector.Delivery, v connector.Verdict) error {
	t := d.Token
	var rejected *string
	if len(v.Rejected) > 0 {
		b, err := json.Marshal(v.Rejected)
		if err != nil {
			return fmt.Errorf("write refused rows: %w", err)
		}
		text := string(b)
		rejected = &text
	}
	err := s.put(ctx, t, entry{first: int64(t.First), last: int64(t.Last),
		rowFrom: int64(t.RowFrom), rowTo: int64(t.RowTo), hash: t.Hash[:], rows: d.Rows.NumRows(),
		present: v.Present, rejected: rejected, at: time.Now().Unix()})
	if err != nil {
		return err
	}
	return s.tidy(ctx, t)
}

func (s *Sink) put(ctx context.Context, t record.Token, e entry) error {
	_, err := s.session.conn.Exec(ctx, `INSERT INTO `+s.delivered()+` (job, lineage, target, `+
		entryColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
		ON CONFLICT (job, lineage, target, first, last, row_from, row_to) DO UPDATE SET
		hash = excluded.hash, rows = excluded.rows, present = excluded.present,
		rejected = excluded.rejected, at = excluded.at`,
		t.Job, t.Lineage.String(), s.cfg.Table, e.first, e.last, e.rowFrom, e.rowTo, e.hash, e.rows,
		e.present, e.rejected, e.at)
	return err
}
