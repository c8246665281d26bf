package columns

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/itchyny/gojq"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
)

// RawLimit is how much of a rejected item is kept.
const RawLimit = 64 << 10

// mostExtra bounds the columns that a page can have of its own.
const mostExtra = 1000

// ahead is how far before our clock an event time may be and still move the cursor: one wrong year
// must not silence a feed for ever.
const ahead = 24 * time.Hour

// Table is how items become rows.
type Table struct {
	columns []Column
	from    []Expr
	keys    []int // columns of the key
	cursor  int   // column of the cursor, -1 for none
	time    int   // column of the event time, -1 for none
	keep    bool
	convert bool // of every column: a csv knows only text
	schema  record.Schema
	taken   map[string]bool // fields of an item that are columns
	names   map[string]bool // of columns
}

// New returns the table of a spec that has no faults.
func New(s Spec) (*Table, error) {
	t := &Table{columns: slices.Clone(s.Columns), cursor: -1, time: -1, keep: s.Extra == ExtraKeep, convert: s.Convert,
		taken: map[string]bool{}, names: map[string]bool{}}
	var fields []arrow.Field
	key := strings.Join(s.Keys(), "")
	if len(s.Keys()) > 1 {
		key = keyColumn
		t.names[key] = true
		fields = append(fields, arrow.Field{Name: key, Type: arrow.BinaryTypes.String})
	}
	for i, col := range s.Columns {
		t.columns[i].zone, t.columns[i].loose = s.Zone, s.Loose
		e := Expr{path: []string{col.Name}}
		if col.From != "" {
			var err error
			if e, err = ParseExpr(col.From); err != nil {
				return nil, err
			}
		}
		if len(e.path) == 1 {
			t.taken[e.path[0]] = true
		}
		t.names[col.Name] = true
		t.from = append(t.from, e)
		fields = append(fields, arrow.Field{Name: col.Name, Type: arrowTypes[col.Type],
			Nullable: col.Optional})
		if col.Name == s.Cursor {
			t.cursor = i
		}
		if col.Name == s.Time {
			t.time = i
		}
	}
	for _, name := range s.Keys() {
		t.keys = append(t.keys, slices.IndexFunc(s.Columns, func(c Column) bool { return c.Name == name }))
	}
	t.schema = record.NewSchema(fields, key, s.Time)
	return t, nil
}

// Schema is the schema of the rows. A page may have optional columns behind it.
func (t *Table) Schema() record.Schema { return t.schema }

// spoilt is the page of a rejected item that can't be read again.
func spoilt(raw []byte, err error) connector.Page {
	return connector.Page{Rejected: []connector.Reject{{Raw: raw, Reason: "it is no whole item: " +
		err.Error()}}}
}

// One is the page of a single item; read gives it to add.
func (t *Table) One(raw []byte, read func(r *Reading) error) connector.Page {
	r := t.Begin(context.Background())
	err := read(r)
	if err == nil && r.Items != 1 {
		err = io.ErrUnexpectedEOF
	}
	p := connector.Page{Rejected: r.Rejected}
	if err == nil {
		p.Rows, err = r.Batch()
	}
	if err != nil {
		return spoilt(raw, err)
	}
	return p
}

// Parse reads the raw form of a rejected JSON item again.
func (t *Table) Parse(raw []byte) connector.Page {
	return t.One(raw, func(r *Reading) error {
		it, err := ReadItem(raw)
		if err != nil {
			return err
		}
		return r.Add(it)
	})
}

// Reading is items becoming the rows of a page.
type Reading struct {
	*Table
	Rejected  []connector.Reject
	Notes     map[string]int64
	Items     int  // so far, rejected ones included
	Unordered bool // a cursor value came below one before it
	// Place is where the item stands that is added next, as its source counts; 0 if nobody wants to know.
	Place int64

	ctx   context.Context // of the one page that this is for
	b     *array.RecordBuilder
	room  int              // rows that the builders have room for
	extra []map[string]any // of each row
	names map[string]bool  // of the extra fields
	now   time.Time
	mark  struct { // the highest cursor value
		cell cell
		text string
	}
	last   *cell
	quick  *quick  // nil if items are to be read as values
	newest int64   // event time
	places []int64 // of the rows, if there was a place
}

// Begin starts a page.
func (t *Table) Begin(ctx context.Context) *Reading {
	return &Reading{Table: t, ctx: ctx, quick: newQuick(t), b: array.NewRecordBuilder(memory.DefaultAllocator, t.schema.Schema),
		Notes: map[string]int64{}, names: map[string]bool{}, now: time.Now(), newest: earliest}
}

// Add makes an item a row or a reject.
func (r *Reading) Add(it Item) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	r.Items++
	if it.Err != nil {
		r.reject(it, "", it.Err.Error())
		return nil
	}
	cells := make([]cell, len(r.columns))
	var bad []string
	ok := make([]bool, len(cells))
	for i := range r.columns {
		c := &r.columns[i]
		v, err := r.from[i].One(r.ctx, it.Value)
		if err == nil {
			cells[i], err = c.read(v, c.Convert || r.convert)
		}
		if ok[i] = err == nil; ok[i] && i == r.cursor && !cells[i].null {
			r.advance(c, cells[i], v)
		} else if err != nil {
			bad = append(bad, fmt.Sprintf("column %s: %v", c.Name, err))
		}
	}
	key, err := r.key(cells, ok)
	if err != nil {
		bad = append(bad, err.Error())
	}
	var extra map[string]any
	if r.keep && len(bad) == 0 {
		if extra, err = r.others(it.Value); err != nil {
			bad = append(bad, err.Error())
		}
	}
	if len(bad) > 0 {
		r.reject(it, key, strings.Join(bad, "; "))
		return nil
	}
	r.row(cells, key, extra)
	return nil
}

func (r *Reading) row(cells []cell, key string, extra map[string]any) {
	if r.room == 0 { // twice as many rows each time, as the builders would by themselves
		r.room = max(int(r.b.Field(0).Len()), 32)
		r.b.Reserve(r.room)
	}
	r.room--
	fields := r.b.Fields()
	if len(r.keys) > 1 {
		put(fields[0], cell{s: key})
		fields = fields[1:]
	}
	for i, c := range cells {
		put(fields[i], c)
	}
	if r.time >= 0 {
		r.newest = max(r.newest, cells[r.time].i)
	}
	if r.keep {
		r.extra = append(r.extra, extra)
	}
	if r.Place > 0 {
		r.places = append(r.places, r.Place)
	}
}

// Places are where the rows stand, if each item had a place.
func (r *Reading) Places() []int64 { return r.places }

func (r *Reading) reject(it Item, key, reason string) {
	raw := it.Raw[:min(len(it.Raw), RawLimit)]
	r.Rejected = append(r.Rejected, connector.Reject{Raw: append([]byte(nil), raw...), Key: key,
		Reason: reason})
}

// key returns the text of the key, "" if it can't be read.
func (r *Reading) key(cells []cell, ok []bool) (string, error) {
	parts := make([]string, 0, len(r.keys))
	for _, i := range r.keys {
		if !ok[i] {
			return "", nil // its column says why
		}
		switch c := cells[i]; r.columns[i].Type {
		case Uint64:
			parts = append(parts, strconv.FormatUint(c.u, 10))
		case Text:
			parts = append(parts, c.s)
		case Bool:
			parts = append(parts, strconv.FormatBool(c.b))
		case Time:
			parts = append(parts, time.UnixMicro(c.i).UTC().Format(time.RFC3339Nano))
		default:
			parts = append(parts, strconv.FormatInt(c.i, 10))
		}
	}
	if len(parts) == 1 {
		if err := r.goodKey(cells[r.keys[0]]); err != nil {
			return "", err
		}
		return parts[0], nil
	}
	for i := range parts {
		parts[i] = joinable.Replace(parts[i])
	}
	return strings.Join(parts, "|"), nil
}

// goodKey refuses what a key of one column can't be.
func (r *Reading) goodKey(c cell) error {
	switch col := &r.columns[r.keys[0]]; {
	case col.Type == Int64 && c.i < 0:
		return fmt.Errorf("column %s: a key can't be below 0", col.Name)
	case col.Type == Text && c.s == "":
		return fmt.Errorf("column %s: a key can't be empty", col.Name)
	}
	return nil
}

// joinable keeps two different keys from having the same joined text.
var joinable = strings.NewReplacer(`\`, `\\`, `|`, `\|`)

// advance raises the cursor's mark. A value of a rejected item counts: else the feed would give the
// item again for ever.
func (r *Reading) advance(c *Column, v cell, raw any) {
	if r.last != nil && c.compare(v, *r.last) < 0 {
		r.Unordered = true
	}
	r.last = &v
	if c.Type == Time && v.i > r.now.Add(ahead).UnixMicro() {
		r.Notes["cursor_ahead"]++
		return
	}
	if r.mark.text != "" && c.compare(v, r.mark.cell) <= 0 {
		return
	}
	text, isText := raw.(string)
	if !isText {
		text, _ = Number(raw, false)
	}
	r.mark.cell, r.mark.text = v, text
}

// others returns the fields of an item that no column is made of.
func (r *Reading) others(v any) (map[string]any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, nil
	}
	out := map[string]any{}
	for name, v := range m {
		if r.taken[name] || v == nil {
			continue
		}
		v, err := plain(v)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", name, err)
		}
		if !r.names[name] && len(r.names) >= mostExtra {
			return nil, fmt.Errorf("the page has more than %d columns of its own", mostExtra)
		}
		out[name] = v
	}
	for name := range out {
		r.names[name] = true
	}
	return out, nil
}

// Batch returns the rows.
func (r *Reading) Batch() (arrow.RecordBatch, error) {
	rows := r.b.NewRecordBatch()
	if len(r.names) == 0 || rows.NumRows() == 0 {
		return rows, nil
	}
	fields, cols := slices.Clone(r.schema.Fields()), slices.Clone(rows.Columns())
	used := maps.Clone(r.Table.names)
	for _, name := range slices.Sorted(maps.Keys(r.names)) {
		as := name
		for used[as] {
			as += "_"
		}
		used[as] = true
		typ, col, err := r.column(name)
		if err != nil {
			return nil, err
		}
		fields = append(fields, record.Optional(arrow.Field{Name: as, Type: typ}))
		cols = append(cols, col)
	}
	md := r.schema.Metadata()
	return array.NewRecordBatch(arrow.NewSchema(fields, &md), cols, rows.NumRows()), nil
}

// column makes a column of an extra field: of the narrowest type that holds every value of the page
// as it is, else text.
func (r *Reading) column(name string) (arrow.DataType, arrow.Array, error) {
	var vals []any
	for _, m := range r.extra {
		if v, ok := m[name]; ok {
			vals = append(vals, v)
		}
	}
	c := Column{Name: name, Type: infer(vals), Optional: true}
	b := array.NewBuilder(memory.DefaultAllocator, arrowTypes[c.Type])
	b.Reserve(len(r.extra))
	for _, m := range r.extra {
		v := m[name]
		if _, isText := v.(string); c.Type == Text && !isText && v != nil {
			t, err := gojq.Marshal(v)
			if err != nil {
				return nil, nil, err
			}
			v = string(t)
		}
		got, err := c.read(v, false)
		if err != nil {
			return nil, nil, fmt.Errorf("column %s: %w", name, err)
		}
		put(b, got)
	}
	return arrowTypes[c.Type], b.NewArray(), nil
}

// infer returns the first type that holds all values.
func infer(vals []any) string {
	for _, typ := range []string{Int64, Float64, Bool} {
		c := Column{Type: typ}
		if !slices.ContainsFunc(vals, func(v any) bool { return !holds(&c, v) }) {
			return typ
		}
	}
	return Text
}

// holds tells whether a value is the same in a column. A whole number that float64 would round is
// not.
func holds(c *Column, v any) bool {
	if _, err := c.read(v, false); err != nil {
		return false
	}
	n, _ := Number(v, false)
	if c.Type == Int64 {
		return !strings.ContainsAny(n, ".eE")
	}
	if c.Type == Float64 && !strings.ContainsAny(n, ".eE") {
		_, err := whole(n)
		return err == nil
	}
	return true
}

// Mark is the highest of the cursor's column and what was known before.
func (r *Reading) Mark(known string) (string, error) {
	if r.mark.text == "" || known == "" {
		return known + r.mark.text, nil
	}
	c := &r.columns[r.cursor]
	old, err := c.read(known, true)
	if err != nil {
		return "", fault.WithHint(fault.New(fault.Permanent, "the cursor %.60q is no value of column %s: "+
			"it %w", known, c.Name, err), "the column has changed; let the job start anew")
	}
	if c.compare(r.mark.cell, old) > 0 {
		return r.mark.text, nil
	}
	return known, nil
}

// NewestTime is the newest event time in microseconds; ok is false if there was none.
func (r *Reading) NewestTime() (us int64, ok bool) { return r.newest, r.newest > earliest }
