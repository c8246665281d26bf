package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/delivered"
)

// Write puts the rows and the token into the database in one transaction. A token that is there
// already has its first verdict again, and nothing is written; with ByKey the rows are compared
// all the same, and those that the table has lost are written again (rows without a key can't be
// compared: for them the token stands).
func (s *Sink) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	var verdict connector.Verdict
	err := s.alone(ctx, func() error {
		db, err := s.open(ctx)
		if err == nil {
			d, err = s.withExtras(ctx, db, d)
		}
		if err == nil {
			err = s.sameSchema(ctx, db, d)
		}
		if err == nil {
			verdict, err = s.write(ctx, db, d)
		}
		if fault.Is(err, fault.Full) {
			s.need = s.roomFor(d)
		}
		return err
	})
	if err != nil {
		return connector.Verdict{}, err
	}
	return verdict, nil
}

// withExtras gives the table the columns that a delivery has beyond what its source is known for, or
// leaves them out of it: they stay in the spool.
func (s *Sink) withExtras(ctx context.Context, db *session, d connector.Delivery) (connector.Delivery, error) {
	var have map[string]column
	var strict bool
	var err error
	fit := func(f arrow.Field) bool {
		if have == nil && err == nil {
			have, strict, err = s.readTable(ctx, db.w)
		}
		if errors.Is(err, sql.ErrNoRows) { // there is no table yet: it is made with them
			return true
		}
		_, ok := classOf(f.Type)
		if err != nil || !ok {
			return false
		}
		if col, there := have[strings.ToLower(f.Name)]; there {
			return !col.generated && fits(f.Type, col.decl, strict) && counts(f.Type, col.decl)
		}
		if !*s.cfg.Create {
			return false
		}
		_, err := db.w.ExecContext(ctx, "ALTER TABLE "+quote(s.cfg.Table)+" ADD COLUMN "+quote(f.Name)+" "+
			declared(f.Type))
		return err == nil
	}
	schema, rows, bad := record.WithoutOptional(d.Schema, d.Rows, fit)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	d.Schema, d.Rows = schema, rows
	return d, s.classify("read columns of", errors.Join(err, bad))
}

// sameSchema prepares for a delivery whose schema is not the one that was prepared: after the
// connection was lost, or when the schema changed between blocks.
func (s *Sink) sameSchema(ctx context.Context, db *session, d connector.Delivery) error {
	if db.table != nil && db.table.schema.Key == d.Schema.Key &&
		db.table.schema.Equal(d.Schema.Schema) {
		return nil
	}
	return s.prepare(ctx, db, d.Schema)
}

func (s *Sink) write(ctx context.Context, db *session, d connector.Delivery) (
	v connector.Verdict, err error) {
	what := "write " + plural.Of(d.Rows.NumRows(), "row") + " to"
	if err := s.begin(ctx, db); err != nil {
		return v, s.classify(what, err)
	}
	committed := false
	defer func() {
		if !committed {
			db.rollback(ctx)
		}
	}()
	byKey := d.ByKey && db.table.key.Any()
	known, err := s.seen(ctx, db.w, d.Token, byKey)
	if err != nil {
		return v, s.classify("look for token in", err)
	}
	if known != nil && !byKey {
		return known.Verdict()
	}
	if v, err = s.putRows(ctx, db, d); err != nil {
		return v, s.classify(what, err)
	}
	if known == nil || known.Is(d.Token) { // what another entry covers or crosses has none of its own
		err = s.record(ctx, db, d, v)
	}
	if err != nil {
		return v, s.classify("write token to", err)
	}
	if err := db.commit(ctx); err != nil {
		return v, s.classify(what, err)
	}
	committed = true
	return v, s.at(afterCommit)
}

func (s *Sink) putRows(ctx context.Context, db *session, d connector.Delivery) (
	connector.Verdict, error) {
	w := newWriter(db.table, d.Rows, func() error { return s.at(midRows) })
	put := w.write
	if db.table.key.Replaces() {
		put = func(ctx context.Context, n int) error { return w.replace(ctx, db, n) }
	}
	if err := put(ctx, int(d.Rows.NumRows())); err != nil {
		return connector.Verdict{}, err
	}
	slices.SortFunc(w.verdict.Rejected, func(a, b connector.RowFault) int { return a.Row - b.Row })
	return w.verdict, nil
}

// at lets a test break a write.
func (s *Sink) at(st stage) error {
	if s.broken == nil {
		return nil
	}
	return s.broken(st)
}

// roomFor is about how much free space the delivery wants: its pages, in the WAL and in the file.
// An estimate too low costs another attempt; one too high would wait for room that is not needed.
func (s *Sink) roomFor(d connector.Delivery) uint64 {
	const value, others = 8, 256 << 10
	return uint64(2*d.Rows.NumRows()*d.Rows.NumCols()*value + others)
}

// Probe writes a delivered entry and takes it out again in a transaction that is committed: only
// that shows that the disk takes a write and its fsync. No row is touched. After the disk was full
// it also wants room for what did not fit.
func (s *Sink) Probe(ctx context.Context) error {
	return s.alone(ctx, func() error {
		db, err := s.open(ctx)
		if err != nil {
			return err
		}
		if err := s.begin(ctx, db); err != nil {
			return s.classify("probe", err)
		}
		err = s.probeIn(ctx, db)
		if err == nil {
			err = db.commit(ctx)
		}
		if err != nil {
			db.rollback(ctx)
			return s.classify("probe", err)
		}
		return s.hasRoom()
	})
}

func (s *Sink) probeIn(ctx context.Context, db *session) error {
	if err := s.fitDelivered(ctx, db.w); err != nil {
		return err
	}
	if db.table != nil {
		if err := s.fitIn(ctx, db.w, db.table.schema, db.table.key); err != nil {
			return err
		}
	}
	const probe = `job = '' AND lineage = '' AND target = ''`
	_, err := db.w.ExecContext(ctx, `INSERT OR REPLACE INTO `+delivered.Table+` (job, lineage, target,
		first, last, row_from, row_to, rows, present, at) VALUES ('', '', '', 0, 0, 0, 0, 0, 0, 0)`)
	if err != nil {
		return err
	}
	_, err = db.w.ExecContext(ctx, `DELETE FROM `+delivered.Table+` WHERE `+probe)
	return err
}

func (s *Sink) hasRoom() error {
	if s.need == 0 {
		return nil
	}
	free, err := freeSpace(filepath.Dir(s.path))
	if err == nil && free < s.need {
		return fault.New(fault.Full, "probe database %s: %d bytes are free, and the delivery that "+
			"did not fit wants %d", s.path, free, s.need)
	}
	s.need = 0
	return nil
}
