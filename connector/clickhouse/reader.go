package clickhouse

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"holdfast/base/fault"
	"holdfast/connector"
)

// bucketRows is how many rows are looked at in one question: the server keeps their keys in memory,
// some 50 bytes each.
const bucketRows = 1_000_000

// asker is what a reader needs to know of the table.
type asker struct {
	s    *Sink
	from string  // the table
	key  string  // the key's column, quoted
	time *column // nil if there is none that an index could use
}

func (s *Sink) asker() (asker, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.schema == nil:
		return asker{}, fault.New(fault.Transient, "clickhouse: not prepared")
	case s.schema.key == nil:
		return asker{}, fault.New(fault.Permanent, "clickhouse: the rows have no integer key")
	}
	a := asker{s: s, from: s.table.name, key: name(s.schema.key.name), time: s.schema.time}
	if a.time != nil && a.time.kind.nullable {
		a.time = nil
	}
	return a, nil
}

// numbers asks for rows of n numbers.
func (a asker) numbers(ctx context.Context, n int, sql string) ([][]uint64, error) {
	got, err := a.s.client.scan(ctx, a.s.cfg.ScanTimeout, sql)
	if err != nil {
		return nil, err
	}
	rows, err := got.rows(n)
	if err != nil {
		return nil, err
	}
	out := make([][]uint64, len(rows))
	for i, r := range rows {
		for _, field := range r {
			// Times before 1970 are negative; they come back as they went.
			v, err := strconv.ParseUint(field, 10, 64)
			if t, terr := strconv.ParseInt(field, 10, 64); err != nil && terr == nil {
				v, err = uint64(t), nil
			}
			if err != nil {
				return nil, garbage("asked for numbers: %s", excerpt(strings.Join(r, " ")))
			}
			out[i] = append(out[i], v)
		}
	}
	return out, nil
}

// Holds implements connector.SinkReader.
func (s *Sink) Holds(ctx context.Context) (bool, error) {
	s.mu.Lock()
	m := s.schema
	s.mu.Unlock()
	if m == nil {
		return false, fault.New(fault.Transient, "clickhouse: not prepared")
	}
	a := asker{s: s}
	rows, err := a.numbers(ctx, 1, "SELECT count() FROM (SELECT 1 FROM "+m.table.name+" LIMIT 1)")
	if c := code(err); c == 60 || c == 81 {
		return false, nil // no such table, no such database
	}
	if err != nil || len(rows) != 1 {
		return false, err
	}
	return rows[0][0] > 0, nil
}

// Highest implements connector.SinkReader. The server reads the whole key column for it, unless the
// key comes first among the sorting columns.
func (s *Sink) Highest(ctx context.Context) (uint64, bool, error) {
	a, err := s.asker()
	if err != nil {
		return 0, false, err
	}
	rows, err := a.numbers(ctx, 2, "SELECT max("+a.key+"), count() FROM "+a.from+" WHERE "+a.key+" >= 0")
	if c := code(err); c == 60 || c == 81 {
		return 0, false, nil // no such table, no such database
	}
	if err != nil || len(rows) != 1 {
		return 0, false, err
	}
	return rows[0][0], rows[0][1] > 0, nil
}

// bucket is a range of keys with few rows, and the times between which they lie.
type bucket struct {
	connector.KeyRange
	rows   uint64
	lo, hi int64
}

// where is the condition for the bucket's rows. Where keys rise with time, the times let the
// server's index find them; else every bucket reads the key column once.
func (a asker) where(b bucket) string {
	in := fmt.Sprintf("%s BETWEEN %d AND %d", a.key, b.From, b.To)
	if a.time != nil {
		in = a.time.between(b.lo, b.hi) + " AND " + in
	}
	return in
}

// buckets cuts the rows of a range of keys into buckets, in ascending order. It reads the columns
// of key and time twice.
func (a asker) buckets(ctx context.Context, r connector.KeyRange) ([]bucket, error) {
	in := fmt.Sprintf(" FROM %s WHERE %s BETWEEN %d AND %d", a.from, a.key, r.From, r.To)
	times := "toInt64(0), toInt64(0)"
	if a.time != nil {
		times = fmt.Sprintf("toInt64(min(%s)), toInt64(max(%[1]s))", name(a.time.name))
	}
	rows, err := a.numbers(ctx, 5, fmt.Sprintf("SELECT min(%s), max(%[1]s), count(), %s%s", a.key,
		times, in))
	if err != nil || len(rows) != 1 || rows[0][2] == 0 {
		return nil, err
	}
	whole := bucket{connector.KeyRange{From: rows[0][0], To: rows[0][1]}, rows[0][2],
		int64(rows[0][3]) - 1, int64(rows[0][4]) + 1}
	if whole.rows <= 2*bucketRows || whole.From == whole.To {
		return []bucket{whole}, nil
	}
	step := (whole.To-whole.From)/(whole.rows/bucketRows) + 1
	rows, err = a.numbers(ctx, 4, fmt.Sprintf("SELECT intDiv(%s - %d, %d) AS b, count(), %s%s "+
		"GROUP BY b ORDER BY b", a.key, whole.From, step, times, in))
	if err != nil {
		return nil, err
	}
	var out []bucket
	for _, f := range rows {
		b := bucket{connector.KeyRange{From: whole.From + f[0]*step}, f[1], int64(f[2]) - 1,
			int64(f[3]) + 1}
		if b.To = whole.To; step-1 < b.To-b.From {
			b.To = b.From + step - 1
		}
		if b.rows <= 4*bucketRows {
			out = append(out, b)
			continue
		}
		parts, err := a.buckets(ctx, b.KeyRange) // keys are not spread evenly
		if err != nil {
			return nil, err
		}
		out = append(out, parts...)
	}
	return out, nil
}

// Tally implements connector.SinkReader.
func (s *Sink) Tally(ctx context.Context, r connector.KeyRange) (connector.Tally, error) {
	var t connector.Tally
	a, err := s.asker()
	if err != nil {
		return t, err
	}
	buckets, err := a.buckets(ctx, r)
	if err != nil {
		return t, err
	}
	for _, b := range buckets {
		rows, err := a.numbers(ctx, 4, fmt.Sprintf("SELECT sum(c), count(), groupBitXor(k), sum(k) FROM "+
			"(SELECT toUInt64(%s) AS k, count() AS c FROM %s WHERE %s GROUP BY k)", a.key, a.from,
			a.where(b)))
		if err != nil {
			return connector.Tally{}, err
		}
		for _, f := range rows {
			t.Rows += f[0]
			t.Distinct += f[1]
			t.Xor ^= f[2]
			t.Sum += f[3]
		}
	}
	return t, nil
}

// Keys implements connector.SinkReader. It holds no more than a few lines of the server's answer.
func (s *Sink) Keys(ctx context.Context, r connector.KeyRange,
	yield func(key, rows uint64) error,
) error {
	a, err := s.asker()
	if err != nil {
		return err
	}
	buckets, err := a.buckets(ctx, r)
	if err != nil {
		return err
	}
	for _, b := range buckets {
		sql := fmt.Sprintf("SELECT %s, count() FROM %s WHERE %s GROUP BY %[1]s WITH TOTALS ORDER BY %[1]s",
			a.key, a.from, a.where(b))
		if err := s.keys(ctx, s.cfg.ScanTimeout, sql, yield); err != nil {
			return err
		}
	}
	return nil
}
