package clickhouse

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"holdfast/base/fault"
)

// sourceColumn is a column that is read: how it is asked for, and what its text becomes.
type sourceColumn struct {
	Name string `json:"name"`
	Type string `json:"type"` // as the server tells it

	kind  valueKind
	of    columnType
	inner string // Type without Nullable and LowCardinality
	arrow arrow.DataType
}

// valueKind is what the text of a value stands for.
type valueKind uint8

const (
	asText  valueKind = iota
	asFixed           // text padded with zero bytes
	asInt
	asUint
	asFloat
	asBool
	asTime // a count of units since 1970
	asDate // 2026-01-31
)

// textual are types that have no like here and are read as the text that ClickHouse writes of them.
var textual = regexp.MustCompile(`^(UUID|IPv4|IPv6|Enum8|Enum16|Decimal(32|64|128|256)?|U?Int(128|256)|` +
	`Array|Tuple|Map|JSON|Object|Point)\b`)

// composite types are written with the escapes of their elements and none around them.
var composite = regexp.MustCompile(`^(Array|Tuple|Map|Point)\b`)

// columnOf says how a column of that type is read. One that can't be is a Permanent fault.
func columnOf(name, typ string) (sourceColumn, error) {
	inner, _ := within(typ, "LowCardinality")
	inner, _ = within(inner, "Nullable")
	c := sourceColumn{Name: name, Type: typ, of: parseType(typ), inner: inner, arrow: arrow.BinaryTypes.String}
	switch {
	case inner == "Bool":
		c.kind, c.arrow = asBool, arrow.FixedWidthTypes.Boolean
	case inner == "Date" || inner == "Date32":
		c.kind, c.arrow = asDate, arrow.FixedWidthTypes.Timestamp_s
	case c.of.family == signedInt:
		c.kind, c.arrow = asInt, signedTypes[c.of.bytes]
	case c.of.family == unsignedInt:
		c.kind, c.arrow = asUint, unsignedTypes[c.of.bytes]
	case c.of.family == floating:
		c.kind, c.arrow = asFloat, floatTypes[c.of.bytes]
	case c.of.family == fixedText:
		c.kind = asFixed
	case c.of.family == dateTime:
		c.kind, c.arrow = asTime, arrow.FixedWidthTypes.Timestamp_s
	case c.of.family == dateTime64:
		c.kind, c.arrow = asTime, []arrow.DataType{arrow.FixedWidthTypes.Timestamp_ms,
			arrow.FixedWidthTypes.Timestamp_us, arrow.FixedWidthTypes.Timestamp_ns}[c.thousands()]
	case c.of.family != text && !textual.MatchString(inner):
		return c, fault.WithHint(fault.New(fault.Permanent, "column %s is %s, which can't be read", name, typ),
			"leave it out with columns, or make something else of it with query")
	}
	return c, nil
}

var (
	signedTypes = map[int]arrow.DataType{1: arrow.PrimitiveTypes.Int8, 2: arrow.PrimitiveTypes.Int16,
		4: arrow.PrimitiveTypes.Int32, 8: arrow.PrimitiveTypes.Int64}
	unsignedTypes = map[int]arrow.DataType{1: arrow.PrimitiveTypes.Uint8, 2: arrow.PrimitiveTypes.Uint16,
		4: arrow.PrimitiveTypes.Uint32, 8: arrow.PrimitiveTypes.Uint64}
	floatTypes = map[int]arrow.DataType{4: arrow.PrimitiveTypes.Float32, 8: arrow.PrimitiveTypes.Float64}
)

// thousands says which unit holds a DateTime64: 0 milli-, 1 micro-, 2 nanoseconds.
func (c *sourceColumn) thousands() int { return max(c.of.scale-1, 0) / 3 }

var subseconds = []string{"Milli", "Micro", "Nano"}

// perSecond is how many units of the column's count make a second.
func (c *sourceColumn) perSecond() int64 {
	if c.of.family == dateTime64 {
		return []int64{1e3, 1e6, 1e9}[c.thousands()]
	}
	return 1
}

// unit names what the column's values count, "" if they are no times.
func (c *sourceColumn) unit() string {
	switch {
	case c.kind == asDate:
		return "/d"
	case c.kind == asTime:
		return map[int64]string{1: "/s", 1e3: "/ms", 1e6: "/us", 1e9: "/ns"}[c.perSecond()]
	}
	return ""
}

// asKey widens a key of few bits: keys are 64 bits, or text.
func (c *sourceColumn) asKey() {
	switch c.kind {
	case asInt:
		c.arrow = arrow.PrimitiveTypes.Int64
	case asUint:
		c.arrow = arrow.PrimitiveTypes.Uint64
	}
}

// keyable tells whether rows can be known by the column, orderable whether they can be followed by it.
func (c *sourceColumn) keyable() bool {
	return !c.of.nullable && (c.kind == asInt || c.kind == asUint || c.of.family == text ||
		c.kind == asFixed || c.inner == "UUID")
}

func (c *sourceColumn) orderable() bool {
	return !c.of.nullable && (c.kind == asInt || c.kind == asUint || c.kind == asTime || c.kind == asDate ||
		c.of.family == text)
}

func (c *sourceColumn) timed() bool { return c.kind == asTime || c.kind == asDate }

// expression asks for the column. A time is asked for as a count: as text it would depend on the
// server's zone, and mean two things in the hour when clocks are set back.
func (c *sourceColumn) expression() string {
	switch {
	case c.kind == asBool:
		return "toUInt8(" + name(c.Name) + ")"
	case c.of.family == dateTime:
		return "toUnixTimestamp(" + name(c.Name) + ")"
	case c.of.family == dateTime64:
		return "toUnixTimestamp64" + subseconds[c.thousands()] + "(" + name(c.Name) + ")"
	}
	return name(c.Name)
}

// literal is the value, as a page gave it, in SQL.
func (c *sourceColumn) literal(value string) string {
	switch {
	case c.kind == asInt || c.kind == asUint:
		return value
	case c.of.family == dateTime:
		return "toDateTime(" + value + ")"
	case c.of.family == dateTime64:
		return "fromUnixTimestamp64" + subseconds[c.thousands()] + "(toInt64(" + value + "))"
	case c.kind == asDate:
		return "to" + c.inner + "(" + literal(value) + ")"
	case c.inner == "UUID":
		return "toUUID(" + literal(value) + ")"
	}
	return literal(value)
}

// cell is a value on its way into a row. It holds integers, floats and times as their 64 bits.
type cell struct {
	null bool
	bits uint64
	text string
}

var (
	errMissing  = errors.New("is missing")
	errNotUTF8  = errors.New("is not UTF-8")
	errNegative = errors.New("is below 0, which a key can't be")
)

// read makes a cell of a field of TabSeparated, for the column's own type: what another type of the
// server does not fit into is an error.
func (c *sourceColumn) read(field []byte) (out cell, err error) {
	if bytes.Equal(field, []byte(`\N`)) {
		if !c.of.nullable {
			return out, errMissing
		}
		return cell{null: true}, nil
	}
	bits := 8 * c.of.bytes
	switch c.kind {
	case asInt, asTime:
		if c.kind == asTime {
			bits = 64
		}
		i, err := strconv.ParseInt(string(field), 10, bits)
		return cell{bits: uint64(i)}, c.unfit(field, err)
	case asUint, asBool:
		u, err := strconv.ParseUint(string(field), 10, bits)
		return cell{bits: u}, c.unfit(field, err)
	case asFloat:
		f, err := strconv.ParseFloat(string(field), bits)
		return cell{bits: math.Float64bits(f)}, c.unfit(field, err)
	case asDate:
		t, err := time.Parse(time.DateOnly, string(field))
		return cell{bits: uint64(t.Unix())}, c.unfit(field, err)
	}
	if out.text = string(field); !composite.MatchString(c.inner) {
		out.text = unescape(out.text)
	}
	if c.kind == asFixed {
		out.text = strings.TrimRight(out.text, "\x00")
	}
	if !utf8.ValidString(out.text) {
		return out, errNotUTF8
	}
	return out, nil
}

func (c *sourceColumn) unfit(field []byte, err error) error {
	if err != nil {
		err = fmt.Errorf("is %.40q, which is no %s", field, c.Type)
	}
	return err
}

// put appends a cell to the builder of its column.
func put(b array.Builder, c cell) {
	if c.null {
		b.AppendNull()
		return
	}
	switch b := b.(type) {
	case *array.Int8Builder:
		b.Append(int8(c.bits))
	case *array.Int16Builder:
		b.Append(int16(c.bits))
	case *array.Int32Builder:
		b.Append(int32(c.bits))
	case *array.Int64Builder:
		b.Append(int64(c.bits))
	case *array.Uint8Builder:
		b.Append(uint8(c.bits))
	case *array.Uint16Builder:
		b.Append(uint16(c.bits))
	case *array.Uint32Builder:
		b.Append(uint32(c.bits))
	case *array.Uint64Builder:
		b.Append(c.bits)
	case *array.Float32Builder:
		b.Append(float32(math.Float64frombits(c.bits)))
	case *array.Float64Builder:
		b.Append(math.Float64frombits(c.bits))
	case *array.BooleanBuilder:
		b.Append(c.bits != 0)
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(c.bits))
	case *array.StringBuilder:
		b.Append(c.text)
	}
}
