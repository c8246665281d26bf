package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"holdfast/app/desk"
	"holdfast/base/fault"
	"holdfast/base/rowfile"
)

// maxBlocks is how many blocks one answer has at most, maxItems how many rows an answer has that is one
// document: it is built in memory, where an answer in lines or in a format is not.
const (
	maxBlocks = 10_000
	maxItems  = 10_000
)

// selection reads which blocks and rows are meant.
func (c *call) selection() (s desk.Selection, err error) {
	if s.First, err = c.number("first", 0); err != nil {
		return s, err
	}
	if s.Last, err = c.number("last", 0); err != nil {
		return s, err
	}
	if s.From, err = c.time("from"); err != nil {
		return s, err
	}
	s.To, err = c.time("to")
	s.Sink = c.FormValue("sink")
	return s, err
}

// time reads a time as people write it; none is zero.
func (c *call) time(name string) (time.Time, error) {
	t, err := desk.ParseTime(c.FormValue(name), time.Now())
	if err != nil {
		return t, fault.New(fault.Invalid, "%s: %w", name, err)
	}
	return t, nil
}

func blocks(ctx context.Context, d *desk.Desk, c *call) (any, error) {
	sel, err := c.selection()
	if err != nil {
		return nil, err
	}
	max, err := c.number("max", 1000)
	if err != nil {
		return nil, err
	}
	list, err := d.Blocks(ctx, c.job(), sel, int(min(max, maxBlocks)))
	return map[string]any{"blocks": append([]desk.Block{}, list...)}, err
}

// media are the types of answers that are files.
var media = map[rowfile.Format]string{rowfile.Parquet: "application/vnd.apache.parquet",
	rowfile.CSV: "text/csv", rowfile.JSONL: "application/jsonl"}

// rows answers with rows: as a file of a format, else as the items of an answer.
func rows(ctx context.Context, d *desk.Desk, c *call) (any, error) {
	sel, err := c.selection()
	if err != nil {
		return nil, err
	}
	max, err := c.number("max", 0)
	if err != nil {
		return nil, err
	}
	o := rowfile.Options{Format: rowfile.Format(c.FormValue("format"))}
	if o.Format == "" {
		if !c.lines && (max == 0 || max > maxItems) {
			max = maxItems
		}
		_, err := d.Cat(ctx, c.job(), sel, rowfile.Options{Format: rowfile.JSONL}, int64(max), &itemWriter{c})
		return nil, err
	}
	kind, ok := media[o.Format]
	if !ok {
		return nil, fault.New(fault.Invalid, "format: want one of %v, got %q", rowfile.Formats, o.Format)
	}
	if o.Format == rowfile.Parquet {
		o.Pack = rowfile.Snappy
	}
	w := &fileWriter{c: c, kind: kind}
	shown, err := d.Cat(ctx, c.job(), sel, o, int64(max), w)
	return nil, w.end(shown, err)
}

// itemWriter makes each line of JSON an item. A write ends with a line, always.
type itemWriter struct{ c *call }

func (w *itemWriter) Write(b []byte) (int, error) {
	for row := range bytes.Lines(b) {
		if err := w.c.item(json.RawMessage(bytes.Clone(row))); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// Trailers of an answer that is a file: one of them ends a whole one, in JSON. Without either it broke off.
const (
	shownTrailer   = "Holdfast-Shown"
	failureTrailer = "Holdfast-Failure"
)

// fileWriter sends a file while it is made.
type fileWriter struct {
	c     *call
	kind  string
	begun bool
}

func (w *fileWriter) begin() {
	if !w.begun {
		w.begun, w.c.told = true, true
		w.c.w.Header().Set("Content-Type", w.kind)
	}
}

func (w *fileWriter) Write(b []byte) (int, error) {
	w.begin()
	w.c.patience()
	return w.c.w.Write(b)
}

// end says in a trailer whether the file is whole. Before its first byte an error is answered as any other.
func (w *fileWriter) end(shown desk.Shown, err error) error {
	if err != nil && !w.begun {
		return err
	}
	w.begin()
	name, v := shownTrailer, any(shown)
	if err != nil {
		name, v = failureTrailer, failure(err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.c.patience()
	w.c.w.Header().Set(http.TrailerPrefix+name, string(text))
	// An answer that fits into one buffer would have no trailer.
	return http.NewResponseController(w.c.w).Flush()
}
