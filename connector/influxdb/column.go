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

	"holdfast/base/record"
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

// put appends the value of a row as a line has it; a reason that is not empty says why a point can't hold it.
type put func(dst []byte, row int) (out []byte, reason string)

// putOf returns how the values of a column are written; its type has a fieldType.
func putOf(name string, col arrow.Array) put {
	if whole := wholeOf(name, col); whole != nil {
		return func(dst []byte, i int) ([]byte, string) {
			n, reason := whole(i)
			return append(strconv.AppendInt(dst, n, 10), 'i'), reason
		}
	}
	if text := textOf(col); text != nil {
		return texts(name, text)
	}
	switch c := col.(type) {
	case *array.Boolean:
		return func(dst []byte, i int) ([]byte, string) { return strconv.AppendBool(dst, c.Value(i)), "" }
	case *array.Float32:
		return floats(name, func(i int) float64 { return shortest(c.Value(i)) })
	case *array.Float64:
		return floats(name, c.Value)
	}
	return nil
}

// wholeOf returns how the values of a column of integers are read, nil for another.
func wholeOf(name string, col arrow.Array) func(row int) (n int64, reason string) {
	if integer := record.Integers(col); integer != nil {
		return func(i int) (int64, string) { return integer(i), "" }
	}
	if c, ok := col.(*array.Uint64); ok {
		return naturals(name, c.Uint64Values())
	}
	return nil
}

// naturals refuses what an integer of InfluxDB, which has a sign, can't hold.
func naturals(name string, v []uint64) func(row int) (int64, string) {
	return func(i int) (int64, string) {
		if v[i] > math.MaxInt64 {
			return 0, fmt.Sprintf("%s is %d, and an integer of InfluxDB ends at %d", name, v[i], int64(math.MaxInt64))
		}
		return int64(v[i]), ""
	}
}

// textOf returns how the values of a column that becomes text are read, nil for another.
func textOf(col arrow.Array) func(row int) string {
	switch c := col.(type) {
	case *array.String:
		return c.Value
	case *array.LargeString:
		return c.Value
	case *array.Binary:
		return func(i int) string { return base64.StdEncoding.EncodeToString(c.Value(i)) }
	case *array.LargeBinary:
		return func(i int) string { return base64.StdEncoding.EncodeToString(c.Value(i)) }
	case *array.Timestamp:
		unit := c.DataType().(*arrow.TimestampType).Unit
		return func(i int) string { return c.Value(i).ToTime(unit).UTC().Format(time.RFC3339Nano) }
	}
	return nil
}

// texts writes strings. Quotes and backslashes are escaped; the ends of lines and tabs stay as they are: as
// \n the server would read two characters.
func texts(name string, get func(int) string) put {
	return func(dst []byte, i int) ([]byte, string) {
		text := get(i)
		if !utf8.ValidString(text) {
			return dst, name + " is not UTF-8"
		}
		dst = append(dst, '"')
		for {
			at := strings.IndexAny(text, `"\`)
			if at < 0 {
				return append(append(dst, text...), '"'), ""
			}
			dst = append(append(dst, text[:at]...), '\\', text[at])
			text = text[at+1:]
		}
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

func floats(name string, get func(int) float64) put {
	return func(dst []byte, i int) ([]byte, string) {
		v := get(i)
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return dst, fmt.Sprintf("%s is %v, which InfluxDB can't hold", name, v)
		}
		return appendFloat(dst, v), ""
	}
}

// appendFloat is strconv.AppendFloat(dst, v, 'g', -1, 64), quicker for what most measurements are: numbers
// below a million with at most three decimals. n/1000 is rounded as a parser rounds the decimal that is
// written, and so few digits stand for one float alone: they are the shortest.
func appendFloat(dst []byte, v float64) []byte {
	n := int64(math.Round(max(-1e9, min(v*1000, 1e9))))
	if n == 0 || n <= -1e9 || n >= 1e9 || float64(n)/1000 != v {
		return strconv.AppendFloat(dst, v, 'g', -1, 64)
	}
	if n < 0 {
		dst, n = append(dst, '-'), -n
	}
	dst = strconv.AppendInt(dst, n/1000, 10)
	if n %= 1000; n == 0 {
		return dst
	}
	dst = append(dst, '.', byte('0'+n/100))
	if n %= 100; n == 0 {
		return dst
	}
	dst = append(dst, byte('0'+n/10))
	if n %= 10; n == 0 {
		return dst
	}
	return append(dst, byte('0'+n))
}

// tagOf returns how the text of a tag is read from a column. A null is an empty text, and no tag.
func tagOf(name string, col arrow.Array) func(row int) (text, reason string) {
	text, whole, other := textOf(col), wholeOf(name, col), putOf(name, col)
	return func(i int) (tag, reason string) {
		switch {
		case col.IsNull(i):
			return "", ""
		case text != nil:
			tag = text(i)
		case whole != nil:
			var n int64
			n, reason = whole(i)
			tag = strconv.FormatInt(n, 10)
		default:
			var plain []byte
			plain, reason = other(nil, i)
			tag = string(plain)
		}
		if reason != "" {
			return "", reason
		}
		if why := badTag(tag); why != "" {
			return "", fmt.Sprintf("%s is %s", name, why)
		}
		return tag, ""
	}
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
