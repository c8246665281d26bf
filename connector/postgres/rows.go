package postgres

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/jackc/pgx/v5/pgtype"

	"holdfast/base/record"
	"holdfast/connector"
)

// staged gives the rows of a delivery to COPY, but for those that PostgreSQL can't hold.
type staged struct {
	t        *table
	cols     []value
	rows     int
	next     int
	values   []any // of the current row, its index first
	rejected []connector.RowFault
}

func newStaged(t *table, b arrow.RecordBatch) *staged {
	s := &staged{t: t, rows: int(b.NumRows()), cols: make([]value, b.NumCols()),
		values: make([]any, 1+b.NumCols())}
	for i := range s.cols {
		s.cols[i] = valuesOf(t.schema.Field(i).Name, b.Column(i), t.wide[i])
	}
	return s
}

// Next goes on to the next row that can be held.
func (s *staged) Next() bool {
	for ; s.next < s.rows; s.next++ {
		if reason := s.fill(s.next); reason != "" {
			s.rejected = append(s.rejected, connector.RowFault{Row: s.next, Reason: reason})
			continue
		}
		s.next++
		return true
	}
	return false
}

// fill reads a row; a reason that is not empty says why PostgreSQL can't hold it.
func (s *staged) fill(row int) (reason string) {
	s.values[0] = int64(row)
	for c, get := range s.cols {
		v, reason := get(row)
		if reason != "" {
			return reason
		}
		if v == nil {
			if reason := s.t.key.Lacks(c); reason != "" {
				return reason
			}
		}
		s.values[1+c] = v
	}
	return ""
}

// Values returns the current row. COPY is done with it before it asks for the next.
func (s *staged) Values() ([]any, error) { return s.values, nil }

// Err says nothing: what can't be held is in rejected.
func (s *staged) Err() error { return nil }

// value reads one value of a column; a reason that is not empty says why it can't be held.
type value func(row int) (v any, reason string)

// valuesOf returns the reader of a column; wide says that the table's column is numeric.
func valuesOf(name string, col arrow.Array, wide bool) value {
	get := plainValues(name, col, wide)
	if col.NullN() == 0 {
		return get
	}
	return func(i int) (any, string) {
		if col.IsNull(i) {
			return nil, ""
		}
		return get(i)
	}
}

func plainValues(name string, col arrow.Array, wide bool) value {
	if integer := record.Integers(col); integer != nil {
		return func(i int) (any, string) { return integer(i), "" }
	}
	switch c := col.(type) {
	case *array.Boolean:
		return func(i int) (any, string) { return c.Value(i), "" }
	case *array.Uint64:
		return bigIntegers(name, c.Uint64Values(), wide)
	case *array.Timestamp:
		return times(name, c)
	case *array.Float32:
		return func(i int) (any, string) { return c.Value(i), "" }
	case *array.Float64:
		return func(i int) (any, string) { return c.Value(i), "" }
	case *array.String:
		return texts(name, c.Value)
	case *array.LargeString:
		return texts(name, c.Value)
	case *array.Binary:
		return func(i int) (any, string) { return c.Value(i), "" }
	case *array.LargeBinary:
		return func(i int) (any, string) { return c.Value(i), "" }
	}
	return func(int) (any, string) {
		return nil, fmt.Sprintf("column %s is %s, which this sink can't store", name, col.DataType())
	}
}

func bigIntegers(name string, v []uint64, wide bool) value {
	return func(i int) (any, string) {
		switch {
		case v[i] <= math.MaxInt64:
			return int64(v[i]), ""
		case wide:
			return pgtype.Numeric{Int: new(big.Int).SetUint64(v[i]), Valid: true}, ""
		}
		return nil, fmt.Sprintf("%s %d is above %d, the largest integer that its column holds",
			name, v[i], int64(math.MaxInt64))
	}
}

// The Unix seconds that a timestamptz holds: from 4714 BC, and up to the year 294247, where its
// microseconds since 1970 leave 64 bits.
const (
	firstSecond = -210866803200
	lastSecond  = math.MaxInt64/1_000_000 - 1
)

func times(name string, c *array.Timestamp) value {
	v, unit := c.TimestampValues(), c.DataType().(*arrow.TimestampType).Unit
	return func(i int) (any, string) {
		per := int64(time.Second / unit.Multiplier())
		seconds, rest := int64(v[i])/per, int64(v[i])%per
		nanos := rest * int64(unit.Multiplier())
		switch {
		case seconds < firstSecond || seconds > lastSecond:
			return nil, fmt.Sprintf("%s %d (Unix, in %s) is outside of what a timestamp holds", name, v[i],
				unit)
		case nanos%1000 != 0:
			return nil, fmt.Sprintf("%s %d (Unix, in %s) has parts of a microsecond", name, v[i], unit)
		}
		return time.Unix(seconds, nanos).UTC(), ""
	}
}

func texts(name string, get func(int) string) value {
	return func(i int) (any, string) {
		v := get(i)
		switch {
		case strings.IndexByte(v, 0) >= 0:
			return nil, name + " has a NUL byte, which a text of PostgreSQL can't hold"
		case !utf8.ValidString(v):
			return nil, name + " is not UTF-8"
		}
		return v, ""
	}
}
