package rowfile

import (
	"encoding/base64"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/go-json-experiment/json/jsontext"
)

// jsonLines writes each row as an object on a line of its own.
type jsonLines struct {
	out  io.WriteCloser
	text []byte
}

// textStep bounds the text that is held before it is written.
const textStep = 64 << 10

func (j *jsonLines) Write(rows arrow.RecordBatch) (err error) {
	l := newLines(rows)
	j.text = j.text[:0]
	for i := range int(rows.NumRows()) {
		if j.text, err = l.append(j.text, i); err != nil {
			return fmt.Errorf("write JSON: %w", err)
		}
		if len(j.text) >= textStep || i == int(rows.NumRows())-1 {
			if _, err := j.out.Write(j.text); err != nil {
				return err
			}
			j.text = j.text[:0]
		}
	}
	return nil
}

func (j *jsonLines) Close() error { return j.out.Close() }

// lines writes rows as JSON.
type lines struct {
	prefix [][]byte // of each value: its name, and what stands before it
	values []func(b []byte, row int) ([]byte, error)
	cols   []arrow.Array
}

func newLines(rows arrow.RecordBatch) lines {
	var l lines
	for i, f := range rows.Schema().Fields() {
		before := ","
		if i == 0 {
			before = "{"
		}
		p, _ := jsontext.AppendQuote([]byte(before), f.Name) // what is not UTF-8 is replaced
		l.prefix = append(l.prefix, append(p, ':'))
		l.cols = append(l.cols, rows.Column(i))
		l.values = append(l.values, jsonOf(rows.Column(i)))
	}
	return l
}

func (l lines) append(b []byte, row int) (_ []byte, err error) {
	for c, col := range l.cols {
		b = append(b, l.prefix[c]...)
		if col.IsNull(row) {
			b = append(b, "null"...)
			continue
		}
		if b, err = l.values[c](b, row); err != nil {
			return nil, err
		}
	}
	return append(b, "}\n"...), nil
}

// jsonOf returns how a value of the column is appended as JSON.
func jsonOf(col arrow.Array) func(b []byte, row int) ([]byte, error) {
	switch c := col.(type) {
	case *array.Float64:
		return func(b []byte, i int) ([]byte, error) { return jsonFloat(b, c.Value(i), 64), nil }
	case *array.Float32:
		return func(b []byte, i int) ([]byte, error) { return jsonFloat(b, float64(c.Value(i)), 32), nil }
	}
	text, quoted := textOf(col)
	if text == nil {
		return func([]byte, int) ([]byte, error) { return nil, fmt.Errorf("no text for %s", col.DataType()) }
	}
	switch c := col.(type) {
	case *array.String:
		return func(b []byte, i int) ([]byte, error) { return quote(b, c.Value(i)), nil }
	case *array.LargeString:
		return func(b []byte, i int) ([]byte, error) { return quote(b, c.Value(i)), nil }
	}
	if !quoted {
		return func(b []byte, i int) ([]byte, error) { return text(b, i), nil }
	}
	return func(b []byte, i int) ([]byte, error) { return append(text(append(b, '"'), i), '"'), nil }
}

// quote replaces what is not UTF-8: the row is shown all the same.
func quote(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s)
	return b
}

// jsonFloat writes a number; JSON has none that is not finite, so those are null.
func jsonFloat(b []byte, v float64, bits int) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return append(b, "null"...)
	}
	return strconv.AppendFloat(b, v, 'g', -1, bits)
}

// textual reports whether values of a type can be written as text.
func textual(t arrow.DataType) bool {
	switch t.ID() {
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64, arrow.UINT8, arrow.UINT16, arrow.UINT32,
		arrow.UINT64, arrow.FLOAT32, arrow.FLOAT64, arrow.BOOL, arrow.STRING, arrow.LARGE_STRING, arrow.BINARY,
		arrow.TIMESTAMP:
		return true
	}
	return false
}

type appender = func(b []byte, row int) []byte

// textOf returns how a value of the column is appended as text, and whether JSON wants quotes around it;
// nil if the type has no text.
func textOf(col arrow.Array) (text appender, quoted bool) {
	switch c := col.(type) {
	case *array.Int64:
		return signed(c.Value), false
	case *array.Int32:
		return signed(c.Value), false
	case *array.Int16:
		return signed(c.Value), false
	case *array.Int8:
		return signed(c.Value), false
	case *array.Uint64:
		return unsigned(c.Value), false
	case *array.Uint32:
		return unsigned(c.Value), false
	case *array.Uint16:
		return unsigned(c.Value), false
	case *array.Uint8:
		return unsigned(c.Value), false
	case *array.Float64:
		return func(b []byte, i int) []byte { return strconv.AppendFloat(b, c.Value(i), 'g', -1, 64) }, false
	case *array.Float32:
		return func(b []byte, i int) []byte {
			return strconv.AppendFloat(b, float64(c.Value(i)), 'g', -1, 32)
		}, false
	case *array.Boolean:
		return func(b []byte, i int) []byte { return strconv.AppendBool(b, c.Value(i)) }, false
	}
	return wordsOf(col), true
}

func wordsOf(col arrow.Array) appender {
	switch c := col.(type) {
	case *array.String:
		return func(b []byte, i int) []byte { return append(b, c.Value(i)...) }
	case *array.LargeString:
		return func(b []byte, i int) []byte { return append(b, c.Value(i)...) }
	case *array.Binary:
		return func(b []byte, i int) []byte { return base64.StdEncoding.AppendEncode(b, c.Value(i)) }
	case *array.Timestamp:
		unit := c.DataType().(*arrow.TimestampType).Unit
		return func(b []byte, i int) []byte {
			return c.Value(i).ToTime(unit).UTC().AppendFormat(b, time.RFC3339Nano)
		}
	}
	return nil
}

func signed[T int64 | int32 | int16 | int8](at func(int) T) appender {
	return func(b []byte, i int) []byte { return strconv.AppendInt(b, int64(at(i)), 10) }
}

func unsigned[T uint64 | uint32 | uint16 | uint8](at func(int) T) appender {
	return func(b []byte, i int) []byte { return strconv.AppendUint(b, uint64(at(i)), 10) }
}

// csvFile writes a line of names and a line a row; null is an empty field.
type csvFile struct {
	out  io.WriteCloser
	csv  *csv.Writer
	line []string
}

func newCSV(w io.WriteCloser, s *arrow.Schema) (*csvFile, error) {
	c := &csvFile{out: w, csv: csv.NewWriter(w), line: make([]string, s.NumFields())}
	for i, f := range s.Fields() {
		c.line[i] = f.Name
	}
	return c, c.csv.Write(c.line)
}

func (c *csvFile) Write(rows arrow.RecordBatch) error {
	texts := make([]appender, rows.NumCols())
	for i := range texts {
		texts[i], _ = textOf(rows.Column(i))
	}
	var b []byte
	for row := range int(rows.NumRows()) {
		for i, text := range texts {
			c.line[i] = ""
			if rows.Column(i).IsValid(row) {
				b = text(b[:0], row)
				c.line[i] = string(b)
			}
		}
		if err := c.csv.Write(c.line); err != nil {
			return fmt.Errorf("write CSV: %w", err)
		}
	}
	return nil
}

func (c *csvFile) Close() error {
	if c.csv.Flush(); c.csv.Error() != nil {
		return fmt.Errorf("write CSV: %w", c.csv.Error())
	}
	return c.out.Close()
}
