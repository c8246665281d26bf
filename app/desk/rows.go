package desk

import (
	"context"
	"fmt"
	"io"
	"runtime"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/base/rowfile"
	"holdfast/base/rowtext"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// Shown says what was shown of a spool's rows.
type Shown struct {
	Rows   int64 `json:"rows"`
	Blocks int64 `json:"blocks"`
	// Bad are blocks that can't be read and whose rows are missing, the first hundred.
	Bad []Damage `json:"bad,omitempty"`
}

const maxBadTold = 100

// Cat writes the rows of a selection to w, exact to the row where rows have an event time, in the order of
// their blocks. It holds a few blocks at a time, and one Parquet row group. Blocks with other columns give
// the union of them, null where a row has none; in JSON each row has those that it came with. What a text
// can't say is written as near to it as can be. max rows at most; 0 is all.
func (d *Desk) Cat(ctx context.Context, job string, sel Selection, o rowfile.Options, max int64, w io.Writer) (
	out Shown, err error) {
	err = d.view(ctx, job, func(r store.Reader) error {
		g, err := sel.bounds(r)
		if err != nil {
			return err
		}
		c := &catting{r: r, g: g, left: max, out: &out}
		schema, err := c.schema(ctx, o.Format)
		if err != nil {
			return err
		}
		o.Workers, o.Mode = runtime.GOMAXPROCS(0), rowtext.Near
		if s, err := record.SchemaOf(schema); err == nil && s.Key >= 0 {
			o.Unique = s.Field(s.Key).Name
		}
		to, err := rowfile.New(w, schema, o)
		if err != nil {
			return err
		}
		err = c.run(ctx, func(rows arrow.RecordBatch) error {
			if o.Format != rowfile.JSONL {
				rows = rowfile.Fit(rows, schema)
			}
			return to.Write(rows)
		})
		if err != nil {
			return err
		}
		return to.Close()
	})
	return out, err
}

// catting is one Cat on its way.
type catting struct {
	r    store.Reader
	g    spool.Range
	left int64 // rows to go; 0 for no limit
	out  *Shown
}

// schema is that of all rows to come. The heads tell which blocks have one that is not known yet; one of
// each is read.
func (c *catting) schema(ctx context.Context, f rowfile.Format) (*arrow.Schema, error) {
	if f == rowfile.JSONL { // needs none
		return arrow.NewSchema(nil, nil), nil
	}
	var all []*arrow.Schema
	known := map[uint64]bool{}
	err := c.g.Each(ctx, c.r, func(h spool.Head) error {
		if known[h.Schema] {
			return nil
		}
		h, rows, err := spool.Read(c.r, h.Seq)
		if fault.Is(err, fault.Corrupt) || fault.Is(err, fault.NotFound) {
			return nil // told when its rows are missing
		}
		if err != nil {
			return err
		}
		if !known[h.Schema] {
			known[h.Schema] = true
			all = append(all, rows.Schema())
		}
		return nil
	})
	if err != nil || len(all) == 0 {
		return arrow.NewSchema(nil, nil), err
	}
	return rowfile.Union(all)
}

// run reads and decodes blocks while write is at those before them.
func (c *catting) run(ctx context.Context, write func(arrow.RecordBatch) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	const ahead = 4
	decoded := make(chan arrow.RecordBatch, ahead)
	read := make(chan error, 1)
	go func() { // its end is waited for below: it reads the view
		defer close(decoded)
		read <- c.read(ctx, decoded)
	}()
	var err error
	for rows := range decoded {
		if err != nil {
			continue // it ends with the context
		}
		if err = write(rows); err != nil {
			stop()
			continue
		}
		c.out.Rows += rows.NumRows()
		c.out.Blocks++
	}
	if first := <-read; err == nil {
		err = first
	}
	return err
}

func (c *catting) read(ctx context.Context, to chan<- arrow.RecordBatch) error {
	err := c.g.Each(ctx, c.r, func(h spool.Head) error {
		rows, err := c.block(h)
		if err != nil || rows.NumRows() == 0 {
			return err
		}
		last := false
		if c.left > 0 {
			if rows.NumRows() >= c.left {
				rows, last = rows.NewSlice(0, c.left), true
			}
			c.left -= rows.NumRows()
		}
		select {
		case to <- rows:
		case <-ctx.Done():
			return ctx.Err()
		}
		if last {
			return errEnough
		}
		return nil
	})
	if err == errEnough {
		return nil
	}
	return err
}

// block returns the rows of a block that are meant.
func (c *catting) block(h spool.Head) (arrow.RecordBatch, error) {
	whole, rows, err := spool.Read(c.r, h.Seq)
	if fault.Is(err, fault.Corrupt) || fault.Is(err, fault.NotFound) {
		if len(c.out.Bad) < maxBadTold {
			c.out.Bad = append(c.out.Bad, Damage{h.Seq, err.Error()})
		}
		return array.NewRecordBatch(arrow.NewSchema(nil, nil), nil, 0), nil
	}
	if err != nil || c.g.Holds(whole) {
		return rows, err
	}
	s, err := record.SchemaOf(rows.Schema())
	if err != nil {
		return nil, fault.New(fault.Corrupt, "block %d: %w", h.Seq, err)
	}
	at, ok := record.EventTimes(s, rows)
	if !ok {
		return rows, nil
	}
	keep := make([]bool, rows.NumRows())
	for i := range keep {
		t := at(i)
		keep[i] = (c.g.From.IsZero() || !t.Before(c.g.From)) && (c.g.To.IsZero() || t.Before(c.g.To))
	}
	if rows, err = record.Keep(rows, keep); err != nil {
		return nil, fmt.Errorf("cut block %d: %w", h.Seq, err)
	}
	return rows, nil
}
