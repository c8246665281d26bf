package sqlite

import (
	"context"
	"database/sql"

	"holdfast/base/fault"
	"holdfast/connector"
)

// reader asks a sink's table about its keys, beside the connection that writes.
type reader struct{ s *Sink }

// Reader returns the sink's reader. Before Prepare it knows no key column, and its methods fail.
func (s *Sink) Reader() connector.SinkReader { return reader{s} }

// Holds reports whether the table has a row.
func (r reader) Holds(ctx context.Context) (some bool, err error) {
	db, _, err := r.open()
	if err != nil {
		return false, err
	}
	err = db.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM "+quote(r.s.cfg.Table)+")").Scan(&some)
	return some, r.s.classify("read", err)
}

// ask calls f with the database and the quoted names of table and key.
func (r reader) ask(f func(db *sql.DB, table, key string) error) error {
	db, t, err := r.open()
	if err != nil {
		return err
	}
	if !t.schema.IntegerKeyed() {
		return fault.New(fault.Permanent, "read table %s of %s: its rows have no integer key",
			r.s.cfg.Table, r.s.path)
	}
	return r.s.classify("read", f(db.db, quote(r.s.cfg.Table), quote(t.schema.Field(t.schema.Key).Name)))
}

// open returns the session and its table, once they are prepared.
func (r reader) open() (*session, *table, error) {
	r.s.mu.Lock()
	db := r.s.session
	var t *table
	if db != nil {
		t = db.table
	}
	r.s.mu.Unlock()
	if t == nil {
		return nil, nil, fault.New(fault.Transient, "read database %s: it is not prepared", r.s.path)
	}
	return db, t, r.s.unmoved(db)
}

// Highest returns the highest key of the table.
func (r reader) Highest(ctx context.Context) (key uint64, ok bool, err error) {
	err = r.ask(func(db *sql.DB, table, column string) error {
		var max sql.NullInt64
		err := db.QueryRowContext(ctx, "SELECT max("+column+") FROM "+table).Scan(&max)
		key, ok = uint64(max.Int64), max.Valid && max.Int64 >= 0
		return err
	})
	return key, ok, err
}

// Tally sums up the keys of a range.
func (r reader) Tally(ctx context.Context, kr connector.KeyRange) (connector.Tally, error) {
	return connector.TallyOf(func(yield func(key, rows uint64) error) error { return r.Keys(ctx, kr, yield) })
}

// Keys yields the keys of a range; each has one row, because the table's key is unique.
func (r reader) Keys(ctx context.Context, kr connector.KeyRange,
	yield func(key, rows uint64) error) error {
	const highest = 1<<63 - 1
	if kr.From > highest {
		return nil
	}
	var stopped error
	err := r.ask(func(db *sql.DB, table, column string) error {
		rows, err := db.QueryContext(ctx, "SELECT "+column+" FROM "+table+" WHERE "+column+
			" BETWEEN ? AND ? ORDER BY "+column, int64(kr.From), int64(min(kr.To, highest)))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var key int64
			if err := rows.Scan(&key); err != nil {
				return err
			}
			if stopped = yield(uint64(key), 1); stopped != nil {
				return nil
			}
		}
		return rows.Err()
	})
	if stopped != nil {
		return stopped
	}
	return err
}
