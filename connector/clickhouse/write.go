package clickhouse

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/url"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/record"
	"holdfast/connector"
)

// portion is the rows of a delivery that go into one partition: one insert.
type portion struct {
	mark string  // with the delivery's token it names the insert
	rows []int32 // ascending; nil for all rows of the delivery
	n    int
}

// Write implements connector.Sink.
func (s *Sink) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	var v connector.Verdict
	srv, tab, err := s.prepared()
	if err != nil {
		return v, err
	}
	m, err := s.mappingFor(tab, d.Schema)
	if err != nil {
		return v, err
	}
	token := d.Token.String()
	if s.partial[token] {
		d.Unknown = true
	}
	w := &writing{s: s, srv: srv, tab: tab, m: m, d: d, token: token}
	v.Rejected = w.check()
	for _, p := range w.split() {
		if err := w.deliver(ctx, p, &v); err != nil {
			s.partial[token] = s.partial[token] || w.touched
			s.noteRoom(err)
			return connector.Verdict{}, err
		}
	}
	delete(s.partial, token)
	s.noteRoom(nil)
	slices.SortFunc(v.Rejected, func(a, b connector.RowFault) int { return a.Row - b.Row })
	return v, nil
}

func (s *Sink) mappingFor(tab *table, schema record.Schema) (*mapping, error) {
	if m := s.mapped; m != nil && m.table == tab && m.schema.Schema == schema.Schema {
		return m, nil
	}
	m, err := tab.fit(schema)
	if err == nil {
		s.mapped = m
	}
	return m, err
}

// writing is one Write on its way.
type writing struct {
	s     *Sink
	srv   *server
	tab   *table
	m     *mapping
	d     connector.Delivery
	token string

	keep    []bool // rows that the table can hold; nil for all
	landed  bool   // something of the delivery is in the table
	touched bool   // or may be
}

// check finds the rows that the table can't hold.
func (w *writing) check() []connector.RowFault {
	var out []connector.RowFault
	refuse := func(row int, reason string) {
		if w.keep == nil {
			w.keep = slices.Repeat([]bool{true}, int(w.d.Rows.NumRows()))
		}
		if w.keep[row] { // its first fault is enough
			out = append(out, connector.RowFault{Row: row, Reason: reason})
		}
		w.keep[row] = false
	}
	for _, c := range w.native(nil) {
		c.check(refuse)
	}
	return out
}

// native returns the delivery's columns with the given rows.
func (w *writing) native(rows []int32) []nativeColumn {
	out := make([]nativeColumn, len(w.m.columns))
	for i, c := range w.m.columns {
		out[i] = nativeColumn{column: c, values: w.d.Rows.Column(c.field), rows: rows}
	}
	return out
}

// split returns the portions of the delivery, by partition. Where the table's partitions can't be
// computed it is one, which the server may split: a repeat is then safe by the keys.
func (w *writing) split() []portion {
	n := int(w.d.Rows.NumRows())
	if !w.m.parts.known || w.m.parts.unit == "" {
		p := portion{mark: "all", n: n}
		if w.keep != nil {
			p.rows, p.n = w.kept(n), 0
			p.n = len(p.rows)
		}
		return nonEmpty([]portion{p})
	}
	times := w.d.Rows.Column(w.m.time.field).(*array.Timestamp).TimestampValues()
	var at span
	var names []string
	rows := map[string][]int32{}
	for i := range n {
		if w.keep != nil && !w.keep[i] {
			continue
		}
		if t := w.m.time.seconds(int64(times[i])); len(names) == 0 || !at.has(t) {
			at = w.m.parts.of(t)
			names = append(names, at.name)
		}
		rows[at.name] = append(rows[at.name], int32(i))
	}
	slices.Sort(names)
	var out []portion
	for _, name := range slices.Compact(names) {
		p := portion{mark: name, rows: rows[name], n: len(rows[name])}
		if p.n == n {
			p.rows = nil
		}
		out = append(out, p)
	}
	return out
}

func (w *writing) kept(n int) []int32 {
	out := make([]int32, 0, n)
	for i := range n {
		if w.keep[i] {
			out = append(out, int32(i))
		}
	}
	return out
}

func nonEmpty(p []portion) []portion {
	return slices.DeleteFunc(p, func(p portion) bool { return p.n == 0 })
}

// insert sends the rows of a portion as one block.
func (w *writing) insert(ctx context.Context, p portion) error {
	params := url.Values{"query": {w.m.insertInto(w.tab.name)}, "query_id": {w.queryID(p)}}
	if w.srv.knows(tokenSetting) {
		params.Set(tokenSetting, w.token+"/"+p.mark)
	}
	cols := w.native(p.rows)
	return w.s.insert(ctx, w.srv, cols, p.n, params)
}

// queryID is the same for every attempt at a portion, so that the server refuses a second one while
// the first still runs, and the fence knows what to look for.
func (w *writing) queryID(p portion) string {
	h := sha256.Sum256([]byte(w.token + "/" + p.mark))
	return "holdfast-" + hex.EncodeToString(h[:16])
}

// insert sends one block and returns nil when the server has proved that it took it.
func (s *Sink) insert(ctx context.Context, srv *server, cols []nativeColumn, rows int,
	params url.Values,
) error {
	for k, v := range srv.pins() {
		params.Set(k, v)
	}
	tool := s.encoders.Get().(*encoder)
	if tool.frame != nil {
		params.Set("decompress", "1")
	}
	body := &insertBody{columns: cols, rows: rows, hold: s.client.alive, tool: tool}
	a, err := s.client.insert(ctx, body, params, srv.expects)
	switch {
	case err != nil:
		return err // the encoder may still be in use
	case !body.whole():
		return garbage("answered before it had the rows: %s", excerpt(a.body))
	case a.body != "" || srv.signed && !a.signed:
		return garbage("to an insert: %s", excerpt(a.body))
	}
	s.encoders.Put(tool)
	return nil
}

// restMark names the insert of a part of a portion. Other rows are other bytes, and other bytes
// must never go under the same token.
func restMark(mark string, rows []int32) string {
	h := sha256.New()
	_ = binary.Write(h, binary.LittleEndian, rows)
	return mark + "/" + hex.EncodeToString(h.Sum(nil)[:8])
}

// rehearse inserts no rows at all: it proves that the table takes these columns from us, and
// learns whether the server says "100 Continue".
func (s *Sink) rehearse(ctx context.Context, srv *server, m *mapping) error {
	srv.expects = true
	return s.insertNothing(ctx, srv, m)
}

func (s *Sink) insertNothing(ctx context.Context, srv *server, m *mapping) error {
	cols := make([]nativeColumn, len(m.columns))
	for i, c := range m.columns {
		cols[i] = nativeColumn{column: c, values: empty(m.schema.Field(c.field).Type)}
	}
	params := url.Values{"query": {m.insertInto(m.table.name)}}
	return s.insert(ctx, srv, cols, 0, params)
}

func empty(t arrow.DataType) arrow.Array {
	return array.MakeArrayOfNull(memory.DefaultAllocator, t, 0)
}
