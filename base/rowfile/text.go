package rowfile

import (
	"io"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/rowtext"
)

// textFile writes each row as a line: a JSON object, or a CSV record behind a line of names.
type textFile struct {
	out  io.WriteCloser
	rows func(arrow.RecordBatch, rowtext.Mode) *rowtext.Rows
	mode rowtext.Mode
	end  string // of a line, behind what rows writes
	text []byte
}

// textStep bounds the text that is held before it is written.
const textStep = 64 << 10

func newText(out io.WriteCloser, s *arrow.Schema, o Options) *textFile {
	if o.Format == CSV {
		return &textFile{out: out, rows: rowtext.Records, mode: o.Mode, text: rowtext.Header(s)}
	}
	return &textFile{out: out, rows: rowtext.Objects, mode: o.Mode, end: "\n"}
}

func (f *textFile) Write(rows arrow.RecordBatch) error {
	r := f.rows(rows, f.mode)
	for i := range int(rows.NumRows()) {
		text, reason := r.Append(f.text, i)
		if reason != "" {
			return fault.New(fault.Invalid, "write row %d: %s", i, reason)
		}
		if f.text = append(text, f.end...); len(f.text) >= textStep {
			if err := f.flush(); err != nil {
				return err
			}
		}
	}
	return f.flush()
}

func (f *textFile) flush() error {
	_, err := f.out.Write(f.text)
	f.text = f.text[:0]
	return err
}

func (f *textFile) Close() error {
	if err := f.flush(); err != nil { // the names, if there was no row
		return err
	}
	return f.out.Close()
}
