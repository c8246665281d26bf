package columns

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// quick reads JSON objects straight into cells, without the maps and boxed values of Item, which takes a
// quarter of the time. It takes what it is sure of and refuses everything else, also whatever is a fault:
// the way over Item tells that in words.
type quick struct {
	columns map[string]int // by the name of their field, in quotes
	in      bytes.Buffer
	dec     *jsontext.Decoder
	cells   []cell // of the item, all that is filled
	filled  []bool
	mark    any // what stood in the cursor's column
}

// newQuick returns nil for a table that needs more than the fields of an object.
func newQuick(t *Table) *quick {
	q := &quick{columns: map[string]int{}, cells: make([]cell, len(t.columns)),
		filled: make([]bool, len(t.columns))}
	for i, e := range t.from {
		if e.code != nil || len(e.path) != 1 || t.columns[i].Type == JSON || t.keep {
			return nil
		}
		name, err := jsontext.AppendQuote(nil, e.path[0])
		if _, twice := q.columns[string(name)]; twice || err != nil || bytes.IndexByte(name, '\\') >= 0 {
			return nil
		}
		q.columns[string(name)] = i
	}
	q.dec = jsontext.NewDecoder(&q.in)
	return q
}

// AddJSON makes the JSON of an item a row or a reject; wrap words what is wrong with its JSON.
func (r *Reading) AddJSON(raw []byte, wrap func(error) error) error {
	if r.quick != nil && r.ctx.Err() == nil && r.quickly(raw) {
		return nil
	}
	it, err := ReadItem(raw)
	if err != nil {
		it = Item{Raw: raw, Err: wrap(err)}
	}
	return r.Add(it)
}

// quickly adds an item if it is one whose every column can be read.
func (r *Reading) quickly(raw []byte) bool {
	q := r.quick
	if !q.read(r.Table, raw) {
		return false
	}
	key, err := r.key(q.cells, q.filled)
	if err != nil {
		return false
	}
	r.Items++
	if r.cursor >= 0 && !q.cells[r.cursor].null {
		r.advance(&r.columns[r.cursor], q.cells[r.cursor], q.mark)
	}
	r.row(q.cells, key, nil)
	return true
}

func (q *quick) read(t *Table, raw []byte) bool {
	clear(q.filled)
	q.in = *bytes.NewBuffer(raw)
	q.dec.Reset(&q.in, jsontext.AllowDuplicateNames(true)) // the last one counts, as for values
	if open, err := q.dec.ReadToken(); err != nil || open.Kind() != '{' {
		return false
	}
	for q.dec.PeekKind() == '"' {
		name, err := q.dec.ReadValue()
		if err != nil || bytes.IndexByte(name, '\\') >= 0 {
			return false
		}
		i, known := q.columns[string(name)]
		v, err := q.dec.ReadValue()
		if err != nil {
			return false
		}
		if !known {
			continue
		}
		if !q.cells[i].quick(&t.columns[i], v) {
			return false
		}
		if q.filled[i] = true; i == t.cursor {
			q.mark = plainValue(v)
		}
	}
	if end, err := q.dec.ReadToken(); err != nil || end.Kind() != '}' {
		return false
	}
	if _, err := q.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return false
	}
	for i, ok := range q.filled {
		if !ok && !t.columns[i].Optional {
			return false
		}
		if !ok {
			q.cells[i], q.filled[i] = cell{null: true}, true
		}
	}
	return true
}

// quick sets the cell to a value as it stands in JSON, if that needs no conversion.
func (c *cell) quick(col *Column, v jsontext.Value) bool {
	*c = cell{}
	kind := v.Kind()
	if kind == 'n' {
		c.null = true
		return col.Optional
	}
	if kind == '"' && bytes.IndexByte(v, '\\') >= 0 {
		return false
	}
	var err error
	switch {
	case col.Type == Bool:
		c.b = kind == 't'
		return kind == 't' || kind == 'f'
	case col.Type == Text && kind == '"':
		c.s = string(v[1 : len(v)-1])
	case col.Type == Int64 && kind == '0':
		c.i, err = strconv.ParseInt(string(v), 10, 64)
	case col.Type == Uint64 && kind == '0':
		c.u, err = strconv.ParseUint(string(v), 10, 64)
	case col.Type == Float64 && kind == '0':
		c.f, err = strconv.ParseFloat(string(v), 64)
	case col.Type == Time && (kind == '"' || kind == '0'):
		*c, err = col.readTime(plainValue(v), false)
	default:
		return false
	}
	return err == nil
}

// plainValue is a text without escapes or a number, as an Item has it.
func plainValue(v jsontext.Value) any {
	if v.Kind() == '"' {
		return string(v[1 : len(v)-1])
	}
	return json.Number(v)
}
