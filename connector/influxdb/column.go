package influxdb

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/influxdata/line-protocol/v2/lineprotocol"
)

// The types of fields, as SHOW FIELD KEYS names them.
const (
	typeInteger = "integer"
	typeFloat   = "float"
	typeString  = "string"
	typeBoolean = "boolean"
)

// fieldType is the type of the field that a column becomes, "" if there is none for it.
func fieldType(t arrow.DataType) string {
	switch t.ID() {
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64, arrow.UINT8, arrow.UINT16, arrow.UINT32, arrow.UINT64:
		return typeInteger
	case arrow.FLOAT32, arrow.FLOAT64:
		return typeFloat
	case arrow.BOOL:
		return typeBoolean
	case arrow.STRING, arrow.LARGE_STRING, arrow.BINARY, arrow.LARGE_BINARY, arrow.TIMESTAMP:
		return typeString
	}
	return ""
}

// value reads the value of a row; a reason that is not empty says why a point can't hold it.
type value func(row int) (v lineprotocol.Value, reason string)

// valueOf returns how the values of a column are read; its type has a fieldType.
func valueOf(name string, col arrow.Array) value {
	switch c := col.(type) {
	case *array.Boolean:
		return func(i int) (lineprotocol.Value, string) { return lineprotocol.BoolValue(c.Value(i)), "" }
	case *array.Int8:
		return integers(c.Int8Values())
	case *array.Int16:
		return integers(c.Int16Values())
	case *array.Int32:
		return integers(c.Int32Values())
	case *array.Int64:
		return integers(c.Int64Values())
	case *array.Uint8:
		return integers(c.Uint8Values())
	case *array.Uint16:
		return integers(c.Uint16Values())
	case *array.Uint32:
		return integers(c.Uint32Values())
	case *array.Uint64:
		return naturals(name, c.Uint64Values())
	case *array.Float32:
		return floats(name, func(i int) float64 { return shortest(c.Value(i)) })
	case *array.Float64:
		return floats(name, c.Value)
	case *array.Timestamp:
		return texts(name, times(c))
	case *array.String:
		return texts(name, c.Value)
	case *array.LargeString:
		return texts(name, c.Value)
	case *array.Binary:
		return texts(name, func(i int) string { return base64.StdEncoding.EncodeToString(c.Value(i)) })
	case *array.LargeBinary:
		return texts(name, func(i int) string { return base64.StdEncoding.EncodeToString(c.Value(i)) })
	}
	return nil
}

func integers[T ~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32](v []T) value {
	return func(i int) (lineprotocol.Value, string) { return lineprotocol.IntValue(int64(v[i])), "" }
}

// naturals refuses what an integer of InfluxDB, which has a sign, can't hold.
func naturals(name string, v []uint64) value {
	return func(i int) (lineprotocol.Value, string) {
		if v[i] > math.MaxInt64 {
			return lineprotocol.Value{}, fmt.Sprintf("%s is %d, and an integer of InfluxDB ends at %d", name, v[i],
				int64(math.MaxInt64))
		}
		return lineprotocol.IntValue(int64(v[i])), ""
	}
}

// shortest is the float of 64 bits that people would write for one of 32 bits: 0.1, not 0.10000000149. It
// is the same float when it is read as one of 32 bits.
func shortest(v float32) float64 {
	wide := float64(v)
	if math.IsNaN(wide) || math.IsInf(wide, 0) || wide == math.Trunc(wide) {
		return wide
	}
	var room [32]byte
	out, err := strconv.ParseFloat(string(strconv.AppendFloat(room[:0], wide, 'g', -1, 32)), 64)
	if err != nil {
		return wide
	}
	return out
}

func floats(name string, get func(int) float64) value {
	return func(i int) (lineprotocol.Value, string) {
		v, ok := lineprotocol.FloatValue(get(i))
		if !ok {
			return v, fmt.Sprintf("%s is %v, which InfluxDB can't hold", name, get(i))
		}
		return v, ""
	}
}

func texts(name string, get func(int) string) value {
	return func(i int) (lineprotocol.Value, string) {
		v, ok := lineprotocol.StringValue(get(i))
		if !ok {
			return v, name + " is not UTF-8"
		}
		return v, ""
	}
}

func times(c *array.Timestamp) func(int) string {
	unit := c.DataType().(*arrow.TimestampType).Unit
	return func(i int) string { return c.Value(i).ToTime(unit).UTC().Format(time.RFC3339Nano) }
}

// tagOf returns how the text of a tag is read from a column. A null is an empty text, and no tag.
func tagOf(name string, col arrow.Array) func(row int) (text, reason string) {
	read := valueOf(name, col)
	text, isText := col.(interface{ Value(int) string })
	return func(i int) (string, string) {
		if col.IsNull(i) {
			return "", ""
		}
		tag := ""
		if isText {
			tag = text.Value(i)
		} else {
			v, reason := read(i)
			if reason != "" {
				return "", reason
			}
			tag = plain(v)
		}
		if why := badTag(tag); why != "" {
			return "", fmt.Sprintf("%s is %s", name, why)
		}
		return tag, ""
	}
}

// plain is the text of a value without the marks of the line protocol.
func plain(v lineprotocol.Value) string {
	switch v.Kind() {
	case lineprotocol.Int:
		return strconv.FormatInt(v.IntV(), 10)
	case lineprotocol.Float:
		return strconv.FormatFloat(v.FloatV(), 'g', -1, 64)
	case lineprotocol.Bool:
		return strconv.FormatBool(v.BoolV())
	}
	return v.StringV()
}

// badTag says why a text can't be the value of a tag, "" if it can.
func badTag(text string) string {
	if text == "" {
		return ""
	}
	for i := range len(text) {
		if text[i] < ' ' || text[i] == 0x7f {
			return fmt.Sprintf("%s, and a tag can't hold a line's end or another control character", quoted(text))
		}
	}
	switch {
	case !utf8.ValidString(text):
		return "not UTF-8"
	case text[len(text)-1] == '\\':
		return fmt.Sprintf("%s, and a tag can't end in a backslash", quoted(text))
	case ambiguous(text):
		return fmt.Sprintf("%s, and InfluxDB takes a backslash before a comma, a space, = or \" away", quoted(text))
	}
	return ""
}

// ambiguous reports whether a name or a tag has a backslash that a server would take for its own: it would
// keep another text, or split it. The library writes it, for its own decoder reads it back.
func ambiguous(text string) bool {
	for i := range len(text) - 1 {
		if text[i] == '\\' && strings.IndexByte(`, ="`, text[i+1]) >= 0 {
			return true
		}
	}
	return false
}

// quoted shows a text, of a long one how it begins.
func quoted(text string) string {
	if len(text) > 60 {
		return strconv.Quote(text[:60]) + "..."
	}
	return strconv.Quote(text)
}
