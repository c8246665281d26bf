package files

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"holdfast/base/record"
	"holdfast/connector"
)

// content is what a file is to hold.
type content struct {
	schema record.Schema
	rows   arrow.RecordBatch
	token  record.Token
}

// chunk is how many rows are encoded between two looks at the context.
const chunk = 8 << 10

// groupRows is the most rows of a Parquet row group.
const groupRows = 128 << 10

func (s *Sink) encode(ctx context.Context, w io.Writer, c content) error {
	if s.cfg.Format == formatParquet {
		return s.encodeParquet(ctx, w, c)
	}
	return s.encodeJSONL(ctx, w, c)
}

// each calls f for the rows, chunk by chunk.
func (c content) each(ctx context.Context, f func(arrow.RecordBatch) error) error {
	for from := int64(0); from < c.rows.NumRows(); from += chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f(c.rows.NewSlice(from, min(from+chunk, c.rows.NumRows()))); err != nil {
			return err
		}
	}
	return ctx.Err()
}

var codecs = map[string]compress.Compression{packNone: compress.Codecs.Uncompressed,
	packGzip: compress.Codecs.Gzip, packZstd: compress.Codecs.Zstd, packSnappy: compress.Codecs.Snappy}

func (s *Sink) encodeParquet(ctx context.Context, w io.Writer, c content) error {
	fw, err := pqarrow.NewFileWriter(c.rows.Schema(), w,
		parquet.NewWriterProperties(parquet.WithCompression(codecs[s.cfg.Compression]),
			parquet.WithMaxRowGroupLength(groupRows), parquet.WithCreatedBy("holdfast"),
			parquet.WithStats(true)),
		pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		return err
	}
	if err := c.each(ctx, fw.WriteBuffered); err != nil {
		return err // what was written so far is thrown away with its file
	}
	if err := fw.AppendKeyValueMetadata("holdfast.token", c.token.String()); err != nil {
		return err
	}
	return fw.Close()
}

func (s *Sink) encodeJSONL(ctx context.Context, w io.Writer, c content) error {
	out := io.WriteCloser(plain{w})
	var err error
	switch s.cfg.Compression {
	case packGzip:
		out = gzip.NewWriter(w)
	case packZstd:
		out, err = zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	}
	if err != nil {
		return err
	}
	var line []byte
	err = c.each(ctx, func(rows arrow.RecordBatch) error {
		line = line[:0]
		l := newLines(rows)
		for i := range int(rows.NumRows()) {
			if line, err = l.append(line, i); err != nil {
				return err
			}
		}
		_, err := out.Write(line)
		return err
	})
	if err != nil {
		return err
	}
	return out.Close()
}

type plain struct{ io.Writer }

func (plain) Close() error { return nil }

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
	case *array.Int64:
		return signed(c.Value)
	case *array.Int32:
		return signed(c.Value)
	case *array.Int16:
		return signed(c.Value)
	case *array.Int8:
		return signed(c.Value)
	case *array.Uint64:
		return unsigned(c.Value)
	case *array.Uint32:
		return unsigned(c.Value)
	case *array.Uint16:
		return unsigned(c.Value)
	case *array.Uint8:
		return unsigned(c.Value)
	case *array.Float64:
		return func(b []byte, i int) ([]byte, error) {
			return strconv.AppendFloat(b, c.Value(i), 'g', -1, 64), nil
		}
	case *array.Float32:
		return func(b []byte, i int) ([]byte, error) {
			return strconv.AppendFloat(b, float64(c.Value(i)), 'g', -1, 32), nil
		}
	case *array.Boolean:
		return func(b []byte, i int) ([]byte, error) { return strconv.AppendBool(b, c.Value(i)), nil }
	case *array.String:
		return func(b []byte, i int) ([]byte, error) { return jsontext.AppendQuote(b, c.Value(i)) }
	case *array.LargeString:
		return func(b []byte, i int) ([]byte, error) { return jsontext.AppendQuote(b, c.Value(i)) }
	}
	return jsonOfOthers(col)
}

func jsonOfOthers(col arrow.Array) func(b []byte, row int) ([]byte, error) {
	switch c := col.(type) {
	case *array.Binary:
		return func(b []byte, i int) ([]byte, error) {
			b = append(b, '"')
			return append(base64.StdEncoding.AppendEncode(b, c.Value(i)), '"'), nil
		}
	case *array.Timestamp:
		unit := c.DataType().(*arrow.TimestampType).Unit
		return func(b []byte, i int) ([]byte, error) {
			b = append(b, '"')
			return append(c.Value(i).ToTime(unit).UTC().AppendFormat(b, time.RFC3339Nano), '"'), nil
		}
	}
	return func([]byte, int) ([]byte, error) { return nil, fmt.Errorf("no JSON for %s", col.DataType()) }
}

func signed[T int64 | int32 | int16 | int8](at func(int) T) func([]byte, int) ([]byte, error) {
	return func(b []byte, i int) ([]byte, error) { return strconv.AppendInt(b, int64(at(i)), 10), nil }
}

func unsigned[T uint64 | uint32 | uint16 | uint8](at func(int) T) func([]byte, int) ([]byte, error) {
	return func(b []byte, i int) ([]byte, error) { return strconv.AppendUint(b, uint64(at(i)), 10), nil }
}

// refused returns the rows that the format can't hold, each with its first reason. It follows from the
// delivery and the format alone, so that a repeat has the same.
func (s *Sink) refused(d connector.Delivery) (out []connector.RowFault) {
	bad := make([]func(row int) string, d.Rows.NumCols())
	for i := range bad {
		bad[i] = s.badIn(d.Rows.Column(i), i == d.Schema.Key)
	}
	for row := range int(d.Rows.NumRows()) {
		for i, is := range bad {
			if is == nil || d.Rows.Column(i).IsNull(row) {
				continue
			}
			if why := is(row); why != "" {
				out = append(out, connector.RowFault{Row: row,
					Reason: "column " + d.Rows.ColumnName(i) + ": " + why})
				break
			}
		}
	}
	return out
}

// The times that both formats can say: years 1 to 9999.
var (
	earliest = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	latest   = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()
)

// badIn returns what tells the values of a column that can't be held; nil if all can.
func (s *Sink) badIn(col arrow.Array, isKey bool) func(row int) string {
	json := s.cfg.Format == formatJSONL
	switch c := col.(type) {
	case *array.Timestamp:
		per := int64(1e9) / int64(c.DataType().(*arrow.TimestampType).Unit.Multiplier())
		return func(i int) string {
			if at := int64(c.Value(i)) / per; at < earliest || at > latest {
				return "the time is not within the years 1 to 9999"
			}
			return ""
		}
	case *array.Int64:
		if isKey {
			return func(i int) string { return when(c.Value(i) < 0, "a key can't be below 0") }
		}
	case *array.Float64:
		if json {
			return func(i int) string { return notFinite(c.Value(i)) }
		}
	case *array.Float32:
		if json {
			return func(i int) string { return notFinite(float64(c.Value(i))) }
		}
	case *array.String:
		return func(i int) string { return when(!utf8.ValidString(c.Value(i)), "the text is not UTF-8") }
	case *array.LargeString:
		return func(i int) string { return when(!utf8.ValidString(c.Value(i)), "the text is not UTF-8") }
	}
	return nil
}

func notFinite(f float64) string {
	return when(math.IsNaN(f) || math.IsInf(f, 0), "JSON has no number that is not finite")
}

func when(bad bool, why string) string {
	if bad {
		return why
	}
	return ""
}
