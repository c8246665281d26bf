// Package lines writes rows as text, for the sinks that give JSON or CSV to others: an object with a member
// for each column, or a record with a field for each.
//
// Integers and floats are written in full, times as RFC 3339 in UTC, bytes as base64. A null is `null` in
// JSON and nothing at all in CSV, where an empty text is "". The text of a row follows from the row and
// nothing else, so that a repeat is the same to the byte. What a text can't say (a float that is not
// finite, a text that is not UTF-8, a time beyond the year 9999) has a reason in the place of a text.
package lines

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/go-json-experiment/json/jsontext"

	"holdfast/base/record"
)

// value appends one value of a column; a reason that is not empty says why it can't be written.
type value func(dst []byte, row int) (out []byte, reason string)

// Rows writes the rows of a batch.
type Rows struct {
	names   [][]byte // what stands before each value
	columns []arrow.Array
	values  []value
	null    string // what a null is
	end     string // of a row
}

// Objects returns a writer of JSON objects.
func Objects(b arrow.RecordBatch) *Rows {
	r := &Rows{columns: b.Columns(), null: "null", end: "}"}
	for i, f := range b.Schema().Fields() {
		before := ","
		if i == 0 {
			before = "{"
		}
		name, _ := jsontext.AppendQuote([]byte(before), f.Name) // what is not UTF-8 is replaced
		r.names = append(r.names, append(name, ':'))
		r.values = append(r.values, valueOf(f.Name, b.Column(i), quoteJSON))
	}
	return r
}

// Records returns a writer of CSV, one line a row, and the line with the names of the columns.
func Records(b arrow.RecordBatch) (r *Rows, header []byte) {
	r = &Rows{columns: b.Columns(), end: "\n"}
	for i, f := range b.Schema().Fields() {
		before := []byte(",")
		if i == 0 {
			before = nil
		}
		r.names = append(r.names, before)
		r.values = append(r.values, valueOf(f.Name, b.Column(i), quoteCSV))
		header, _ = quoteCSV(append(header, before...), f.Name)
	}
	return r, append(header, '\n')
}

// Append appends a row; a reason that is not empty says why there is no text for it, and names the column.
func (r *Rows) Append(dst []byte, row int) (out []byte, reason string) {
	for i, v := range r.values {
		dst = append(dst, r.names[i]...)
		if r.columns[i].IsNull(row) {
			dst = append(dst, r.null...)
		} else if dst, reason = v(dst, row); reason != "" {
			return nil, reason
		}
	}
	return append(dst, r.end...), ""
}

// Fit refuses a schema with a column that can't be written.
func Fit(schema record.Schema) error {
	for _, f := range schema.Fields() {
		none := array.MakeArrayOfNull(memory.DefaultAllocator, f.Type, 0)
		if valueOf(f.Name, none, quoteJSON) == nil {
			return fmt.Errorf("column %s is %s, which this sink can't store", f.Name, f.Type)
		}
	}
	return nil
}

// quote appends a text that is not a number.
type quote func(dst []byte, text string) ([]byte, error)

func quoteJSON(dst []byte, text string) ([]byte, error) { return jsontext.AppendQuote(dst, text) }

// quoteCSV follows RFC 4180.
func quoteCSV(dst []byte, text string) ([]byte, error) {
	if !utf8.ValidString(text) {
		return dst, errNotText
	}
	if text != "" && !strings.ContainsAny(text, "\",\r\n") && text[0] != ' ' && text[len(text)-1] != ' ' {
		return append(dst, text...), nil
	}
	dst = append(dst, '"')
	dst = append(dst, strings.ReplaceAll(text, `"`, `""`)...)
	return append(dst, '"'), nil
}

var errNotText = errors.New("it is not UTF-8")

// valueOf returns the writer of a column, nil for a type that there is none of.
func valueOf(name string, col arrow.Array, q quote) value {
	switch c := col.(type) {
	case *array.Boolean:
		return func(dst []byte, i int) ([]byte, string) { return strconv.AppendBool(dst, c.Value(i)), "" }
	case *array.Int8:
		return integers(c.Int8Values())
	case *array.Int16:
		return integers(c.Int16Values())
	case *array.Int32:
		return integers(c.Int32Values())
	case *array.Int64:
		return integers(c.Int64Values())
	case *array.Uint8:
		return naturals(c.Uint8Values())
	case *array.Uint16:
		return naturals(c.Uint16Values())
	case *array.Uint32:
		return naturals(c.Uint32Values())
	case *array.Uint64:
		return naturals(c.Uint64Values())
	case *array.Float32:
		return floats(name, 32, func(i int) float64 { return float64(c.Value(i)) })
	case *array.Float64:
		return floats(name, 64, c.Value)
	case *array.Timestamp:
		return times(name, c, q)
	case *array.String:
		return texts(name, c.Value, q)
	case *array.LargeString:
		return texts(name, c.Value, q)
	case *array.Binary:
		return binaries(c.Value, q)
	case *array.LargeBinary:
		return binaries(c.Value, q)
	}
	return nil
}

func integers[T ~int8 | ~int16 | ~int32 | ~int64](v []T) value {
	return func(dst []byte, i int) ([]byte, string) { return strconv.AppendInt(dst, int64(v[i]), 10), "" }
}

func naturals[T ~uint8 | ~uint16 | ~uint32 | ~uint64](v []T) value {
	return func(dst []byte, i int) ([]byte, string) { return strconv.AppendUint(dst, uint64(v[i]), 10), "" }
}

func floats(name string, bits int, get func(int) float64) value {
	return func(dst []byte, i int) ([]byte, string) {
		v := get(i)
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Sprintf("%s is %v, which a text can't hold", name, v)
		}
		return strconv.AppendFloat(dst, v, 'g', -1, bits), ""
	}
}

// The Unix seconds of the years 0 to 9999, which RFC 3339 can hold.
const (
	firstSecond = -62167219200
	lastSecond  = 253402300799
)

func times(name string, c *array.Timestamp, q quote) value {
	v, unit := c.TimestampValues(), c.DataType().(*arrow.TimestampType).Unit
	return func(dst []byte, i int) ([]byte, string) {
		per := int64(time.Second / unit.Multiplier())
		seconds, rest := int64(v[i])/per, int64(v[i])%per
		if seconds <= firstSecond || seconds > lastSecond {
			return nil, fmt.Sprintf("%s %d (Unix, in %s) is outside of the years 0 to 9999", name, v[i], unit)
		}
		t := time.Unix(seconds, rest*int64(unit.Multiplier())).UTC()
		dst, _ = q(dst, t.Format(time.RFC3339Nano))
		return dst, ""
	}
}

func texts(name string, get func(int) string, q quote) value {
	return func(dst []byte, i int) ([]byte, string) {
		dst, err := q(dst, get(i))
		if err != nil {
			return nil, name + " is not UTF-8"
		}
		return dst, ""
	}
}

func binaries(get func(int) []byte, q quote) value {
	return func(dst []byte, i int) ([]byte, string) {
		dst, _ = q(dst, base64.StdEncoding.EncodeToString(get(i)))
		return dst, ""
	}
}
