package rowfile

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"holdfast/base/fault"
)

// groupRows is the most rows of a Parquet row group.
const groupRows = 128 << 10

var codecs = map[Pack]compress.Compression{"": compress.Codecs.Uncompressed, None: compress.Codecs.Uncompressed,
	Gzip: compress.Codecs.Gzip, Zstd: compress.Codecs.Zstd, Snappy: compress.Codecs.Snappy}

// parquetFile encodes several columns of a row group at a time, where pqarrow's own writer encodes one after the other.
type parquetFile struct {
	schema  *arrow.Schema
	out     *file.Writer
	workers []context.Context // one for each goroutine that encodes: pqarrow keeps its settings and buffer in it
	group   file.BufferedRowGroupWriter
	rows    int64 // in group
	note    [2]string
	bad     error // of a write that failed: the file is lost, and nothing more is written to it
}

func newParquet(w io.Writer, s *arrow.Schema, o Options) (*parquetFile, error) {
	codec, ok := codecs[o.Pack]
	if !ok {
		return nil, fault.New(fault.Invalid, "parquet can't be packed by %q", o.Pack)
	}
	for _, f := range s.Fields() {
		if arrow.IsNested(f.Type.ID()) {
			return nil, fault.New(fault.Invalid, "column %s is %s: columns within columns can't be written",
				f.Name, f.Type)
		}
	}
	props := parquet.NewWriterProperties(parquet.WithCompression(codec), parquet.WithCreatedBy("holdfast"),
		parquet.WithMaxRowGroupLength(groupRows), parquet.WithStats(true),
		parquet.WithDictionaryFor(o.Unique, false))
	arrowProps := pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema())
	to, err := pqarrow.ToParquet(s, props, arrowProps)
	if err != nil {
		return nil, fault.As(fault.Invalid, fmt.Errorf("make a parquet schema: %w", err))
	}
	meta := metadata.KeyValueMetadata{}
	for i, key := range s.Metadata().Keys() {
		if err := meta.Append(key, s.Metadata().Values()[i]); err != nil {
			return nil, fmt.Errorf("write the schema's marks: %w", err)
		}
	}
	// Arrow readers find the exact types here, which Parquet's own are wider than.
	exact := base64.StdEncoding.EncodeToString(flight.SerializeSchema(s, memory.DefaultAllocator))
	if err := meta.Append("ARROW:schema", exact); err != nil {
		return nil, fmt.Errorf("write the schema: %w", err)
	}
	out, err := file.NewParquetWriterWithError(w, to.Root(), file.WithWriterProps(props),
		file.WithWriteMetadata(meta))
	if err != nil {
		return nil, fmt.Errorf("begin parquet file: %w", err)
	}
	p := &parquetFile{schema: s, out: out, note: o.Note}
	for range max(o.Workers, 1) {
		p.workers = append(p.workers, pqarrow.NewArrowWriteContext(context.Background(), &arrowProps))
	}
	return p, nil
}

// Write adds rows to the row group at hand, and begins another one when it is full.
func (p *parquetFile) Write(rows arrow.RecordBatch) error {
	for from := int64(0); p.bad == nil && from < rows.NumRows(); {
		if p.group == nil {
			if p.group, p.bad = p.out.AppendBufferedRowGroupChecked(); p.bad != nil {
				break
			}
		}
		n := min(groupRows-p.rows, rows.NumRows()-from)
		if p.bad = p.columns(rows.NewSlice(from, from+n)); p.bad != nil {
			break
		}
		from, p.rows = from+n, p.rows+n
		if p.rows == groupRows {
			p.bad = p.group.Close()
			p.group, p.rows = nil, 0
		}
	}
	if p.bad != nil {
		return fmt.Errorf("write parquet: %w", p.bad)
	}
	return nil
}

// columns writes the columns of a batch, a few at a time: each has a buffer of its own.
func (p *parquetFile) columns(rows arrow.RecordBatch) error {
	next := make(chan int, rows.NumCols())
	for i := range int(rows.NumCols()) {
		next <- i
	}
	close(next)
	errs := make([]error, rows.NumCols())
	work := func(ctx context.Context) {
		for i := range next {
			errs[i] = p.column(ctx, i, rows.Column(i))
		}
	}
	var wg sync.WaitGroup
	for _, ctx := range p.workers[1:] {
		wg.Go(func() { work(ctx) })
	}
	work(p.workers[0])
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("column %s: %w", rows.ColumnName(i), err)
		}
	}
	return nil
}

func (p *parquetFile) column(ctx context.Context, i int, values arrow.Array) (err error) {
	defer func() { // the library panics for what it can't write
		if bug := recover(); bug != nil {
			err = fmt.Errorf("encode: %v", bug)
		}
	}()
	to, err := p.group.Column(i)
	if err != nil {
		return err
	}
	nullable := p.schema.Field(i).Nullable
	if !nullable && values.NullN() > 0 {
		return fault.New(fault.Invalid, "it has %d nulls and may have none", values.NullN())
	}
	var levels []int16
	if nullable {
		levels = make([]int16, values.Len())
		for row := range levels {
			if values.IsValid(row) {
				levels[row] = 1
			}
		}
	}
	return pqarrow.WriteArrowToColumn(ctx, to, values, levels, nil, nullable)
}

func (p *parquetFile) Close() error {
	if p.bad != nil {
		return fmt.Errorf("close parquet: %w", p.bad)
	}
	if p.group != nil {
		if err := p.group.Close(); err != nil {
			return fmt.Errorf("close parquet: %w", err)
		}
	}
	if p.note[0] != "" {
		if err := p.out.AppendKeyValueMetadata(p.note[0], p.note[1]); err != nil {
			return fmt.Errorf("close parquet: %w", err)
		}
	}
	if err := p.out.Close(); err != nil {
		return fmt.Errorf("close parquet: %w", err)
	}
	return nil
}
