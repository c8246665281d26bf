package httppush

import (
	"bytes"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/rowfile"
	"holdfast/base/rowtext"
	"holdfast/connector"
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
	rows, between, end := rowtext.Objects(b, rowtext.Exact), "", ""
	switch s.cfg.Format {
	case formatJSON:
		text, between, end = append(text, '['), ",\n", "]\n"
	case formatJSONL:
		between, end = "\n", "\n"
	case formatCSV:
		rows, text = rowtext.Records(b, rowtext.Exact), rowtext.Header(b.Schema())
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

func (s *Sink) pack(text []byte) ([]byte, error) {
	if s.cfg.Compression == packNone {
		return text, nil
	}
	var buf bytes.Buffer
	w, err := rowfile.NewPacker(&buf, rowfile.Pack(s.cfg.Compression))
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return buf.Bytes(), nil
}
