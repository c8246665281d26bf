package clickhouse

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
)

// portion is the rows of a delivery that go into one partition: one insert.
type portion struct {
	mark string  // with the delivery's token it names the insert
	rows []int32 // ascending; nil for all rows of the delivery
	n    int

	part  bool // only some of the partition's rows: other bytes, thus another token
	again bool // under a token that nobody has used
}

// Write implements connector.Sink.
func (s *Sink) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	var v connector.Verdict
	srv, tab, err := s.prepared(ctx, d.Schema)
	if err != nil {
		return v, err
	}
	m, err := s.mappingFor(tab, d.Schema)
	if err != nil {
		return v, err
	}
	if len(m.lacks) > 0 && s.cfg.Create && !s.narrow {
		if s.narrow, err = s.widen(ctx, srv, m.lacks); err != nil {
			return v, err
		}
		if srv, tab, err = s.prepared(ctx, d.Schema); err != nil {
			return v, err
		}
		if m, err = s.mappingFor(tab, d.Schema); err != nil {
			return v, err
		}
	}
	token := d.Token.String()
	d.Unknown = d.Unknown || s.tried.has(token)
	s.tried.add(token)
	w := &writing{s: s, srv: srv, tab: tab, m: m, d: d, token: token}
	v.Rejected = w.check()
	for _, p := range w.split() {
		if err := w.deliver(ctx, p, &v); err != nil {
			s.noteRoom(err)
			if k := fault.KindOf(err); k == fault.Permanent || k == fault.Unknown {
				s.forget() // perhaps the table was changed
			}
			return connector.Verdict{}, err
		}
	}
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

	keep   []bool // rows that the table can hold; nil for all
	landed bool   // something of the delivery is in the table
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
	if key, ok := record.TextKeys(w.d.Schema, w.d.Rows); ok {
		for i := range int(w.d.Rows.NumRows()) {
			if n := len(key(i)); n > maxKey {
				refuse(i, fmt.Sprintf("its key has %d bytes; at most %d can be compared", n, maxKey))
			}
		}
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
	all := portion{mark: "all", n: n}
	if w.keep != nil {
		all.rows = make([]int32, 0, n)
		for i, k := range w.keep {
			if k {
				all.rows = append(all.rows, int32(i))
			}
		}
		all.n = len(all.rows)
	}
	if all.n == 0 {
		return nil
	}
	if !w.m.parts.known || w.m.parts.unit == "" {
		return []portion{all}
	}
	times := w.d.Rows.Column(w.m.time.field).(*array.Timestamp).TimestampValues()
	at := w.m.parts.of(w.m.time.seconds(int64(times[all.row(0)])))
	for i := range all.n {
		if !at.has(w.m.time.seconds(int64(times[all.row(i)]))) {
			return w.splitBy(times, all, at)
		}
	}
	all.mark = at.name
	return []portion{all}
}

// splitBy is split for rows of more than one partition.
func (w *writing) splitBy(times []arrow.Timestamp, all portion, at span) []portion {
	rows := map[string][]int32{}
	for i := range all.n {
		r := all.row(i)
		if t := w.m.time.seconds(int64(times[r])); !at.has(t) {
			at = w.m.parts.of(t)
		}
		rows[at.name] = append(rows[at.name], r)
	}
	var out []portion
	for _, mark := range slices.Sorted(maps.Keys(rows)) {
		out = append(out, portion{mark: mark, rows: rows[mark], n: len(rows[mark])})
	}
	return out
}

// insert sends the rows of a portion as one block.
func (w *writing) insert(ctx context.Context, p portion) error {
	params := url.Values{"query": {w.m.insertInto(w.tab.name)}, "query_id": {w.queryID(p)}}
	if w.srv.knows(tokenSetting) {
		params.Set(tokenSetting, w.tokenOf(p))
	}
	block := &insertBody{columns: w.native(p.rows), rows: p.n}
	return w.s.insert(ctx, w.s.cfg.Timeout, w.srv, w.tab, block, params)
}

// tokenOf is the token of an insert: the same for the same bytes.
func (w *writing) tokenOf(p portion) string {
	token := w.token + "/" + p.mark
	if p.part {
		h := sha256.New()
		_ = binary.Write(h, binary.LittleEndian, p.rows)
		token += "/" + hex.EncodeToString(h.Sum(nil)[:8])
	}
	if p.again {
		token += "/" + rand.Text()
	}
	return token
}

// queryID is the same for every attempt at a portion, so that the server refuses a second one while
// the first still runs, and the fence knows what to look for.
func (w *writing) queryID(p portion) string {
	h := sha256.Sum256([]byte(w.token + "/" + p.mark))
	return "holdfast-" + hex.EncodeToString(h[:16])
}

// insert sends one block and returns nil when the server has proved that it took it.
func (s *Sink) insert(ctx context.Context, silent time.Duration, srv *server, tab *table,
	body *insertBody, params url.Values,
) error {
	for k, v := range srv.pins() {
		params.Set(k, v)
	}
	tool := s.encoders.Get().(*encoder)
	if tool.frame != nil {
		params.Set("decompress", "1")
	}
	body.tool = tool
	body.hold = func(ctx context.Context) error { return s.still(ctx, tab) }
	a, err := s.client.insert(ctx, silent, body, params, srv.expects)
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

// recent remembers the tokens that were tried last, so that a repeat is known as one even if the
// caller does not say so.
type recent struct {
	known map[string]bool
	ring  []string
	next  int
}

const recentTokens = 1024

func (r *recent) has(token string) bool { return r.known[token] }

func (r *recent) add(token string) {
	switch {
	case r.known[token]:
		return
	case r.known == nil:
		r.known = map[string]bool{}
	case len(r.ring) == recentTokens:
		delete(r.known, r.ring[r.next])
		r.ring[r.next] = token
		r.next = (r.next + 1) % recentTokens
		r.known[token] = true
		return
	}
	r.ring = append(r.ring, token)
	r.known[token] = true
}

// rehearse inserts no rows at all: it proves that the table takes these columns from us, and
// learns whether the server, or what stands before it, says "100 Continue".
func (s *Sink) rehearse(ctx context.Context, srv *server, m *mapping) error {
	const soon = 5 * time.Second
	srv.expects = true
	err := s.insertNothing(ctx, min(soon, s.cfg.Timeout), srv, m)
	if errors.Is(err, errSilent) {
		srv.expects = false
		err = s.insertNothing(ctx, s.cfg.Timeout, srv, m)
	}
	return err
}

func (s *Sink) insertNothing(ctx context.Context, silent time.Duration, srv *server, m *mapping) error {
	cols := make([]nativeColumn, len(m.columns))
	for i, c := range m.columns {
		cols[i] = nativeColumn{column: c, values: empty(m.schema.Field(c.field).Type)}
	}
	params := url.Values{"query": {m.insertInto(m.table.name)}}
	return s.insert(ctx, silent, srv, m.table, &insertBody{columns: cols}, params)
}

func empty(t arrow.DataType) arrow.Array {
	return array.MakeArrayOfNull(memory.DefaultAllocator, t, 0)
}
