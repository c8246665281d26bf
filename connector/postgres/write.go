package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/jackc/pgx/v5"

	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/base/record"
	"holdfast/connector"
)

// Write puts the rows and the token into the database in one transaction. A token that is there
// already has its first verdict again, and nothing is written; with ByKey the rows are compared
// all the same, and those that the table has lost are written again (rows without a key can't be
// compared: for them the token stands).
func (s *Sink) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	var verdict connector.Verdict
	err := s.alone(ctx, func(ctx context.Context) error {
		d, err := s.withExtras(ctx, d)
		if err != nil {
			return s.classify("read columns of", err)
		}
		t := s.session.table
		if t == nil || t.schema.Key != d.Schema.Key || !t.schema.Equal(d.Schema.Schema) {
			if err := s.prepare(ctx, d.Schema); err != nil {
				return err
			}
		}
		err = s.transact(ctx, func() (err error) {
			verdict, err = s.write(ctx, d)
			return err
		})
		return s.classify("write "+plural.Of(d.Rows.NumRows(), "row")+" to", err)
	})
	if err != nil {
		return connector.Verdict{}, err
	}
	return verdict, nil
}

// withExtras gives the table the columns that a delivery has beyond what its source is known for, or
// leaves them out of it: they stay in the spool.
func (s *Sink) withExtras(ctx context.Context, d connector.Delivery) (connector.Delivery, error) {
	var have map[string]column
	var err error
	fit := func(f arrow.Field) bool {
		if have == nil && err == nil {
			var oid uint32
			if oid, _, err = s.find(ctx); err == nil {
				have, err = s.columns(ctx, oid)
			}
		}
		if errors.Is(err, pgx.ErrNoRows) { // there is no table yet: it is made with them
			return true
		}
		if err != nil || created(f.Type) == "" {
			return false
		}
		if col, there := have[f.Name]; there {
			return !col.generated && holds(f.Type, col.typ)
		}
		if !s.cfg.Create {
			return false
		}
		_, err := s.session.conn.Exec(ctx, "ALTER TABLE "+s.target+" ADD COLUMN IF NOT EXISTS "+quote(f.Name)+
			" "+created(f.Type))
		return err == nil
	}
	schema, rows, bad := record.WithoutOptional(d.Schema, d.Rows, fit)
	if errors.Is(err, pgx.ErrNoRows) {
		err = nil
	}
	d.Schema, d.Rows = schema, rows
	return d, errors.Join(err, bad)
}

// transact runs f in a transaction, which has no effect unless f and the commit succeed. The
// commit's error leaves open what became of it.
func (s *Sink) transact(ctx context.Context, f func() error) error {
	err := s.begin(ctx)
	if err == nil {
		err = f()
	}
	if err != nil {
		s.rollback(ctx)
		return err
	}
	tag, err := s.session.conn.Exec(ctx, "COMMIT")
	if err == nil && tag.String() != "COMMIT" {
		err = fault.New(fault.Transient, "commit to %s: the server answered %s", s.target, tag)
	}
	return err
}

// begin starts a transaction that can't outlive us for long: if we fall silent, the server ends it
// and its locks. The settings are the transaction's own, so that a pooler may stand between.
func (s *Sink) begin(ctx context.Context) error {
	ms := s.cfg.Timeout.Milliseconds()
	return s.session.conn.PgConn().Exec(ctx, fmt.Sprintf(`BEGIN ISOLATION LEVEL READ COMMITTED;
		SET LOCAL statement_timeout = %d;
		SET LOCAL idle_in_transaction_session_timeout = %[1]d;
		SELECT set_config('synchronous_commit', 'on', true)
		WHERE current_setting('synchronous_commit') = 'off'`, ms)).Close()
}

// rollback ends a transaction whose outcome does not matter any more. If even that fails, the
// connection is closed, which ends it too.
func (s *Sink) rollback(ctx context.Context) {
	if s.session.conn.IsClosed() {
		return
	}
	const polite = time.Second
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), polite)
	defer cancel()
	if _, err := s.session.conn.Exec(bounded, "ROLLBACK"); err != nil {
		s.drop(ctx)
	}
}

func (s *Sink) write(ctx context.Context, d connector.Delivery) (v connector.Verdict, err error) {
	// An attempt that was given up may be at work on the server still. It holds this lock until it
	// has committed or is gone; only then does the delivered set say what became of it.
	if err := s.lock(ctx, s.cfg.Table, d.Token.Job, d.Token.Lineage.String()); err != nil {
		return v, err
	}
	byKey := d.ByKey && s.session.table.key.Any()
	known, err := s.seen(ctx, d.Token, byKey)
	if err != nil {
		return v, err
	}
	if known != nil && !byKey {
		return known.Verdict()
	}
	if v, err = s.putRows(ctx, d); err != nil {
		return v, err
	}
	if known == nil || known.Is(d.Token) { // what another entry covers or crosses has none of its own
		err = s.record(ctx, d, v)
	}
	return v, err
}

// lock takes a lock of the server's under names within our schema, until the transaction ends.
func (s *Sink) lock(ctx context.Context, names ...string) error {
	_, err := s.session.conn.Exec(ctx, advisory(append([]string{s.cfg.Schema}, names...)...))
	return err
}

// advisory is the statement that takes a lock of the server's under names.
func advisory(names ...string) string {
	h := fnv.New64a()
	for _, name := range names {
		_, _ = fmt.Fprintf(h, "%d/%s", len(name), name)
	}
	return fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", int64(h.Sum64()))
}

// putRows stages the rows, inserts those that the table lacks, and compares the others.
func (s *Sink) putRows(ctx context.Context, d connector.Delivery) (v connector.Verdict, err error) {
	c, t := s.session.conn, s.session.table
	rows := newStaged(t, d.Rows)
	if _, err := c.Exec(ctx, t.stage); err != nil {
		return v, err
	}
	staged, err := c.CopyFrom(ctx, pgx.Identifier{staging}, t.names, rows)
	if err != nil {
		return v, err
	}
	if t.key.Replaces() {
		v, err = s.replaced(ctx, staged)
	} else {
		var ignored []connector.RowFault
		v, ignored, err = s.stored(ctx, staged)
		v.Rejected = append(v.Rejected, ignored...)
	}
	v.Rejected = append(v.Rejected, rows.rejected...)
	slices.SortFunc(v.Rejected, func(a, b connector.RowFault) int { return cmp.Compare(a.Row, b.Row) })
	return v, err
}

// stored inserts the staged rows that the table lacks and compares the others. Those that it did not take are
// told beside the verdict.
func (s *Sink) stored(ctx context.Context, staged int64) (v connector.Verdict, ignored []connector.RowFault,
	err error) {
	tag, err := s.session.conn.Exec(ctx, s.session.table.insert)
	absent := staged - tag.RowsAffected()
	if err != nil || absent == 0 {
		return v, nil, err
	}
	v.Rejected, ignored, err = s.compare(ctx)
	v.Present = absent - int64(len(v.Rejected)+len(ignored))
	return v, ignored, err
}

// compare looks at the staged rows, all of which are in the table now by their key: each has the
// content that we would write, or is another and told with the columns that differ; or the table ignored it.
func (s *Sink) compare(ctx context.Context) (others, ignored []connector.RowFault, err error) {
	t := s.session.table
	if t.differs == "" {
		return nil, nil, fault.New(fault.Permanent, "write to table %s: it did not take every row: "+
			"a trigger ignored some, and they have no key to find out which", s.target)
	}
	rows, err := s.session.conn.Query(ctx, t.differs)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var row int
		var missing bool
		var differ []bool
		if err := rows.Scan(&row, &missing, &differ); err != nil {
			return nil, nil, err
		}
		if missing {
			ignored = append(ignored, connector.RowFault{Row: row,
				Reason: "the table did not take it: a trigger ignored it"})
			continue
		}
		others = append(others, connector.RowFault{Row: row, Reason: t.key.Differs(t.those(differ))})
	}
	return others, ignored, rows.Err()
}

// those returns the names of the columns that are marked.
func (t *table) those(marked []bool) []string {
	var names []string
	for i, yes := range marked {
		if yes {
			names = append(names, t.schema.Field(i).Name)
		}
	}
	return names
}

// Probe writes a delivered entry and takes it out again in a transaction that is committed: only
// that shows that the server takes a write and its commit. No row is touched.
func (s *Sink) Probe(ctx context.Context) error {
	return s.alone(ctx, func(ctx context.Context) error {
		s.mu.Lock()
		t := s.table
		s.mu.Unlock()
		err := s.transact(ctx, func() error {
			if err := s.fitDelivered(ctx); err != nil {
				return err
			}
			if t != nil {
				if _, err := s.fit(ctx, t.schema, t.key); err != nil {
					return err
				}
			}
			_, err := s.session.conn.Exec(ctx, `INSERT INTO `+s.delivered()+` (job, lineage, target,
				first, last, row_from, row_to, rows, present, at)
				VALUES ('', '', '', 0, 0, 0, 0, 0, 0, 0) ON CONFLICT DO NOTHING`)
			if err == nil {
				_, err = s.session.conn.Exec(ctx, `DELETE FROM `+s.delivered()+
					` WHERE job = '' AND lineage = '' AND target = ''`)
			}
			return err
		})
		return s.classify("probe", err)
	})
}
