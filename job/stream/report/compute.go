package report

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/fault"
)

// Window says which window a report is of, and what stands in each of its rows.
type Window struct {
	From     time.Time
	Revision int64
	Complete bool
	Lost     int64 // rows that the window lacks
}

// Computation computes the reports of one window. It is for one goroutine.
type Computation struct {
	set       *Set
	rows      int64
	groupings []*grouping
	tables    []table

	given *array.RecordBuilder // rows that came one by one, until there are enough
	held  int
}

// table is one report that is being computed.
type table struct {
	plan
	*grouping
	values []aggregation
}

// Begin begins a computation.
func (s *Set) Begin() *Computation {
	c := &Computation{set: s}
	for _, p := range s.plans {
		t := table{plan: p, grouping: c.grouping(p.group)}
		for _, a := range p.values {
			t.values = append(t.values, a.begin(s.source.Field(a.of).Type))
		}
		c.tables = append(c.tables, t)
	}
	return c
}

// grouping returns the groups by these columns, which reports share.
func (c *Computation) grouping(by []int) *grouping {
	for _, g := range c.groupings {
		if slices.Equal(g.by, by) {
			return g
		}
	}
	g := &grouping{by: by, ids: map[string]int32{}}
	c.groupings = append(c.groupings, g)
	return g
}

// Len is how many rows were added.
func (c *Computation) Len() int64 { return c.rows + int64(c.held) }

// Add adds the rows of a batch. It must have the columns that the reports need, by name, and may have others.
// With an error, which is Invalid, none of its rows is added.
func (c *Computation) Add(rows arrow.RecordBatch) error {
	b := &batch{rows: int(rows.NumRows()), numbers: make([]any, len(c.set.columns)),
		columns: make([]arrow.Array, len(c.set.columns))}
	for i, f := range c.set.source.Fields() {
		at := rows.Schema().FieldIndices(f.Name)
		if len(at) != 1 {
			return fault.New(fault.Invalid, "the rows have no column %s", f.Name)
		}
		b.columns[i] = rows.Column(at[0])
		if got := b.columns[i].DataType(); !arrow.TypeEqual(got, f.Type) {
			return fault.New(fault.Invalid, "column %s is %s, want %s", f.Name, got, f.Type)
		}
	}
	for _, g := range c.groupings {
		g.add(b)
	}
	for _, t := range c.tables {
		for _, v := range t.values {
			v.add(b, t.now, len(t.names))
		}
	}
	c.rows += int64(b.rows)
	return nil
}

// rowsHeld is how many rows that come one by one make a batch.
const rowsHeld = 4096

// AddRow adds one row, whose values are those of Set.Columns as connector.Tables gives them. A value that
// can't be one of the column is a Permanent fault, behind which the computation is spoilt.
func (c *Computation) AddRow(values []any) error {
	if len(values) != len(c.set.columns) {
		return fault.New(fault.Permanent, "a row has %d values, want %d", len(values), len(c.set.columns))
	}
	if c.given == nil {
		c.given = array.NewRecordBuilder(memory.DefaultAllocator, c.set.source)
		c.given.Reserve(rowsHeld)
	}
	for i, v := range values {
		if err := putValue(c.given.Field(i), c.set.source.Field(i), v); err != nil {
			return err
		}
	}
	if c.held++; c.held < rowsHeld {
		return nil
	}
	return c.flush()
}

// flush adds the rows that came one by one.
func (c *Computation) flush() error {
	if c.held == 0 {
		return nil
	}
	c.held = 0
	return c.Add(c.given.NewRecordBatch())
}

// Reports returns the rows of all reports, in the schema of the set: by table as configured, by group, by
// member.
func (c *Computation) Reports(w Window) (arrow.RecordBatch, error) {
	if err := c.flush(); err != nil {
		return nil, err
	}
	out := array.NewRecordBuilder(memory.DefaultAllocator, c.set.schema.Schema)
	for _, t := range c.tables {
		for _, group := range t.sorted() {
			if t.plan.member < 0 {
				w.row(out, t, group, "")
				continue
			}
			for _, who := range t.members(group) {
				w.row(out, t, group, who)
			}
		}
	}
	return out.NewRecordBatch(), nil
}

// members are those that hold an extreme of a group.
func (t table) members(group int) (all []string) {
	for _, v := range t.values {
		if who, ok := v.member(group); ok {
			all = append(all, who)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// row appends a row of a report: of a group, or of the member who of it.
func (w Window) row(out *array.RecordBuilder, t table, group int, who string) {
	at := w.From.UTC()
	out.Field(0).(*array.StringBuilder).Append(t.Table)
	out.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(at.UnixMicro()))
	out.Field(2).(*array.StringBuilder).Append(fmt.Sprintf("%02d", at.Hour()))
	out.Field(3).(*array.Int64Builder).Append(w.Revision)
	out.Field(4).(*array.BooleanBuilder).Append(w.Complete)
	out.Field(5).(*array.Int64Builder).Append(w.Lost)
	next := 1 + len(common)
	for ; next < t.first; next++ {
		out.Field(next).AppendNull()
	}
	for _, name := range t.names[group] {
		out.Field(next).(*array.StringBuilder).Append(name)
		next++
	}
	if t.plan.member >= 0 {
		out.Field(next).(*array.StringBuilder).Append(who)
		next++
	}
	for _, v := range t.values {
		if holder, _ := v.member(group); t.plan.member >= 0 && holder != who {
			out.Field(next).AppendNull()
		} else {
			v.put(out.Field(next), group)
		}
		next++
	}
	for ; next < len(out.Fields()); next++ {
		out.Field(next).AppendNull()
	}
}

// batch is rows as aggregations read them.
type batch struct {
	rows    int
	columns []arrow.Array
	numbers []any // of each column its numbers[T], once column was asked for it
}

// column returns a column of numbers.
func column[T number](b *batch, i int) numbers[T] {
	if b.numbers[i] == nil {
		b.numbers[i] = numbersOf[T](b.columns[i])
	}
	return b.numbers[i].(numbers[T])
}

func (b *batch) texts(i int) func(row int) string { return texts(b.columns[i]) }

// grouping finds the group of each row.
type grouping struct {
	by    []int            // the columns
	ids   map[string]int32 // by the text of a group
	names [][]string       // of each group, a text for each column
	now   []int32          // the group of each row of the batch that was added last
	key   []byte
}

// add finds the groups of a batch.
func (g *grouping) add(b *batch) {
	g.now = slices.Grow(g.now[:0], b.rows)[:b.rows]
	get := make([]func(int) string, len(g.by))
	for i, col := range g.by {
		get[i] = b.texts(col)
	}
	if len(get) == 1 {
		g.addSingle(get[0])
		return
	}
	for row := range g.now {
		g.key = g.key[:0]
		for _, text := range get { // with lengths: "a", "bc" is another group than "ab", "c"
			t := text(row)
			g.key = append(binary.AppendUvarint(g.key, uint64(len(t))), t...)
		}
		id, ok := g.ids[string(g.key)]
		if !ok {
			names := make([]string, len(get))
			for i, text := range get {
				names[i] = strings.Clone(text(row))
			}
			id = g.made(string(g.key), names)
		}
		g.now[row] = id
	}
}

// addSingle is add for groups by one column, whose text is the key.
func (g *grouping) addSingle(text func(int) string) {
	last, lastID := "", int32(-1)
	for row := range g.now {
		t := text(row)
		if lastID < 0 || t != last { // rows of a group often stand together
			id, ok := g.ids[t]
			if !ok {
				own := strings.Clone(t)
				id = g.made(own, []string{own})
			}
			last, lastID = t, id
		}
		g.now[row] = lastID
	}
}

func (g *grouping) made(key string, names []string) int32 {
	id := int32(len(g.names))
	g.ids[key] = id
	g.names = append(g.names, names)
	return id
}

// sorted are the groups in the order of their names.
func (g *grouping) sorted() []int {
	all := make([]int, len(g.names))
	for i := range all {
		all[i] = i
	}
	slices.SortFunc(all, func(a, b int) int { return slices.Compare(g.names[a], g.names[b]) })
	return all
}
