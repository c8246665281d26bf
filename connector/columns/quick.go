package columns

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// quick reads JSON objects straight into cells, without the maps and boxed values of Item, which takes a
// tenth of the time. It takes what it is sure of and refuses everything else, also whatever is a fault: the
// way over Item tells that in words.
type quick struct {
	columns map[string]int // by the name of their field
	order   []member       // of the last object: the next has the same
	dec     *jsontext.Decoder
	cells   []cell // of the item, all that is filled
	filled  []bool
	mark    any // what stood in the cursor's column
}

// member is one of an object.
type member struct {
	column int    // -1 for none
	head   []byte // its name as it stands in JSON that has no white space, with the colon
}

// newQuick returns nil for a table that needs more than the fields of an object.
func newQuick(t *Table) *quick {
	q := &quick{columns: map[string]int{}, cells: make([]cell, len(t.columns)),
		filled: make([]bool, len(t.columns)), dec: jsontext.NewDecoder(new(bytes.Buffer))}
	for i, e := range t.from {
		if e.code != nil || len(e.path) != 1 || t.columns[i].Type == JSON || t.keep {
			return nil
		}
		if _, twice := q.columns[e.path[0]]; twice {
			return nil
		}
		q.columns[e.path[0]] = i
	}
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

// AddArray makes each element of a JSON array a row or a reject. Text that is no array is one reject, whatever
// it begins with: half an array could be anybody's.
func (r *Reading) AddArray(raw []byte) error {
	all, ok := elements(raw)
	if !ok {
		return r.Add(Item{Raw: raw, Err: errors.New("it is no JSON array")})
	}
	for _, e := range all {
		if err := r.AddJSON(e, func(err error) error { return fmt.Errorf("it is no JSON: %w", err) }); err != nil {
			return err
		}
	}
	return nil
}

// quickly adds an item if it is one whose every column can be read.
func (r *Reading) quickly(raw []byte) bool {
	q := r.quick
	if !q.read(r.Table, raw) {
		return false
	}
	key, err := "", error(nil)
	if len(r.keys) > 1 { // the text of a single one is for rejects
		key, err = r.key(q.cells, q.filled)
	} else if len(r.keys) == 1 {
		err = r.goodKey(q.cells[r.keys[0]])
	}
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
	s := scan{b: raw}
	if !s.take('{') || s.next() == '}' { // an empty object has no column
		return false
	}
	for at := 0; ; at++ {
		i, ok := q.member(&s, at)
		if !ok {
			return false
		}
		k, v, ok := s.value(q.dec)
		if !ok {
			return false
		}
		if i >= 0 { // one that is there twice counts as it stands last
			if !q.cells[i].quick(&t.columns[i], k, v) {
				return false
			}
			if q.filled[i] = true; i == t.cursor {
				q.mark = plainValue(k, v)
			}
		}
		if !s.take(',') {
			break
		}
	}
	return s.take('}') && s.next() == 0 && s.i == len(raw) && q.fill(t)
}

// member passes over the name of the member that is the at-th of its object, and returns its column, -1 for none.
func (q *quick) member(s *scan, at int) (column int, ok bool) {
	if at >= len(q.order) {
		q.order = append(q.order, member{column: -1})
	}
	m := &q.order[at]
	if len(m.head) > 0 && bytes.HasPrefix(s.b[s.i:], m.head) {
		s.i += len(m.head)
		return m.column, true
	}
	if s.next() != '"' {
		return -1, false
	}
	name, ok := s.text()
	if !ok || !s.take(':') {
		return -1, false
	}
	column, known := q.columns[string(name)]
	if !known {
		column = -1
	}
	m.column, m.head = column, append(append(append(m.head[:0], '"'), name...), `":`...)
	return column, true
}

// fill makes null what the object does not have, if that may be.
func (q *quick) fill(t *Table) bool {
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
func (c *cell) quick(col *Column, k kind, v []byte) bool {
	var (
		ok  bool
		err error
	)
	c.null = k == 'n' // what is of other types in the cell nobody looks at
	switch {
	case c.null:
		return col.Optional
	case col.Type == Bool:
		c.b = k == 't'
		return k == 't' || k == 'f'
	case col.Type == Text && k == '"':
		c.s = string(v)
	case col.Type == Int64 && k == '0':
		c.i, err = strconv.ParseInt(string(v), 10, 64)
	case col.Type == Uint64 && k == '0':
		c.u, err = strconv.ParseUint(string(v), 10, 64)
	case col.Type == Float64 && k == '0':
		if c.f, ok = shortDecimal(v); !ok {
			c.f, err = strconv.ParseFloat(string(v), 64)
		}
	case col.Type == Time && (k == '"' || k == '0'):
		*c, err = col.readTime(plainValue(k, v), false)
	default:
		return false
	}
	return err == nil
}

// powersOfTen are those that a short decimal may need; a float64 has them exactly.
var powersOfTen = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14}

// shortDecimal returns the value of a number of JSON that is at most 15 bytes long and has no exponent: its
// digits and the power of ten are both exact, so their quotient is rounded once, to the nearest float64 (W.
// Clinger, How to Read Floating Point Numbers Accurately, 1990). ok is false for others.
func shortDecimal(v []byte) (f float64, ok bool) {
	if len(v) > 15 {
		return 0, false
	}
	digits, behind := int64(0), 0
	for i, c := range v {
		switch {
		case c-'0' <= 9:
			digits = digits*10 + int64(c-'0')
		case c == '.':
			behind = len(v) - i - 1
		case c != '-':
			return 0, false
		}
	}
	f = float64(digits) / powersOfTen[behind]
	if v[0] == '-' {
		f = -f // of 0 too
	}
	return f, true
}

// plainValue is a text or a number, as an Item has it.
func plainValue(k kind, v []byte) any {
	if k == '"' {
		return string(v)
	}
	return json.Number(v)
}
