package columns

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/itchyny/gojq"
)

// The types of columns.
const (
	Int64   = "int64"
	Uint64  = "uint64"
	Float64 = "float64"
	Text    = "text"
	Bool    = "bool"
	Time    = "time"
	JSON    = "json"
)

var arrowTypes = map[string]arrow.DataType{
	Int64: arrow.PrimitiveTypes.Int64, Uint64: arrow.PrimitiveTypes.Uint64,
	Float64: arrow.PrimitiveTypes.Float64, Text: arrow.BinaryTypes.String,
	Bool: arrow.FixedWidthTypes.Boolean, Time: arrow.FixedWidthTypes.Timestamp_us,
	JSON: arrow.BinaryTypes.String,
}

// cell is a value that has become one of a column.
type cell struct {
	null bool
	i    int64 // int64, and time as microseconds
	u    uint64
	f    float64
	s    string // text and json
	b    bool
}

var (
	errMissing = errors.New("is missing")
	errRange   = errors.New("is out of range")
	errNaN     = errors.New("is not a finite number")
)

// read makes a cell of a value. convert allows text where another type is wanted, and the reverse.
func (c *Column) read(v any, convert bool) (cell, error) {
	if v == nil {
		if c.Optional {
			return cell{null: true}, nil
		}
		return cell{}, errMissing
	}
	switch c.Type {
	case Text:
		return readText(v, convert)
	case JSON:
		v, err := plain(v)
		if err != nil {
			return cell{}, err
		}
		b, err := gojq.Marshal(v)
		return cell{s: string(b)}, err
	case Bool:
		return readBool(v, convert)
	case Time:
		return c.readTime(v, convert)
	}
	n, err := Number(v, convert)
	if err != nil {
		return cell{}, err
	}
	return c.readNumber(n)
}

func (c *Column) readNumber(n string) (out cell, err error) {
	switch c.Type {
	case Int64:
		out.i, err = toInt(n)
	case Uint64:
		out.u, err = toUint(n)
	default:
		out.f, err = toFloat(n)
	}
	return out, err
}

func wrongType(want string, v any) error { return fmt.Errorf("is %s, want %s", KindOf(v), want) }

func readText(v any, convert bool) (cell, error) {
	s, ok := v.(string)
	if !ok {
		if _, isBool := v.(bool); !convert || !isBool && KindOf(v) != "a number" {
			return cell{}, wrongType("text", v)
		}
		b, err := gojq.Marshal(v)
		return cell{s: string(b)}, err
	}
	if !utf8.ValidString(s) {
		return cell{}, errors.New("is not UTF-8")
	}
	return cell{s: s}, nil
}

func readBool(v any, convert bool) (cell, error) {
	if b, ok := v.(bool); ok {
		return cell{b: b}, nil
	}
	if convert {
		text, ok := v.(string)
		if !ok {
			text, _ = Number(v, false)
		}
		if b, err := strconv.ParseBool(text); err == nil {
			return cell{b: b}, nil
		}
	}
	return cell{}, wrongType("a truth value", v)
}

// Number returns the decimal text of a number: through float64, a large identifier would change.
func Number(v any, convert bool) (string, error) {
	switch n := v.(type) {
	case json.Number:
		return n.String(), nil
	case int:
		return strconv.Itoa(n), nil
	case *big.Int:
		return n.String(), nil
	case float64:
		if math.IsNaN(n) || math.IsInf(n, 0) {
			return "", fmt.Errorf("is %v, which %w", n, errNaN)
		}
		return strconv.FormatFloat(n, 'g', -1, 64), nil
	case string:
		if convert {
			return n, nil
		}
	}
	return "", wrongType("a number", v)
}

// exactFloat is the highest whole number up to which every one is a float64.
const exactFloat = 1 << 53

func whole(n string) (float64, error) {
	f, err := toFloat(n)
	if err != nil {
		return 0, err
	}
	if f != math.Trunc(f) {
		return 0, fmt.Errorf("is %.40s, want a whole number", n)
	}
	if math.Abs(f) > exactFloat {
		return 0, errRange
	}
	return f, nil
}

func toInt(n string) (int64, error) {
	if i, err := strconv.ParseInt(n, 10, 64); err == nil {
		return i, nil
	}
	f, err := whole(n) // 1e3 and 3.0 are whole numbers too
	return int64(f), err
}

func toUint(n string) (uint64, error) {
	if u, err := strconv.ParseUint(n, 10, 64); err == nil {
		return u, nil
	}
	f, err := whole(n)
	if err == nil && f < 0 {
		err = errRange
	}
	return uint64(max(f, 0)), err
}

func toFloat(n string) (float64, error) {
	f, err := strconv.ParseFloat(n, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, errRange
	case err != nil:
		return 0, fmt.Errorf("is %.40q, want a number", n)
	case math.IsNaN(f) || math.IsInf(f, 0):
		return 0, errNaN
	}
	return f, nil
}

// The formats of times that are no Go layout.
const (
	formatRFC3339 = "rfc3339"
	formatUnix    = "unix"
	formatUnixMS  = "unix_ms"
)

// earliest and latest bound times to years that every database can hold.
var (
	earliest = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	latest   = time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC).UnixMicro()
)

func (c *Column) readTime(v any, convert bool) (cell, error) {
	us, err := c.micros(v, convert)
	if err == nil && (us < earliest || us > latest) {
		err = errRange
	}
	if err != nil {
		return cell{}, err
	}
	return cell{i: us}, nil
}

func (c *Column) micros(v any, convert bool) (us int64, err error) {
	zone := c.zone
	if zone == nil {
		zone = time.UTC
	}
	switch v := v.(type) {
	case time.Time: // it needs no format
		return v.UnixMicro(), nil
	case Clock:
		t, err := v.in(zone)
		return t.UnixMicro(), err
	}
	if c.Format == formatUnix || c.Format == formatUnixMS {
		n, err := Number(v, convert)
		if err != nil {
			return 0, err
		}
		return epoch(n, c.Format)
	}
	s, ok := v.(string)
	if !ok {
		return 0, wrongType("a time as text", v)
	}
	t, err := c.readText(s, zone)
	return t.UnixMicro(), err
}

// readText reads a time that is a text.
func (c *Column) readText(s string, zone *time.Location) (t time.Time, err error) {
	layout, like := c.Format, c.Format
	switch c.Format {
	case "":
		like = "2006-01-02 15:04 or " + time.RFC3339
		t, layout, err = byDefault(s, zone)
	case formatRFC3339:
		layout, like = time.RFC3339Nano, time.RFC3339Nano
		t, err = time.Parse(layout, s)
	default:
		t, err = time.ParseInLocation(layout, s, zone)
	}
	if err != nil && c.loose {
		t, layout, err = byDefault(s, zone)
	}
	if err != nil {
		return t, fmt.Errorf("is %.40q, want a time like %s", s, like)
	}
	if skipped(layout, s, t) {
		return t, fmt.Errorf("is %.40q, a time that there is not in %v: clocks went forward over it", s, zone)
	}
	return t, nil
}

// skipped reports whether t is not what the text says: in its zone, clocks went forward over that time.
func skipped(layout, text string, t time.Time) bool {
	if t.Location() == time.UTC {
		return false
	}
	wall, err := time.Parse(layout, text)
	return err == nil && !wall.Equal(t) && (wall.Hour() != t.Hour() || wall.Minute() != t.Minute())
}

// epoch returns microseconds of a number of seconds or milliseconds, which may have a fraction.
func epoch(n, format string) (int64, error) {
	const most = 3e14
	per := int64(1e6)
	if format == formatUnixMS {
		per = 1e3
	}
	if i, err := strconv.ParseInt(n, 10, 64); err == nil && -most <= i && i <= most {
		return i * per, nil
	}
	f, err := toFloat(n)
	if err != nil {
		return 0, err
	}
	if math.Abs(f) > most {
		return 0, errRange
	}
	return int64(math.Round(f * float64(per))), nil
}

// compare orders two cells of a column that can be a cursor.
func (c *Column) compare(a, b cell) int {
	switch c.Type {
	case Uint64:
		return cmp.Compare(a.u, b.u)
	case Float64:
		return cmp.Compare(a.f, b.f)
	case Text:
		return cmp.Compare(a.s, b.s)
	}
	return cmp.Compare(a.i, b.i)
}

// put appends a cell to the builder of a column of this type, which has room for it.
func put(b array.Builder, c cell) {
	if c.null {
		b.AppendNull()
		return
	}
	switch b := b.(type) {
	case *array.Int64Builder:
		b.UnsafeAppend(c.i)
	case *array.Uint64Builder:
		b.UnsafeAppend(c.u)
	case *array.Float64Builder:
		b.UnsafeAppend(c.f)
	case *array.StringBuilder:
		b.Append(c.s)
	case *array.BooleanBuilder:
		b.UnsafeAppend(c.b)
	case *array.TimestampBuilder:
		b.UnsafeAppend(arrow.Timestamp(c.i))
	}
}
