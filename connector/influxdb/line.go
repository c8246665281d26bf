package influxdb

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/influxdata/line-protocol/v2/lineprotocol"
	"github.com/zeebo/xxh3"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
)

// mapping is how the rows of a schema become points: which columns are which part of a line.
type mapping struct {
	measurement int   // column, -1 for the configured name
	time        int   // column
	spread      int   // integer column that is spread over the time, -1 for none
	revision    int   // integer column by which points replace others, -1 for none
	tags        []int // columns, in the order of their names
	fields      []int // columns
}

// mappingOf refuses, with the column's name, what can't become points, and rows that would overwrite each
// other.
func (c Config) mappingOf(s record.Schema) (*mapping, error) {
	m := &mapping{measurement: -1, time: s.Time, spread: -1, revision: -1}
	bad := func(format string, args ...any) (*mapping, error) {
		return nil, fault.New(fault.Permanent, format, args...)
	}
	if c.Time != "" {
		m.time = index(s, c.Time)
	}
	if m.time < 0 {
		return bad("rows have no column %s for the time of a point; set time", cmp.Or(c.Time, "with a time"))
	}
	if f := s.Field(m.time); f.Type.ID() != arrow.TIMESTAMP {
		return bad("column %s is %s, and the time of a point is a timestamp; set time", f.Name, f.Type)
	}
	if c.MeasurementFrom != "" {
		if m.measurement = index(s, c.MeasurementFrom); m.measurement < 0 {
			return bad("rows have no column %s, which measurement_from names", c.MeasurementFrom)
		}
	}
	for _, name := range c.Tags {
		at := index(s, name)
		if at < 0 || at == m.time {
			return bad("rows have no column %s that could be a tag", name)
		}
		m.tags = append(m.tags, at)
	}
	slices.SortFunc(m.tags, func(a, b int) int { return cmp.Compare(s.Field(a).Name, s.Field(b).Name) })
	for i, f := range s.Fields() {
		if i == m.time {
			continue
		}
		if why := badColumn(f.Name); why != "" {
			return bad("column %s can't be written: %s", f.Name, why)
		}
		if fieldType(f.Type) == "" {
			return bad("column %s is %s, which InfluxDB has no type for", f.Name, f.Type)
		}
		if i != m.measurement && !slices.Contains(m.tags, i) {
			m.fields = append(m.fields, i)
		}
	}
	if len(m.fields) == 0 {
		return bad("all columns are tags, and a point needs a field")
	}
	if err := c.replaces(s, m); err != nil {
		return nil, err
	}
	return m, c.apart(s, m)
}

// replaces finds the column by which points replace others.
func (c Config) replaces(s record.Schema, m *mapping) error {
	if c.Replace == "" {
		return nil
	}
	m.revision = index(s, c.Replace)
	switch {
	case m.revision < 0:
		return fault.New(fault.Permanent, "rows have no column %s, which replace names", c.Replace)
	case !slices.Contains(m.fields, m.revision):
		return fault.New(fault.Permanent, "column %s is no field, and replace wants one", c.Replace)
	case fieldType(s.Field(m.revision).Type) != typeInteger:
		return fault.New(fault.Permanent, "column %s is %s, and replace wants integers", c.Replace,
			s.Field(m.revision).Type)
	}
	return nil
}

// apart refuses rows that nothing keeps from overwriting each other.
func (c Config) apart(s record.Schema, m *mapping) error {
	if c.Spread != "" {
		if m.spread = index(s, c.Spread); m.spread < 0 {
			return fault.New(fault.Permanent, "rows have no column %s, which spread names", c.Spread)
		}
		if f := s.Field(m.spread); fieldType(f.Type) != typeInteger {
			return fault.New(fault.Permanent, "column %s is %s, and spread wants integers", f.Name, f.Type)
		}
	}
	tagged := s.Key >= 0 && slices.Contains(m.tags, s.Key)
	switch {
	case tagged && s.IntegerKeyed():
		return fault.New(fault.Permanent, "column %s is the key and numbers the rows: as a tag it would make a "+
			"series of each row; set spread: %[1]s", s.Field(s.Key).Name)
	case c.Spread != "" || c.Unique || tagged:
		return nil
	}
	what := "rows have no key"
	if s.Key >= 0 {
		what = fmt.Sprintf("column %s, the key, is no tag", s.Field(s.Key).Name)
	}
	return fault.WithHint(fault.New(fault.Permanent, "%s, and points with the same tags and time overwrite each "+
		"other", what), "set spread to a column of numbers, which go into the time below its precision, or "+
		"unique: true if tags and time tell all rows apart")
}

func index(s record.Schema, name string) int {
	if at := s.FieldIndices(name); len(at) == 1 {
		return at[0]
	}
	return -1
}

// lines are points in line protocol.
type lines struct {
	text []byte
	rows []int // which rows of the delivery they are
	ends []int // where each line ends
}

// slice is the lines [from, to).
func (l lines) slice(from, to int) lines {
	begin := 0
	if from > 0 {
		begin = l.ends[from-1]
	}
	out := lines{text: l.text[begin:l.ends[to-1]], rows: l.rows[from:to]}
	for _, end := range l.ends[from:to] {
		out.ends = append(out.ends, end-begin)
	}
	return out
}

// writer turns the rows of one batch into lines.
type writer struct {
	c           Config
	measurement func(row int) (name, reason string)
	tags        []tag
	fields      []field
	nanoseconds func(row int) (t int64, reason string)
	revision    func(row int) (n int64, reason string)
	unit        int64 // nanoseconds of the times that are sent

	series lineprotocol.Encoder   // of measurement and tags
	seen   map[xxh3.Uint128]place // the points of the delivery so far
}

type tag struct {
	name string
	text func(row int) (text, reason string)
}

type field struct {
	name string
	head string // comma, name and =
	col  arrow.Array
	put  put
}

// place is where a point was met first, and what it was.
type place struct {
	row  int
	line xxh3.Uint128
}

func (c Config) writer(m *mapping, b arrow.RecordBatch) *writer {
	w := &writer{c: c, seen: make(map[xxh3.Uint128]place, b.NumRows()),
		unit: int64(precisions[c.Precision].unit.Duration())}
	if c.Spread != "" {
		w.unit = 1
	}
	names := b.Schema()
	w.measurement = func(int) (string, string) { return c.Measurement, "" }
	if m.measurement >= 0 {
		read := tagOf(names.Field(m.measurement).Name, b.Column(m.measurement))
		w.measurement = func(i int) (string, string) {
			name, reason := read(i)
			if reason == "" && (name == "" || name[0] == '#') {
				reason = fmt.Sprintf("%s is %q, which can't be the name of a measurement", c.MeasurementFrom, name)
			}
			return name, reason
		}
	}
	for _, i := range m.tags {
		w.tags = append(w.tags, tag{names.Field(i).Name, tagOf(names.Field(i).Name, b.Column(i))})
	}
	for _, i := range m.fields {
		name := names.Field(i).Name
		w.fields = append(w.fields, field{name, headOf(name), b.Column(i), putOf(name, b.Column(i))})
	}
	w.nanoseconds = c.timesOf(m, b)
	w.revision = func(int) (int64, string) { return 0, "" }
	if m.revision >= 0 {
		col := b.Column(m.revision)
		read := wholeOf(c.Replace, col)
		w.revision = func(i int) (int64, string) {
			if col.IsNull(i) {
				return 0, c.Replace + " is null, and it says which points stand"
			}
			return read(i)
		}
	}
	return w
}

// headOf is what stands before the values of a field, as the library escapes its name.
func headOf(name string) string {
	var e lineprotocol.Encoder
	e.StartLine("m")
	e.AddField(name, lineprotocol.BoolValue(true))
	return "," + strings.TrimSuffix(strings.TrimPrefix(string(e.Bytes()), "m "), "true")
}

// The span of times that InfluxDB keeps; the ends of the 64 bits are its own.
const (
	firstTime = math.MinInt64 + 2
	lastTime  = math.MaxInt64 - 1
)

// timesOf returns how the time of a row's point is read, in nanoseconds, with the number in it that is
// spread.
func (c Config) timesOf(m *mapping, b arrow.RecordBatch) func(row int) (int64, string) {
	col := b.Column(m.time).(*array.Timestamp)
	name := b.Schema().Field(m.time).Name
	per := int64(col.DataType().(*arrow.TimestampType).Unit.Multiplier())
	whole := int64(precisions[c.Precision].unit.Duration())
	number := func(int) (int64, string) { return 0, "" }
	spread := ""
	if m.spread >= 0 {
		spread = b.Schema().Field(m.spread).Name
		number = wholeOf(spread, b.Column(m.spread))
	}
	return func(i int) (int64, string) {
		v := int64(col.Value(i))
		t := v * per
		switch {
		case col.IsNull(i):
			return 0, name + " is null, and a point needs a time"
		case v > lastTime/per-1 || v < firstTime/per+1:
			return 0, fmt.Sprintf("%s %d (Unix, in %v) is outside of the years 1678 to 2262", name, v,
				time.Duration(per))
		case t%whole != 0:
			return 0, fmt.Sprintf("%s %s is no whole number of %s (precision)", name,
				time.Unix(0, t).UTC().Format(time.RFC3339Nano), c.Precision)
		case m.spread >= 0 && b.Column(m.spread).IsNull(i):
			return 0, spread + " is null and can't be spread"
		}
		n, reason := number(i)
		if reason != "" || n < 0 {
			return 0, cmp.Or(reason, fmt.Sprintf("%s is %d, which can't be spread", spread, n))
		}
		return min(t, lastTime-whole) + n%whole, ""
	}
}

// encode writes the wanted rows (nil for all) as requests of at most the configured number of lines, in
// order, and calls post for each. Rows that no point can hold are refused; so is one that would overwrite
// another of the same delivery. One that is the same as another is there with it.
func (w *writer) encode(rows int, want []bool, post func(lines) error) (refused []connector.RowFault,
	err error) {
	var out lines
	for i := range rows {
		if want != nil && !want[i] {
			continue
		}
		start := len(out.text)
		p, reason := w.point(out.text, i)
		again := false
		if reason == "" {
			reason, again = w.met(p.text[start:], p.series-start, p.at, i)
		}
		out.text = p.text
		if reason != "" || again {
			out.text = out.text[:start]
			if reason != "" {
				refused = append(refused, connector.RowFault{Row: i, Reason: reason})
			}
			continue
		}
		out.rows, out.ends = append(out.rows, i), append(out.ends, len(out.text))
		if n := len(out.rows); n >= w.c.Request || len(out.text) >= mostBytes {
			size := len(out.text)
			if err := post(out); err != nil {
				return nil, err
			}
			out = lines{text: make([]byte, 0, size+size/8), rows: make([]int, 0, n), ends: make([]int, 0, n)}
		}
	}
	if len(out.rows) > 0 {
		err = post(out)
	}
	return refused, err
}

// mostBytes is where a request ends however few lines it has: far below the 25 MB that a server of 1.x
// takes by default.
const mostBytes = 8 << 20

// point is a row as a line, behind what the text held already.
type point struct {
	text     []byte
	series   int   // where measurement and tags end in it
	at       int64 // its time in nanoseconds
	revision int64
}

// point appends one row to a text; a reason that is not empty says why it can't. The text may have a part of
// the row then.
func (w *writer) point(text []byte, row int) (p point, reason string) {
	p.text = text
	name, reason := w.measurement(row)
	at, why := w.nanoseconds(row)
	revision, old := w.revision(row)
	p.revision, p.at = revision, at
	if reason = cmp.Or(reason, why, old); reason != "" {
		return p, reason
	}
	w.series.SetBuffer(text)
	w.series.StartLine(name)
	bare := true
	for _, tag := range w.tags {
		text, reason := tag.text(row)
		if reason != "" {
			return p, reason
		}
		if text != "" {
			w.series.AddTag(tag.name, text)
			bare = false
		}
	}
	if bare && w.c.Replace != "" && len(w.tags) > 0 {
		return p, "it has no tag, and of points that supersede others each needs one"
	}
	if err := w.series.Err(); err != nil {
		return p, err.Error()
	}
	p.text = w.series.Bytes()
	p.series = len(p.text)
	for i := range w.fields {
		f := &w.fields[i]
		if f.col.IsNull(row) {
			continue
		}
		if p.text, reason = f.put(append(p.text, f.head...), row); reason != "" {
			return p, reason
		}
	}
	if len(p.text) == p.series {
		return p, "it has no value beside its tags, and a point needs one"
	}
	p.text[p.series] = ' ' // in the place of the first field's comma
	p.text = append(strconv.AppendInt(append(p.text, ' '), at/w.unit, 10), '\n')
	return p, ""
}

// tagsOf are the tags of a row that can be a point.
func (w *writer) tagsOf(row int) map[string]string {
	out := make(map[string]string, len(w.tags))
	for _, tag := range w.tags {
		out[tag.name], _ = tag.text(row)
	}
	return out
}

// valuesOf are the fields that a row has a value of.
func (w *writer) valuesOf(row int) map[string]bool {
	out := make(map[string]bool, len(w.fields))
	for _, f := range w.fields {
		out[f.name] = !f.col.IsNull(row)
	}
	return out
}

// met remembers a point by its series and time, and compares it with one that was met before.
func (w *writer) met(line []byte, series int, t int64, row int) (reason string, again bool) {
	key := xxh3.Hash128(line[:series])
	key.Lo += uint64(t) * 0x9E3779B97F4A7C15
	here := place{row, xxh3.Hash128(line)}
	first, ok := w.seen[key]
	switch {
	case !ok:
		w.seen[key] = here
		return "", false
	case first.line == here.line:
		return "", true
	}
	return fmt.Sprintf("row %d of the same delivery has the same tags and time: InfluxDB would keep one of the "+
		"two", first.row), false
}
