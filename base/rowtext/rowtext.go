// Package rowtext writes rows as text: in JSON an object with a member for each column, in CSV a record with a
// field for each.
//
// Integers and floats are written in full, times as RFC 3339 in UTC (or as ObjectsAt is told), bytes as base64.
// A null is `null` in JSON and nothing at all in CSV, where an empty text is "". The text of a row follows from
// the row and nothing else, so that a repeat is the same to the byte. What a text can't say (a float that is not
// finite, a text that is not UTF-8, a time beyond the year 9999) has a reason in the place of a text. For
// people to look at, Near writes what comes closest to it.
package rowtext

import (
	"bytes"
	"encoding/base64"
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

// form is how values are written.
type form struct {
	quote func(dst []byte, text string) []byte // of a text that is not a number
	near  bool
	point bool // a float that is whole has its point
	null  string
	words bool   // numbers that are not finite have words
	times string // the layout of times, in UTC
}

// Mode says what becomes of a value that has no text.
type Mode uint8

// The modes.
const (
	Exact Mode = iota // it is the row's reason
	Near              // a text that is close to it stands in its place, null if there is none
	Words             // the same, but a number that is not finite is a word, also in JSON
	Typed             // Exact, and a float that is whole is 40.0: who reads JSON may take 40 for an integer
)

// near reports whether every value has a text.
func (m Mode) near() bool { return m == Near || m == Words }

// Object writes the first row of a batch as a JSON object for a person to change: what record.ReadRow makes of
// it is the same row, or a refusal that names what is not finite.
func Object(b arrow.RecordBatch) ([]byte, error) {
	if err := Fit(b.Schema()); err != nil {
		return nil, fmt.Errorf("write row: %w", err)
	}
	out, _ := Objects(b, Words).Append(nil, 0) // which has a text for every value
	return out, nil
}

// Objects returns a writer of JSON objects.
func Objects(b arrow.RecordBatch, m Mode) *Rows { return ObjectsAt(b, m, time.RFC3339Nano) }

// ObjectsAt is Objects with times in a layout of package time, in UTC.
func ObjectsAt(b arrow.RecordBatch, m Mode, layout string) *Rows {
	r := newRows(b, form{quote: quoteJSON, near: m.near(), point: m == Typed, words: m == Words, null: "null",
		times: layout}, "}")
	for i, f := range b.Schema().Fields() {
		before := ","
		if i == 0 {
			before = "{"
		}
		r.names[i] = append(quoteJSON([]byte(before), f.Name), ':')
	}
	return r
}

// Records returns a writer of CSV, one line a row.
func Records(b arrow.RecordBatch, m Mode) *Rows {
	r := newRows(b, form{quote: quoteCSV, near: m.near(), point: m == Typed, words: true, times: time.RFC3339Nano}, "\n")
	for i := range r.names {
		if i > 0 {
			r.names[i] = []byte(",")
		}
	}
	return r
}

// Header is the first line of CSV, with the names of the columns.
func Header(s *arrow.Schema) (line []byte) {
	for i, f := range s.Fields() {
		if i > 0 {
			line = append(line, ',')
		}
		line = quoteCSV(line, f.Name)
	}
	return append(line, '\n')
}

func newRows(b arrow.RecordBatch, w form, end string) *Rows {
	r := &Rows{names: make([][]byte, b.NumCols()), columns: b.Columns(), null: w.null, end: end}
	for i, f := range b.Schema().Fields() {
		r.values = append(r.values, w.value(f.Name, b.Column(i)))
	}
	return r
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
func Fit(s *arrow.Schema) error {
	for _, f := range s.Fields() {
		none := array.MakeArrayOfNull(memory.DefaultAllocator, f.Type, 0)
		if (form{}).value(f.Name, none) == nil {
			return fmt.Errorf("column %s is %s, which has no text", f.Name, f.Type)
		}
	}
	return nil
}

// quoteJSON replaces what is not UTF-8.
func quoteJSON(dst []byte, text string) []byte {
	dst, _ = jsontext.AppendQuote(dst, text)
	return dst
}

// quoteCSV follows RFC 4180. It replaces what is not UTF-8.
func quoteCSV(dst []byte, text string) []byte {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if text != "" && !strings.ContainsAny(text, "\",\r\n") && text[0] != ' ' && text[len(text)-1] != ' ' {
		return append(dst, text...)
	}
	dst = append(dst, '"')
	dst = append(dst, strings.ReplaceAll(text, `"`, `""`)...)
	return append(dst, '"')
}

// value returns the writer of a column, nil for a type that there is none of.
func (w form) value(name string, col arrow.Array) value {
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
		return w.floats(name, 32, func(i int) float64 { return float64(c.Value(i)) })
	case *array.Float64:
		return w.floats(name, 64, c.Value)
	case *array.Timestamp:
		return w.moments(name, c)
	case *array.String:
		return w.texts(name, c.Value)
	case *array.LargeString:
		return w.texts(name, c.Value)
	case *array.Binary:
		return w.binaries(c.Value)
	case *array.LargeBinary:
		return w.binaries(c.Value)
	}
	return nil
}

func integers[T ~int8 | ~int16 | ~int32 | ~int64](v []T) value {
	return func(dst []byte, i int) ([]byte, string) { return strconv.AppendInt(dst, int64(v[i]), 10), "" }
}

func naturals[T ~uint8 | ~uint16 | ~uint32 | ~uint64](v []T) value {
	return func(dst []byte, i int) ([]byte, string) { return strconv.AppendUint(dst, uint64(v[i]), 10), "" }
}

func (w form) floats(name string, bits int, get func(int) float64) value {
	return func(dst []byte, i int) ([]byte, string) {
		v := get(i)
		switch finite := !math.IsNaN(v) && !math.IsInf(v, 0); {
		case finite:
		case !w.near:
			return nil, fmt.Sprintf("%s is %v, which a text can't hold", name, v)
		case !w.words:
			return append(dst, w.null...), ""
		default:
			return w.quote(dst, strconv.FormatFloat(v, 'g', -1, bits)), ""
		}
		before := len(dst)
		dst = strconv.AppendFloat(dst, v, 'g', -1, bits)
		if w.point && !bytes.ContainsAny(dst[before:], ".e") {
			dst = append(dst, ".0"...)
		}
		return dst, ""
	}
}

// The Unix seconds of the years 0 to 9999, which RFC 3339 can hold.
const (
	firstSecond = -62167219200
	lastSecond  = 253402300799
)

func (w form) moments(name string, c *array.Timestamp) value {
	v, unit := c.TimestampValues(), c.DataType().(*arrow.TimestampType).Unit
	return func(dst []byte, i int) ([]byte, string) {
		per := int64(time.Second / unit.Multiplier())
		seconds, rest := int64(v[i])/per, int64(v[i])%per
		if !w.near && (seconds <= firstSecond || seconds > lastSecond) {
			return nil, fmt.Sprintf("%s %d (Unix, in %s) is outside of the years 0 to 9999", name, v[i], unit)
		}
		t := time.Unix(seconds, rest*int64(unit.Multiplier())).UTC()
		return w.quote(dst, t.Format(w.times)), ""
	}
}

func (w form) texts(name string, get func(int) string) value {
	return func(dst []byte, i int) ([]byte, string) {
		v := get(i)
		if !w.near && !utf8.ValidString(v) {
			return nil, name + " is not UTF-8"
		}
		return w.quote(dst, v), ""
	}
}

func (w form) binaries(get func(int) []byte) value {
	return func(dst []byte, i int) ([]byte, string) {
		return w.quote(dst, base64.StdEncoding.EncodeToString(get(i))), ""
	}
}
