package httppush

import (
	"bytes"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"holdfast/connector"
	"holdfast/connector/lines"
)

// contentTypes are those of the formats.
var contentTypes = map[string]string{formatJSON: "application/json", formatJSONL: "application/x-ndjson",
	formatCSV: "text/csv; charset=utf-8; header=present"}

// body is what is posted.
type body struct {
	bytes []byte
	rows  []int // which rows of the delivery it has, in its own order
}

// encode writes the wanted rows (nil for all) of a delivery. What has no form as text is refused.
func (s *Sink) encode(b arrow.RecordBatch, want func(row int) bool) (out body, refused []connector.RowFault,
	err error) {
	var text []byte
	rows, between, end := lines.Objects(b), "", ""
	switch s.cfg.Format {
	case formatJSON:
		text, between, end = append(text, '['), ",\n", "]\n"
	case formatJSONL:
		between, end = "\n", "\n"
	case formatCSV:
		rows, text = lines.Records(b)
	}
	for i := range int(b.NumRows()) {
		if want != nil && !want(i) {
			continue
		}
		at := len(text)
		if len(out.rows) > 0 {
			text = append(text, between...)
		}
		longer, reason := rows.Append(text, i)
		if reason != "" {
			refused = append(refused, connector.RowFault{Row: i, Reason: reason})
			text = text[:at]
			continue
		}
		text, out.rows = longer, append(out.rows, i)
	}
	out.bytes, err = s.pack(append(text, end...))
	return out, refused, err
}

// pack compresses. Neither time nor chance go into it: a repeat is the same to the byte.
func (s *Sink) pack(text []byte) ([]byte, error) {
	var buf bytes.Buffer
	var w io.WriteCloser
	switch s.cfg.Compression {
	case packGzip:
		w = gzip.NewWriter(&buf)
	case packZstd:
		z, err := zstd.NewWriter(&buf, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		w = z
	default:
		return text, nil
	}
	_, err := w.Write(text)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return buf.Bytes(), nil
}
