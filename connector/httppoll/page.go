package httppoll

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/itchyny/gojq"

	"holdfast/base/record"
	"holdfast/connector"
)

// rawLimit is how much of a rejected item is kept.
const rawLimit = 64 << 10

// mostExtra bounds the columns that a page can have of its own.
const mostExtra = 1000

// ahead is how far before our clock an event time may be and still move the cursor: one wrong year
// must not silence a feed for ever.
const ahead = 24 * time.Hour

// table is how items become rows.
type table struct {
	columns []Column
	from    []expr
	keys    []int // columns of the key
	cursor  int   // column of the cursor, -1 for none
	time    int   // column of the event time, -1 for none
	keep    bool
	convert bool // of every column: a csv knows only text
	schema  record.Schema
	taken   map[string]bool // fields of an item that are columns
	names   map[string]bool // of columns
}

func newTable(c Config) (*table, error) {
	t := &table{columns: c.Columns, cursor: -1, time: -1, keep: c.Extra == extraKeep,
		convert: c.Format == formatCSV, taken: map[string]bool{}, names: map[string]bool{}}
	var fields []arrow.Field
	key := strings.Join(c.keys(), "")
	if len(c.keys()) > 1 {
		key = keyColumn
		t.names[key] = true
		fields = append(fields, arrow.Field{Name: key, Type: arrow.BinaryTypes.String})
	}
	for i, col := range c.Columns {
		e := expr{path: []string{col.Name}}
		if col.From != "" {
			var err error
			if e, err = parseExpr(col.From); err != nil {
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
		if col.Name == c.Cursor.Column {
			t.cursor = i
		}
		if col.Name == c.Time {
			t.time = i
		}
	}
	for _, name := range c.keys() {
		t.keys = append(t.keys, slices.IndexFunc(c.Columns, func(c Column) bool { return c.Name == name }))
	}
	t.schema = record.NewSchema(fields, key, c.Time)
	return t, nil
}

// reading is one answer becoming a page.
type reading struct {
	*table
	ctx      context.Context
	b        *array.RecordBuilder
	rejected []connector.Reject
	notes    map[string]int64
	extra    []map[string]any // of each row
	names    map[string]bool  // of the extra fields
	items    int
	now      time.Time

	mark struct { // the highest cursor value
		cell cell
		text string
	}
	unordered bool // a cursor value came below one before it
	last      *cell
	newest    int64 // event time
}

func (t *table) begin(ctx context.Context) *reading {
	return &reading{table: t, ctx: ctx, b: array.NewRecordBuilder(memory.DefaultAllocator, t.schema.Schema),
		notes: map[string]int64{}, names: map[string]bool{}, now: time.Now(), newest: earliest}
}

// add makes an item a row or a reject.
func (r *reading) add(it item) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	r.items++
	if it.err != nil {
		r.reject(it, "", it.err.Error())
		return nil
	}
	cells := make([]cell, len(r.columns))
	var bad []string
	ok := make([]bool, len(cells))
	for i := range r.columns {
		c := &r.columns[i]
		v, err := r.from[i].one(r.ctx, it.value)
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
		if extra, err = r.others(it.value); err != nil {
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

func (r *reading) row(cells []cell, key string, extra map[string]any) {
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
}

func (r *reading) reject(it item, key, reason string) {
	raw := it.raw[:min(len(it.raw), rawLimit)]
	r.rejected = append(r.rejected, connector.Reject{Raw: append([]byte(nil), raw...), Key: key,
		Reason: reason})
}

// key returns the text of the key, "" if it can't be read.
func (r *reading) key(cells []cell, ok []bool) (string, error) {
	parts := make([]string, 0, len(r.keys))
	for _, i := range r.keys {
		if !ok[i] {
			return "", nil // its column says why
		}
		switch c := cells[i]; r.columns[i].Type {
		case typeUint64:
			parts = append(parts, fmt.Sprint(c.u))
		case typeText:
			parts = append(parts, c.s)
		case typeBool:
			parts = append(parts, fmt.Sprint(c.b))
		case typeTime:
			parts = append(parts, time.UnixMicro(c.i).UTC().Format(time.RFC3339Nano))
		default:
			if c.i < 0 && len(r.keys) == 1 {
				return "", fmt.Errorf("column %s: a key can't be below 0", r.columns[i].Name)
			}
			parts = append(parts, fmt.Sprint(c.i))
		}
	}
	if len(parts) == 1 {
		if parts[0] == "" {
			return "", fmt.Errorf("column %s: a key can't be empty", r.columns[r.keys[0]].Name)
		}
		return parts[0], nil
	}
	for i := range parts {
		parts[i] = joinable.Replace(parts[i])
	}
	return strings.Join(parts, "|"), nil
}

// joinable keeps two different keys from having the same joined text.
var joinable = strings.NewReplacer(`\`, `\\`, `|`, `\|`)

// advance raises the cursor's mark. A value of a rejected item counts: else the feed would give the
// item again for ever.
func (r *reading) advance(c *Column, v cell, raw any) {
	if r.last != nil && c.compare(v, *r.last) < 0 {
		r.unordered = true
	}
	r.last = &v
	if c.Type == typeTime && v.i > r.now.Add(ahead).UnixMicro() {
		r.notes["cursor_ahead"]++
		return
	}
	if r.mark.text != "" && c.compare(v, r.mark.cell) <= 0 {
		return
	}
	text, isText := raw.(string)
	if !isText {
		text, _ = number(raw, false)
	}
	r.mark.cell, r.mark.text = v, text
}

// others returns the fields of an item that no column is made of.
func (r *reading) others(v any) (map[string]any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, nil
	}
	out := map[string]any{}
	for name, v := range m {
		if r.taken[name] || v == nil {
			continue
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

// batch returns the rows.
func (r *reading) batch() (arrow.RecordBatch, error) {
	rows := r.b.NewRecordBatch()
	if len(r.names) == 0 || rows.NumRows() == 0 {
		return rows, nil
	}
	fields, cols := slices.Clone(r.schema.Fields()), slices.Clone(rows.Columns())
	used := maps.Clone(r.table.names)
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
func (r *reading) column(name string) (arrow.DataType, arrow.Array, error) {
	var vals []any
	for _, m := range r.extra {
		if v, ok := m[name]; ok {
			vals = append(vals, v)
		}
	}
	c := Column{Name: name, Type: infer(vals), Optional: true}
	b := array.NewBuilder(memory.DefaultAllocator, arrowTypes[c.Type])
	for _, m := range r.extra {
		v := m[name]
		if _, isText := v.(string); c.Type == typeText && !isText && v != nil {
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
	for _, typ := range []string{typeInt64, typeFloat64, typeBool} {
		c := Column{Type: typ}
		if !slices.ContainsFunc(vals, func(v any) bool { return !holds(&c, v) }) {
			return typ
		}
	}
	return typeText
}

// holds tells whether a value is the same in a column. A whole number that float64 would round is
// not.
func holds(c *Column, v any) bool {
	if _, err := c.read(v, false); err != nil {
		return false
	}
	n, _ := number(v, false)
	if c.Type == typeInt64 {
		return !strings.ContainsAny(n, ".eE")
	}
	if c.Type == typeFloat64 && !strings.ContainsAny(n, ".eE") {
		_, err := whole(n)
		return err == nil
	}
	return true
}

var errFullUnordered = errors.New("a full page is not in ascending order of the cursor's column: rows " +
	"below the highest may have been left out of it")
