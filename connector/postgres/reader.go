package postgres

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"holdfast/base/fault"
	"holdfast/connector"
)

// reader asks a sink's table about its keys, on connections of its own.
type reader struct{ s *Sink }

// Reader returns the sink's reader. Before Prepare no key column is known, and its methods fail.
func (s *Sink) Reader() connector.SinkReader { return reader{s} }

// walk calls yield for every key that a query answers. The server must send one within the
// time-out, however many there are: a question about all rows may take long, a silent server not.
func (r reader) walk(ctx context.Context, query func(key string, highest uint64) string,
	yield func(key uint64) error) error {
	t, err := r.table()
	if err != nil {
		return err
	}
	if !t.schema.IntegerKeyed() {
		return fault.New(fault.Permanent, "read table %s: its rows have no integer key", r.s.target)
	}
	highest := uint64(math.MaxInt64)
	if t.wide[t.schema.Key] {
		highest = math.MaxUint64
	}
	return r.ask(ctx, query(quote(t.schema.Field(t.schema.Key).Name), highest), func(raw []byte) error {
		key, err := strconv.ParseUint(string(raw), 10, 64)
		if err != nil {
			return fault.New(fault.Permanent, "read table %s: its key %s is no integer from 0 to 2^64-1",
				r.s.target, raw)
		}
		return yield(key)
	})
}

// Holds reports whether the table has a row.
func (r reader) Holds(ctx context.Context) (some bool, err error) {
	if _, err := r.table(); err != nil {
		return false, err
	}
	err = r.ask(ctx, "SELECT 1 FROM "+r.s.target+" LIMIT 1", func([]byte) error {
		some = true
		return nil
	})
	return some, err
}

// table is the table, once it is prepared.
func (r reader) table() (*table, error) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.s.table == nil {
		return nil, fault.New(fault.Transient, "read table %s: it is not prepared", r.s.target)
	}
	return r.s.table, nil
}

// ask calls yield with the first column of every row that a query answers. The server must send one
// within the time-out.
func (r reader) ask(ctx context.Context, query string, yield func(raw []byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(r.s.cfg.Timeout, cancel)
	defer silence.Stop()
	conn, err := pgx.ConnectConfig(ctx, r.s.dial)
	if err != nil {
		return r.s.classify("connect to read", err)
	}
	defer hangUp(ctx, conn)
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return r.s.classify("read", err)
	}
	defer rows.Close()
	// A walk that is stopped must not read the rest of the answer: closing rows would.
	defer cancel()
	for rows.Next() {
		silence.Stop()
		if err := yield(rows.RawValues()[0]); err != nil {
			return err
		}
		silence.Reset(r.s.cfg.Timeout)
	}
	return r.s.classify("read", rows.Err())
}

// Highest is the highest key in the table.
func (r reader) Highest(ctx context.Context) (key uint64, ok bool, err error) {
	err = r.walk(ctx, func(column string, _ uint64) string {
		return fmt.Sprintf("SELECT m::text FROM (SELECT max(%s) AS m FROM %s) AS x WHERE m >= 0",
			column, r.s.target)
	}, func(k uint64) error {
		key, ok = k, true
		return nil
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
	return r.walk(ctx, func(column string, highest uint64) string {
		// The numbers stand in the text, so that a bigint is compared as one and its index serves.
		return fmt.Sprintf("SELECT %s::text FROM %s AS t WHERE t.%[1]s BETWEEN %[3]d AND %[4]d "+
			"ORDER BY t.%[1]s",
			column, r.s.target, min(kr.From, highest), min(kr.To, highest))
	}, func(key uint64) error {
		if key < kr.From { // the range lies beyond what the column holds
			return nil
		}
		return yield(key, 1)
	})
}
