// Package rowfile writes batches of rows as a file: Parquet, JSON lines or CSV, each packed if wanted.
//
// A Writer takes batches of one schema and holds at most one row group (groupRows rows) of them; a JSON or
// CSV file needs no more than the batch. Union and Fit bring batches whose schemas grew over time to one. What is
// written is plain bytes to an io.Writer: who needs a file that is whole or not there gives it a temporary
// name first. The sink `files` and `holdfast spool cat` write through it.
package rowfile

import (
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"holdfast/base/fault"
	"holdfast/base/rowtext"
)

// Format is how rows are written.
type Format string

// The formats.
const (
	Parquet Format = "parquet"
	JSONL   Format = "jsonl"
	CSV     Format = "csv"
)

// Formats are all formats, for messages.
var Formats = []Format{Parquet, JSONL, CSV}

// Pack is how a file is packed.
type Pack string

// The ways to pack; Snappy is for Parquet alone, whose pages are packed one by one.
const (
	None   Pack = "none"
	Gzip   Pack = "gzip"
	Zstd   Pack = "zstd"
	Snappy Pack = "snappy"
)

// Options tune a Writer.
type Options struct {
	Format Format
	Pack   Pack // default None
	// Workers is how many columns are encoded at a time, where the format has columns; default 1.
	Workers int
	// Unique names a column whose values do not repeat: a dictionary of them would be all cost. "" for none.
	Unique string
	// Mode says what becomes of a value that a text can't hold: with Exact, Write is Invalid.
	Mode rowtext.Mode
	// Note is written into the file where the format has a place for it: its key and value.
	Note [2]string
}

// Writer writes rows. It is used by one goroutine at a time.
type Writer interface {
	// Write adds the rows of a batch, whose schema is that of the file. After an error the file is worth
	// nothing.
	Write(rows arrow.RecordBatch) error
	// Close ends the file; the io.Writer below stays open.
	Close() error
}

// New begins a file of rows of schema s. It is Invalid if the format can't hold one of its columns.
func New(w io.Writer, s *arrow.Schema, o Options) (Writer, error) {
	switch o.Format {
	case Parquet:
		return newParquet(w, s, o)
	case JSONL, CSV:
	default:
		return nil, fault.New(fault.Invalid, "there is no format %q: want one of %v", o.Format, Formats)
	}
	if err := rowtext.Fit(s); err != nil {
		return nil, fault.New(fault.Invalid, "%s: %w", o.Format, err)
	}
	packed, err := NewPacker(w, o.Pack)
	if err != nil {
		return nil, err
	}
	return newText(packed, s, o), nil
}

// NewPacker returns a writer that packs to w; its Close ends the packing and leaves w open. The same input gives the same
// bytes.
func NewPacker(w io.Writer, p Pack) (io.WriteCloser, error) {
	switch p {
	case Gzip:
		return gzip.NewWriter(w), nil
	case Zstd:
		z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("begin zstd: %w", err)
		}
		return z, nil
	case None, "":
		return plain{w}, nil
	}
	return nil, fault.New(fault.Invalid, "text can't be packed by %q", p)
}

type plain struct{ io.Writer }

func (plain) Close() error { return nil }
