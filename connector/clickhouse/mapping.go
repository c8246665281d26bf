package clickhouse

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/record"
)

// mapping says which field of a schema goes into which column of the table.
type mapping struct {
	table   *table
	schema  record.Schema
	columns []column
	key     *column // nil if rows have no integer key
	text    *column // nil if rows have no key of text
	time    *column // nil if rows have no event time
	parts   partitioning
	lacks   []arrow.Field // optional ones without a column
}

// column is a field on its way into a table's column.
type column struct {
	name  string
	kind  columnType
	field int
	unit  arrow.TimeUnit // of a timestamp
}

// fit maps a schema to the table. A field that has no column, or one of another type, is a Permanent fault, unless it is
// optional: then it stays out. Columns of the table that the schema does not have keep their defaults.
func (t *table) fit(s record.Schema) (*mapping, error) {
	m := &mapping{table: t, schema: s, parts: t.parts}
	var wrong []string
	for i, f := range s.Fields() {
		at := slices.IndexFunc(t.columns, func(c tableColumn) bool { return c.name == f.Name })
		if at < 0 && record.IsOptional(f) {
			if _, ok := typeFor(f.Type, true, false); ok {
				m.lacks = append(m.lacks, f)
			}
			continue
		}
		if at < 0 {
			wrong = append(wrong, fmt.Sprintf("column %s: want one for %s, found none", f.Name, f.Type))
			continue
		}
		c := t.columns[at]
		kind := parseType(c.kind)
		if t.dicts {
			kind = kind.asDictionary()
		}
		readOnly := c.defaultKind == "ALIAS" || c.defaultKind == "MATERIALIZED" || c.defaultKind == "EPHEMERAL"
		switch {
		case record.IsOptional(f) && (readOnly || !kind.takes(f.Type)):
			continue
		case readOnly:
			wrong = append(wrong, fmt.Sprintf("column %s: want one for %s, found %s, which can't be "+
				"written", f.Name, f.Type, c.defaultKind))
			continue
		case !kind.takes(f.Type):
			wrong = append(wrong, fmt.Sprintf("column %s: want a type for %s, found %s", f.Name, f.Type,
				c.kind))
			continue
		}
		out := column{name: c.name, kind: kind, field: i}
		if ts, ok := f.Type.(*arrow.TimestampType); ok {
			out.unit = ts.Unit
		}
		m.columns = append(m.columns, out)
	}
	if len(wrong) > 0 {
		return nil, fault.WithHint(fault.New(fault.Permanent, "clickhouse: table %s does not fit: %s",
			t.name, strings.Join(wrong, "; ")), "change the table (ALTER TABLE), or write to another")
	}
	m.mark(t)
	return m, nil
}

// keyed reports whether rows can be compared by key.
func (m *mapping) keyed() bool { return m.key != nil || m.text != nil }

// mark finds the columns of key and event time. There is one column a field, in their order.
func (m *mapping) mark(t *table) {
	if k := m.schema.Key; k >= 0 {
		if id := m.schema.Field(k).Type.ID(); id == arrow.UINT64 || id == arrow.INT64 {
			m.key = &m.columns[k]
		}
		if m.schema.TextKeyed() {
			m.text = &m.columns[k]
		}
	}
	if at := m.schema.Time; at >= 0 {
		m.time = &m.columns[at]
		zone := t.zone
		if z := m.time.kind.zone; z != "" {
			zone, _ = time.LoadLocation(z)
		}
		if m.time.kind.nullable {
			zone = nil // the partition of a null is the server's own matter
		}
		m.parts.understand(m.time.name, zone)
	} else {
		m.parts.understand("", nil)
	}
}

// insertInto is the INSERT statement for the mapping's columns.
func (m *mapping) insertInto(table string) string {
	names := make([]string, len(m.columns))
	for i, c := range m.columns {
		names[i] = name(c.name)
	}
	return "INSERT INTO " + table + " (" + strings.Join(names, ", ") + ") FORMAT Native"
}

// ddl is the CREATE TABLE statement for rows of a schema.
func (c Config) ddl(srv *server, s record.Schema) (string, error) {
	modern := srv.knows(tokenSetting)
	// Where the setting is gone or on, the type is no experiment.
	lowCardinality := srv.settings[lowCardinal] != "0"
	var lines, order []string
	for i, f := range s.Fields() {
		marked := i == s.Key || i == s.Time
		kind, ok := typeFor(f.Type, f.Nullable && !marked, lowCardinality && i != s.Key)
		if !ok {
			return "", fault.New(fault.Permanent, "clickhouse: column %s: no type for %s", f.Name, f.Type)
		}
		lines = append(lines, "    "+name(f.Name)+" "+kind)
	}
	aliases := make([]string, 0, len(c.Aliases))
	for k := range c.Aliases {
		aliases = append(aliases, k)
	}
	slices.Sort(aliases)
	for _, k := range aliases {
		lines = append(lines, "    "+name(k)+" ALIAS "+c.Aliases[k])
	}
	partition := c.PartitionBy
	if s.Time >= 0 {
		order = append(order, name(s.Field(s.Time).Name))
		if partition == "" {
			partition = "toYYYYMM(" + name(s.Field(s.Time).Name) + ")"
		}
	}
	if s.HasField("band") {
		order = append(order, name("band"))
	}
	if s.Key >= 0 {
		order = append(order, name(s.Field(s.Key).Name))
	}
	if len(c.OrderBy) > 0 {
		order = order[:0]
		for _, o := range c.OrderBy {
			order = append(order, name(o))
		}
	}
	ddl := "CREATE TABLE IF NOT EXISTS " + name(c.Database) + "." + name(c.Table) + "\n(\n" +
		strings.Join(lines, ",\n") + "\n)\nENGINE = MergeTree"
	if partition != "" {
		ddl += "\nPARTITION BY " + partition
	}
	ddl += "\nORDER BY (" + strings.Join(order, ", ") + ")\nSETTINGS index_granularity = 8192"
	if _, ok := srv.tables[plainWindow]; ok && modern {
		ddl += fmt.Sprintf(", %s = %d", plainWindow, createdWindow)
	}
	return ddl, nil
}

// createdWindow is how many inserts' tokens a created table remembers: 100 million rows of full
// blocks, or three hours of one every 10 s.
const createdWindow = 1000
