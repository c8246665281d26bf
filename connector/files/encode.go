package files

import (
	"context"
	"errors"
	"io"
	"math"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/lines"
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
		objects := lines.Objects(rows)
		for i := range int(rows.NumRows()) {
			var reason string
			if line, reason = objects.Append(line, i); reason != "" {
				return errors.New(reason) // refused has taken such a row out
			}
			line = append(line, '\n')
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
