package clickhouse

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// family is what values of a type have in common.
type family uint8

const (
	other family = iota
	signedInt
	unsignedInt
	floating
	text
	fixedText
	dateTime   // seconds, 32 bits without a sign
	dateTime64 // ticks, 64 bits with a sign
)

// columnType is a ClickHouse type that we can write.
type columnType struct {
	family   family
	bytes    int    // of a value; 0 for text
	scale    int    // of dateTime64: digits after the second
	nullable bool   // Nullable(...)
	low      bool   // LowCardinality(...)
	dict     bool   // to be sent as a dictionary and indexes
	zone     string // of dateTime and dateTime64, if they name one
	sent     string // its name in a Native block: LowCardinality is the server's own matter
}

var (
	intType      = regexp.MustCompile(`^(U?)Int(8|16|32|64)$`)
	fixedType    = regexp.MustCompile(`^FixedString\((\d+)\)$`)
	dateTimeType = regexp.MustCompile(`^DateTime(?:\('([^']*)'\))?$`)
	dateTime64At = regexp.MustCompile(`^DateTime64\((\d)(?:, *'([^']*)')?\)$`)
)

// parseType reads a type as system.columns tells it; family other is one that we can't write.
func parseType(s string) columnType {
	s, low := within(s, "LowCardinality")
	t := columnType{sent: s, low: low}
	if inner, ok := within(s, "Nullable"); ok {
		s, t.nullable = inner, true
	}
	switch {
	case s == "String":
		t.family = text
	case s == "Float32":
		t.family, t.bytes = floating, 4
	case s == "Float64":
		t.family, t.bytes = floating, 8
	case s == "Bool":
		t.family, t.bytes = unsignedInt, 1
	}
	if m := intType.FindStringSubmatch(s); m != nil {
		bits, _ := strconv.Atoi(m[2])
		t.family, t.bytes = signedInt, bits/8
		if m[1] == "U" {
			t.family = unsignedInt
		}
	}
	if m := fixedType.FindStringSubmatch(s); m != nil {
		t.family = fixedText
		t.bytes, _ = strconv.Atoi(m[1])
	}
	if m := dateTimeType.FindStringSubmatch(s); m != nil {
		t.family, t.bytes, t.zone = dateTime, 4, m[1]
	}
	if m := dateTime64At.FindStringSubmatch(s); m != nil {
		t.family, t.bytes, t.zone = dateTime64, 8, m[2]
		t.scale, _ = strconv.Atoi(m[1])
	}
	return t
}

func within(s, outer string) (string, bool) {
	inner, ok := strings.CutPrefix(s, outer+"(")
	if !ok {
		return s, false
	}
	return strings.CutSuffix(inner, ")")
}

// asDictionary makes a type of low cardinality one that is sent as a dictionary, which is what the
// first servers that had it want. Later ones make it themselves.
func (t columnType) asDictionary() columnType {
	if !t.low {
		return t
	}
	if t.sent, t.dict = "LowCardinality("+t.sent+")", true; t.family != text {
		t.family = other
	}
	return t
}

// takes reports whether values of an Arrow type can be written to the type: all of them, or all but
// those that are out of its range, which are refused row by row.
func (t columnType) takes(a arrow.DataType) bool {
	switch id := a.ID(); t.family {
	case signedInt, unsignedInt:
		return arrow.IsInteger(id) || id == arrow.BOOL && t.bytes == 1
	case floating:
		return id == arrow.FLOAT32 || id == arrow.FLOAT64
	case text, fixedText:
		return id == arrow.STRING || id == arrow.LARGE_STRING || id == arrow.BINARY ||
			id == arrow.LARGE_BINARY
	case dateTime, dateTime64:
		return id == arrow.TIMESTAMP
	}
	return false
}

// bounds are the lowest and highest integer of the type.
func (t columnType) bounds() (lo int64, hi uint64) {
	bits := uint(t.bytes * 8)
	if t.family == unsignedInt {
		return 0, math.MaxUint64 >> (64 - bits)
	}
	return math.MinInt64 >> (64 - bits), math.MaxInt64 >> (64 - bits)
}

// typeFor is the type of a created column, which takes every value of a; ok is false if there is
// none.
func typeFor(a arrow.DataType, nullable, lowCardinality bool) (string, bool) {
	var s string
	switch id := a.ID(); id {
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64:
		s = fmt.Sprintf("Int%d", a.(arrow.FixedWidthDataType).BitWidth())
	case arrow.UINT8, arrow.UINT16, arrow.UINT32, arrow.UINT64:
		s = fmt.Sprintf("UInt%d", a.(arrow.FixedWidthDataType).BitWidth())
	case arrow.BOOL:
		s = "UInt8"
	case arrow.FLOAT32, arrow.FLOAT64:
		s = fmt.Sprintf("Float%d", a.(arrow.FixedWidthDataType).BitWidth())
	case arrow.STRING, arrow.LARGE_STRING, arrow.BINARY, arrow.LARGE_BINARY:
		s = "String"
	case arrow.TIMESTAMP:
		if s = "DateTime"; a.(*arrow.TimestampType).Unit != arrow.Second {
			s = fmt.Sprintf("DateTime64(%d)", 3*int(a.(*arrow.TimestampType).Unit))
		}
	default:
		return "", false
	}
	if nullable {
		s = "Nullable(" + s + ")"
	}
	if lowCardinality && arrow.IsBaseBinary(a.ID()) {
		s = "LowCardinality(" + s + ")"
	}
	return s, true
}
