package files

import (
	"context"
	"io"
	"math"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"holdfast/base/record"
	"holdfast/base/rowfile"
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

func (s *Sink) encode(ctx context.Context, w io.Writer, c content) error {
	o := rowfile.Options{Format: rowfile.Format(s.cfg.Format), Pack: rowfile.Pack(s.cfg.Compression),
		Note: [2]string{"holdfast.token", c.token.String()}}
	if c.schema.Key >= 0 {
		o.Unique = c.schema.Field(c.schema.Key).Name
	}
	out, err := rowfile.New(w, c.rows.Schema(), o)
	if err != nil {
		return err
	}
	if err := c.each(ctx, out.Write); err != nil {
		return err // what was written so far is thrown away with its file
	}
	return out.Close()
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
