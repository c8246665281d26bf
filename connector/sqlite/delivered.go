package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
)

const (
	deliveredTable = "holdfast_delivered"
	// keepHashes is how many deliveries of one lineage into one table keep their hash at least.
	keepHashes = 10_000
)

const createDelivered = `CREATE TABLE IF NOT EXISTS ` + deliveredTable + ` (
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
		rows, present, rejected, at FROM `+deliveredTable+` LIMIT 0`)
	if codeOf(err) == codeError {
		return fault.New(fault.Permanent, "prepare table %s of %s: it is not one of ours: %w",
			deliveredTable, s.path, err)
	}
	return err
}

// entry is one row of the delivered set.
type entry struct {
	first, last    int64
	rowFrom, rowTo int64
	hash           []byte // nil when merged
	rows, present  int64
	rejected       sql.NullString
	at             int64
}

const entryColumns = `first, last, row_from, row_to, hash, rows, present, rejected, at`

func (e *entry) scan(rows *sql.Rows) error {
	return rows.Scan(&e.first, &e.last, &e.rowFrom, &e.rowTo, &e.hash, &e.rows, &e.present,
		&e.rejected, &e.at)
}

// seen returns the entry that is the token or covers it, nil if there is none. One that overlaps it
// otherwise is a conflict; but compared by key, rows may come in other bounds than before: when a block
// of theirs was lost, its neighbours are cut anew. Then it is the entry, if there is no better one.
func (s *Sink) seen(ctx context.Context, c *sql.Conn, t record.Token, byKey bool) (*entry, error) {
	// Entries don't overlap, but for parts of the same blocks: so from the highest one that begins
	// within the token downwards, the first that ends before it is the last that matters.
	rows, err := c.QueryContext(ctx, `SELECT `+entryColumns+` FROM `+deliveredTable+`
		WHERE job = ? AND lineage = ? AND target = ? AND first <= ?
		ORDER BY first DESC, last DESC, row_from DESC`,
		t.Job, t.Lineage.String(), s.cfg.Table, int64(t.Last))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var crossed *entry
	for rows.Next() {
		var e entry
		if err := e.scan(rows); err != nil {
			return nil, err
		}
		if e.last < int64(t.First) {
			break
		}
		switch e.relation(t) {
		case apart:
		case covers:
			return &e, nil
		case crosses:
			if byKey {
				crossed = &e
				continue
			}
			fallthrough
		case conflicts:
			return nil, fault.New(fault.Conflict, "write to %s: delivery %s meets one with other "+
				"bounds or content: blocks %d-%d, rows %d-%d, hash %x",
				s.path, t, e.first, e.last, e.rowFrom, e.rowTo, e.hash)
		}
	}
	return crossed, rows.Err()
}

// relation is how an entry stands to a token whose blocks overlap its own.
type relation uint8

const (
	apart relation = iota
	covers
	crosses   // it has other bounds
	conflicts // it has other content
)

func (e *entry) relation(t record.Token) relation {
	from, to := int64(t.RowFrom), int64(t.RowTo)
	sameBlocks := e.first == int64(t.First) && e.last == int64(t.Last)
	switch {
	case sameBlocks && e.rowFrom == from && e.rowTo == to:
		if e.hash == nil || string(e.hash) == string(t.Hash[:]) {
			return covers
		}
		return conflicts
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
	return crosses
}

// is reports whether the entry is the token's own.
func (e *entry) is(t record.Token) bool {
	return e.hash != nil && e.first == int64(t.First) && e.last == int64(t.Last) &&
		e.rowFrom == int64(t.RowFrom) && e.rowTo == int64(t.RowTo)
}

// verdict is what the first Write of the entry's token said, or would say now: all rows that were
// not refused are there.
func (e *entry) verdict() (connector.Verdict, error) {
	var v connector.Verdict
	if e.rejected.Valid {
		if err := json.Unmarshal([]byte(e.rejected.String), &v.Rejected); err != nil {
			return v, fault.New(fault.Corrupt, "read refused rows of blocks %d-%d: %w",
				e.first, e.last, err)
		}
	}
	v.Present = e.rows - int64(len(v.Rejected))
	return v, nil
}

// record puts the token into the delivered set.
func (s *Sink) record(ctx context.Context, db *session, d connector.Delivery,
	v connector.Verdict) error {
	t := d.Token
	var rejected sql.NullString
	if len(v.Rejected) > 0 {
		b, err := json.Marshal(v.Rejected)
		if err != nil {
			return fmt.Errorf("write refused rows: %w", err)
		}
		rejected = sql.NullString{String: string(b), Valid: true}
	}
	err := s.put(ctx, db.w, t, entry{first: int64(t.First), last: int64(t.Last),
		rowFrom: int64(t.RowFrom), rowTo: int64(t.RowTo), hash: t.Hash[:], rows: d.Rows.NumRows(),
		present: v.Present, rejected: rejected, at: time.Now().Unix()})
	if err != nil {
		return err
	}
	return s.tidy(ctx, db, t)
}

func (s *Sink) put(ctx context.Context, c *sql.Conn, t record.Token, e entry) error {
	_, err := c.ExecContext(ctx, `INSERT OR REPLACE INTO `+deliveredTable+` (job, lineage, target, `+
		entryColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		t.Job, t.Lineage.String(), s.cfg.Table, e.first, e.last, e.rowFrom, e.rowTo, e.hash, e.rows,
		e.present, e.rejected, e.at)
	return err
}
