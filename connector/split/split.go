// Package split is the sink that hands the rows of one spool on to several sinks, by the text in one of their
// columns: the reports of a stream are rows of one job, and each has a table of its own.
//
// It has no configuration: it is made for jobs whose rows belong to several tables.
//
// Promise: the weakest of its parts'. A delivery goes to all parts at once, to each under the delivery's own
// token and with the rows that are the part's, which are the same at every attempt. If one part fails, the
// others end their work and the delivery fails; a repeat has no effect on those that have their rows, which is
// what each of them promises. Parts keep what they know of a token by table, so several may stand in one
// database.
//
// A part that refuses its rows as a whole (Invalid) gets them in halves, under tokens of ranges of the
// delivery, until the refused stand alone: the delivery can't be halved from outside any more, when other
// parts have their rows.
//
// What it does not do: rows with a key are refused, because nobody could ask all parts at once for theirs. A
// part without rows in a delivery is not written to.
package split

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
)

// Part is one value of the column, and where its rows go.
type Part struct {
	Value   string   // of the column
	Columns []Column // that go there, in this order
	Sink    connector.Sink
}

// Column is a column of the rows, and what it is called in the part's table.
type Column struct{ From, As string }

// Sink is the parts.
type Sink struct {
	column string
	parts  []Part
	at     map[string]int // the part of a value
}

var _ connector.Sink = (*Sink)(nil)

// New returns a sink that divides rows by the text of a column. It closes the sinks of the parts.
func New(column string, parts []Part) (*Sink, error) {
	s := &Sink{column: column, parts: parts, at: map[string]int{}}
	if len(parts) == 0 {
		return nil, fault.New(fault.Permanent, "divide rows by %s: there is no part", column)
	}
	for i, p := range parts {
		if _, twice := s.at[p.Value]; twice || p.Value == "" {
			return nil, fault.New(fault.Permanent, "divide rows by %s: %q is there twice, or is no text",
				column, p.Value)
		}
		s.at[p.Value] = i
		seen := map[string]bool{}
		for _, c := range p.Columns {
			if seen[c.As] {
				return nil, fault.New(fault.Permanent, "rows of %s: two columns are called %s", p.Value, c.As)
			}
			seen[c.As] = true
		}
	}
	return s, nil
}

// Traits are what all parts keep.
func (s *Sink) Traits() connector.SinkTraits {
	all := connector.SinkTraits{Exactness: connector.ExactlyOnce}
	for _, p := range s.parts {
		t := p.Sink.Traits()
		if t.Exactness != connector.ExactlyOnce {
			all.Exactness = t.Exactness
		}
		if t.MaxRows > 0 && (all.MaxRows == 0 || t.MaxRows < all.MaxRows) {
			all.MaxRows = t.MaxRows
		}
	}
	return all
}

// Prepare prepares all parts for their columns.
func (s *Sink) Prepare(ctx context.Context, schema record.Schema) error {
	if schema.Key >= 0 {
		return fault.New(fault.Permanent, "divide rows by %s: they have a key, %s, and can't be asked for by it",
			s.column, schema.Field(schema.Key).Name)
	}
	at := schema.FieldIndices(s.column)
	if len(at) != 1 || schema.Field(at[0]).Type.ID() != arrow.STRING {
		return fault.New(fault.Permanent, "divide rows by %s: they have no such column of texts", s.column)
	}
	for _, p := range s.parts {
		for _, c := range p.Columns {
			if len(schema.FieldIndices(c.From)) != 1 {
				return fault.New(fault.Permanent, "rows of %s: there is no column %s", p.Value, c.From)
			}
		}
		of, _ := p.project(schema)
		if err := p.Sink.Prepare(ctx, of); err != nil {
			return p.failed(err)
		}
	}
	return nil
}

// failed says whose error it is.
func (p Part) failed(err error) error { return fmt.Errorf("rows of %s: %w", p.Value, err) }

// project returns the schema of the part's rows, and which columns they are. A column that rows of an older
// configuration lack is left out.
func (p Part) project(s record.Schema) (of record.Schema, columns []int) {
	var fields []arrow.Field
	time := ""
	for _, c := range p.Columns {
		at := s.FieldIndices(c.From)
		if len(at) != 1 {
			continue
		}
		f := s.Field(at[0])
		f.Name = c.As
		fields, columns = append(fields, f), append(columns, at[0])
		if at[0] == s.Time {
			time = c.As
		}
	}
	return record.NewSchema(fields, "", time), columns
}

// Write gives each part its rows. A row of no part is refused.
func (s *Sink) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	var v connector.Verdict
	at := d.Schema.FieldIndices(s.column)
	if len(at) != 1 {
		return v, fault.New(fault.Permanent, "divide rows by %s: they have no such column", s.column)
	}
	texts, ok := d.Rows.Column(at[0]).(*array.String)
	if !ok {
		return v, fault.New(fault.Permanent, "divide rows by %s: it is %s, want texts", s.column,
			d.Rows.Column(at[0]).DataType())
	}
	shares := make([]share, len(s.parts))
	for row := range texts.Len() {
		i, ok := s.at[texts.Value(row)]
		if !ok { // as is null, whose text is empty
			v.Rejected = append(v.Rejected, connector.RowFault{Row: row,
				Reason: fmt.Sprintf("column %s is %s, and no such rows are configured", s.column,
					texts.ValueStr(row))})
			continue
		}
		shares[i].rows = append(shares[i].rows, row)
	}
	verdicts, errs := make([]connector.Verdict, len(s.parts)), make([]error, len(s.parts))
	var parts sync.WaitGroup
	for i, p := range s.parts {
		if len(shares[i].rows) > 0 {
			parts.Go(func() {
				errs[i] = fault.Catch(func() error { return shares[i].write(ctx, p, d, &verdicts[i]) })
			})
		}
	}
	parts.Wait()
	for i, p := range s.parts {
		if errs[i] != nil {
			return connector.Verdict{}, p.failed(errs[i])
		}
		v.Present += verdicts[i].Present
		v.Rejected = append(v.Rejected, verdicts[i].Rejected...)
	}
	slices.SortFunc(v.Rejected, func(a, b connector.RowFault) int { return cmp.Compare(a.Row, b.Row) })
	return v, nil
}

// share is the rows of a delivery that are one part's.
type share struct {
	rows []int              // in the delivery
	d    connector.Delivery // with all rows, and the part's columns
}

// write gives a part its rows.
func (h share) write(ctx context.Context, p Part, d connector.Delivery, v *connector.Verdict) error {
	of, columns := p.project(d.Schema)
	arrays := make([]arrow.Array, len(columns))
	for i, c := range columns {
		arrays[i] = d.Rows.Column(c)
	}
	h.d = d
	h.d.Schema, h.d.Rows = of, array.NewRecordBatch(of.Schema, arrays, d.Rows.NumRows())
	from, to := d.Token.RowFrom, d.Token.RowTo
	if to == 0 {
		to = from + uint32(d.Rows.NumRows())
	}
	return h.put(ctx, p, h.rows, d.Token, [2]uint32{from, to}, v)
}

// put gives a part some of its rows, all that it has in a range of the delivery, under a token. Halves have
// the token of their range. Where halves have been written, the whole is a conflict at the next attempt, and
// its halves are not; a conflict that is none of ours is one of each row too.
func (h share) put(ctx context.Context, p Part, rows []int, t record.Token, within [2]uint32,
	v *connector.Verdict) error {
	one, err := h.of(rows, t)
	if err != nil {
		return err
	}
	got, err := p.Sink.Write(ctx, one)
	switch halves := fault.Is(err, fault.Invalid) || fault.Is(err, fault.Conflict); {
	case err == nil:
		return h.add(got, rows, v)
	case halves && len(rows) > 1:
		mid := len(rows) / 2
		cut := h.d.Token.RowFrom + uint32(rows[mid])
		first, second := t, t
		first.RowFrom, first.RowTo = within[0], cut
		second.RowFrom, second.RowTo = cut, within[1]
		bad := h.put(ctx, p, rows[:mid], first, [2]uint32{within[0], cut}, v)
		if bad == nil {
			bad = h.put(ctx, p, rows[mid:], second, [2]uint32{cut, within[1]}, v)
		}
		if fault.Is(bad, fault.Conflict) {
			return err // of all of it, which says more
		}
		return bad
	case fault.Is(err, fault.Invalid):
		v.Rejected = append(v.Rejected, connector.RowFault{Row: rows[0], Reason: err.Error()})
		return nil
	}
	return err
}

// of is the delivery of some rows.
func (h share) of(rows []int, t record.Token) (connector.Delivery, error) {
	d := h.d
	d.Token = t
	if len(rows) == int(d.Rows.NumRows()) {
		return d, nil
	}
	keep := make([]bool, d.Rows.NumRows())
	for _, row := range rows {
		keep[row] = true
	}
	var err error
	d.Rows, err = record.Keep(d.Rows, keep)
	return d, err
}

// add adds a part's verdict of some rows to that of the delivery.
func (h share) add(got connector.Verdict, rows []int, v *connector.Verdict) error {
	v.Present += got.Present
	for _, f := range got.Rejected {
		if f.Row < 0 || f.Row >= len(rows) {
			return fault.New(fault.Unknown, "the sink refused row %d of %d", f.Row, len(rows))
		}
		v.Rejected = append(v.Rejected, connector.RowFault{Row: rows[f.Row], Reason: f.Reason})
	}
	return nil
}

// Probe shows that a Write would work at every part.
func (s *Sink) Probe(ctx context.Context) error {
	for _, p := range s.parts {
		if err := p.Sink.Probe(ctx); err != nil {
			return p.failed(err)
		}
	}
	return nil
}

// Reader is none: rows without a key can't be asked for.
func (s *Sink) Reader() connector.SinkReader { return nil }

// Close closes the sinks of all parts.
func (s *Sink) Close() error {
	var errs []error
	for _, p := range s.parts {
		if err := p.Sink.Close(); err != nil {
			errs = append(errs, p.failed(err))
		}
	}
	return errors.Join(errs...)
}
