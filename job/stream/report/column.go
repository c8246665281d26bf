package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"holdfast/base/fault"
)

// number is what can be computed with.
type number interface{ int64 | uint64 | float64 }

// numbers is a column of numbers of one batch.
type numbers[T number] struct {
	values []T
	counts []bool // whether a value is one; nil if all are
}

// numbersOf returns a column of numbers, T being what its array holds.
func numbersOf[T number](col arrow.Array) numbers[T] {
	var values any
	switch c := col.(type) {
	case *array.Int64:
		values = c.Int64Values()
	case *array.Uint64:
		values = c.Uint64Values()
	case *array.Float64:
		values = c.Float64Values()
	}
	n := numbers[T]{values: values.([]T)}
	floats, isFloat := values.([]float64)
	if col.NullN() == 0 && (!isFloat || !slices.ContainsFunc(floats, strange)) {
		return n
	}
	n.counts = make([]bool, len(n.values))
	for i := range n.counts {
		n.counts[i] = col.IsValid(i) && !(isFloat && strange(floats[i]))
	}
	return n
}

// strange says that a float is no finite number.
func strange(f float64) bool { return f-f != 0 }

// texts reads a column as texts, "" for null. They may be parts of the batch.
func texts(col arrow.Array) func(i int) string {
	get := plainTexts(col)
	if col.NullN() == 0 {
		return get
	}
	return func(i int) string {
		if col.IsNull(i) {
			return ""
		}
		return get(i)
	}
}

func plainTexts(col arrow.Array) func(i int) string {
	switch c := col.(type) {
	case *array.String:
		return c.Value
	case *array.Int64:
		return func(i int) string { return strconv.FormatInt(c.Value(i), 10) }
	case *array.Uint64:
		return func(i int) string { return strconv.FormatUint(c.Value(i), 10) }
	case *array.Float64:
		return func(i int) string { return strconv.FormatFloat(c.Value(i), 'g', -1, 64) }
	case *array.Boolean:
		return func(i int) string { return strconv.FormatBool(c.Value(i)) }
	case *array.Timestamp:
		unit := c.DataType().(*arrow.TimestampType).Unit
		return func(i int) string { return c.Value(i).ToTime(unit).Format(time.RFC3339Nano) }
	}
	return func(int) string { return "" } // finding lets nothing else through
}

// putValue appends a value as connector.Tables gives it to a column. A database may have a number in another
// form than the rows had; only what is the same number is taken.
func putValue(b array.Builder, f arrow.Field, v any) error {
	if v == nil {
		b.AppendNull()
		return nil
	}
	ok := false
	switch b := b.(type) {
	case *array.StringBuilder:
		var s string
		if s, ok = textOf(v); ok {
			b.Append(s)
		}
	case *array.Int64Builder:
		var n int64
		if n, ok = integerOf(v); ok {
			b.Append(n)
		}
	case *array.Uint64Builder:
		var n int64
		if n, ok = integerOf(v); ok && n >= 0 {
			b.Append(uint64(n))
		} else {
			ok = false
		}
	case *array.Float64Builder:
		switch n := v.(type) {
		case float64:
			b.Append(n)
			ok = true
		case int64:
			b.Append(float64(n))
			ok = true
		}
	case *array.BooleanBuilder:
		var is bool
		if is, ok = v.(bool); ok {
			b.Append(is)
		}
	case *array.TimestampBuilder:
		var at time.Time
		if at, ok = v.(time.Time); ok {
			b.AppendTime(at)
		}
	}
	if !ok {
		return fault.New(fault.Permanent, "column %s: the database has %s where the rows have %s", f.Name,
			fmt.Sprintf("%T %.60v", v, v), f.Type)
	}
	return nil
}

func textOf(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

func integerOf(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case float64:
		n := int64(v)
		return n, float64(n) == v && math.Abs(v) < 1<<63
	}
	return 0, false
}
