package report

import (
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/record"
)

// TableColumn names the table that a row belongs to, where the reports of all tables stand together.
const TableColumn = "report"

// Set is reports that fit the rows which they are computed of.
type Set struct {
	plans   []plan
	source  *arrow.Schema // the columns that are needed
	columns []string      // their names
	schema  record.Schema
}

// plan is a report whose columns are found.
type plan struct {
	Report
	first  int // its first column in the schema of all reports
	group  []int
	member int // of the source, -1 for none
	values []aggregate
}

// aggregate is a value whose columns are found.
type aggregate struct {
	kind   kind
	p      float64
	of     int // column of the source
	member int // and of who holds an extreme, -1 for none
	typ    arrow.DataType
}

// Table is where rows of the set go, and how its columns are called there.
type Table struct {
	Name    string
	Tags    []string // columns that, with the time, tell its rows apart
	Columns []Column
}

// Column is a column of the set's schema, and what it is called in its table.
type Column struct{ From, As string }

// Fits returns what keeps the reports from being computed of rows with a schema, each fault beginning with
// the name of its key. The list has no faults of its own.
func (l List) Fits(rows record.Schema) []error {
	f := &finding{rows: rows}
	for i, r := range l {
		f.plan(fmt.Sprintf("reports[%d].", i), r)
	}
	return f.faults
}

// New returns the reports of rows with a schema.
func New(l List, rows record.Schema) (*Set, error) {
	faults := l.Validate()
	f := &finding{rows: rows}
	s := &Set{}
	fields := []arrow.Field{
		{Name: TableColumn, Type: arrow.BinaryTypes.String},
		{Name: Time, Type: arrow.FixedWidthTypes.Timestamp_us},
		{Name: Hour, Type: arrow.BinaryTypes.String},
		{Name: Revision, Type: arrow.PrimitiveTypes.Int64},
		{Name: Complete, Type: arrow.FixedWidthTypes.Boolean},
		{Name: Lost, Type: arrow.PrimitiveTypes.Int64},
	}
	if len(faults) == 0 {
		for i, r := range l {
			p := f.plan(fmt.Sprintf("reports[%d].", i), r)
			p.first = len(fields)
			fields = append(fields, p.fields()...)
			s.plans = append(s.plans, p)
		}
		faults = f.faults
	}
	if len(faults) > 0 {
		return nil, fault.New(fault.Permanent, "reports: %w", errors.Join(faults...))
	}
	s.source = arrow.NewSchema(f.fields, nil)
	for _, c := range f.fields {
		s.columns = append(s.columns, c.Name)
	}
	s.schema = record.NewSchema(fields, "", Time)
	return s, nil
}

// Schema is that of the rows of all reports. A row has nulls in the columns of other reports than its own.
func (s *Set) Schema() record.Schema { return s.schema }

// Columns are those that the reports are computed of, in the order in which Computation.AddRow wants them.
func (s *Set) Columns() []string { return slices.Clone(s.columns) }

// Tables says which tables the rows belong to.
func (s *Set) Tables() []Table {
	all := make([]Table, len(s.plans))
	for i, p := range s.plans {
		all[i] = Table{Name: p.Table, Tags: p.Tags()}
		for _, name := range common {
			all[i].Columns = append(all[i].Columns, Column{name, name})
		}
		for _, name := range p.own() {
			all[i].Columns = append(all[i].Columns, Column{p.qualified(name), name})
		}
	}
	return all
}

// fields are the columns that a report has for itself, in the order of own.
func (p plan) fields() (fields []arrow.Field) {
	names := p.own()
	for i, name := range names {
		typ := arrow.DataType(arrow.BinaryTypes.String)
		if v := i - (len(names) - len(p.values)); v >= 0 {
			typ = p.values[v].typ
		}
		fields = append(fields, arrow.Field{Name: p.qualified(name), Type: typ, Nullable: true})
	}
	return fields
}

// finding looks for the columns of reports in the schema of rows.
type finding struct {
	rows   record.Schema
	fields []arrow.Field // that are needed
	faults []error
}

func (f *finding) plan(at string, r Report) plan {
	p := plan{Report: r, member: -1}
	for i, name := range r.Group {
		p.group = append(p.group, f.column(fmt.Sprintf("%sgroup[%d]", at, i), name, false))
	}
	if r.Member != "" {
		p.member = f.column(at+"member", r.Member, false)
	}
	for i, v := range r.Values {
		p.values = append(p.values, f.aggregate(fmt.Sprintf("%svalues[%d].", at, i), v, p.member))
	}
	return p
}

func (f *finding) aggregate(at string, v Value, member int) aggregate {
	n := v.asked()[0]
	a := aggregate{kind: n.kind, member: member, of: f.column(at+string(n.kind), n.of, n.kind != count)}
	if v.P != nil {
		a.p = *v.P
	}
	switch n.kind {
	case mean, total:
		a.typ = arrow.PrimitiveTypes.Float64
	case count:
		a.typ = arrow.PrimitiveTypes.Int64
	case argmin, argmax:
		a.typ = arrow.BinaryTypes.String
		a.member = f.column(at+"member", v.Member, false)
	default:
		a.typ = f.fields[a.of].Type
	}
	return a
}

// column returns where a column stands among those that are needed.
func (f *finding) column(key, name string, number bool) int {
	if i := slices.IndexFunc(f.fields, func(c arrow.Field) bool { return c.Name == name }); i >= 0 {
		f.want(key, f.fields[i], number)
		return i
	}
	field := arrow.Field{Name: name, Type: arrow.Null, Nullable: true}
	if at := f.rows.FieldIndices(name); len(at) == 1 {
		field.Type = f.rows.Field(at[0]).Type
		f.want(key, field, number)
	} else {
		f.faults = append(f.faults, fmt.Errorf("%s: the rows have no column %q", key, name))
	}
	f.fields = append(f.fields, field)
	return len(f.fields) - 1
}

// want refuses a column of a type that can't be computed with.
func (f *finding) want(key string, c arrow.Field, number bool) {
	switch c.Type.ID() {
	case arrow.INT64, arrow.UINT64, arrow.FLOAT64, arrow.NULL: // what is not there is told already
		return
	case arrow.STRING, arrow.BOOL, arrow.TIMESTAMP:
		if !number {
			return
		}
		f.faults = append(f.faults, fmt.Errorf("%s: column %q is %s, want one of numbers", key, c.Name, c.Type))
	default:
		f.faults = append(f.faults, fmt.Errorf("%s: column %q is %s, and reports know int64, uint64, float64, "+
			"text, bool and time", key, c.Name, c.Type))
	}
}
