// Package rowkey is what tells the rows of a database's table apart: the key column of their schema, or
// columns that the configuration of a sink names; and which rows replace others. The sinks that write into
// tables (sqlite, postgres) say it in the same words, and keep it each in its own way.
//
//	key: [zip_code, state, time]   # none of them tells rows apart alone
//	replace: revision              # of each time only the rows with the highest revision stand
package rowkey

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/record"
)

// Spec is what a configuration says of it.
type Spec struct {
	Key     []string // columns that tell rows apart together
	Replace string   // the column of the revision
}

// Validate returns all faults of the configuration, each beginning with the name of its key.
func (s Spec) Validate() []error {
	var errs []error
	for i, name := range s.Key {
		switch {
		case name == "":
			errs = append(errs, fmt.Errorf("key[%d]: is empty, want the name of a column", i))
		case slices.Contains(s.Key[:i], name):
			errs = append(errs, fmt.Errorf("key[%d]: %q is there twice", i, name))
		}
	}
	if s.Replace != "" && len(s.Key) == 0 {
		errs = append(errs, fmt.Errorf("replace: wants key, the columns that tell the rows of one revision apart"))
	}
	return errs
}

// Key is what tells the rows of a schema apart.
type Key struct {
	// Columns of the schema, the event time first if it is one of them: a database that sorts rows by their
	// key then has together what came together, and finds it by its time. None: nothing tells rows apart.
	Columns []int
	// Revision is the column by which rows replace others of their time, -1 if they don't.
	Revision int
	schema   record.Schema
}

// Of finds the columns in a schema. A fault is Permanent and says what to do.
func (s Spec) Of(schema record.Schema) (Key, error) {
	k := Key{Revision: -1, schema: schema}
	for _, name := range s.Key {
		at, err := find(schema, "key", name)
		if err != nil {
			return k, err
		}
		k.Columns = append(k.Columns, at)
	}
	switch {
	case schema.Key >= 0 && len(s.Key) == 0:
		k.Columns = []int{schema.Key}
	case schema.Key >= 0 && !slices.Equal(k.Columns, []int{schema.Key}):
		return k, wrong("leave `key` out", "key: the rows have a key of their own, %s",
			schema.Field(schema.Key).Name)
	}
	slices.SortStableFunc(k.Columns, func(a, b int) int {
		switch schema.Time {
		case a:
			return -1
		case b:
			return 1
		}
		return 0
	})
	if s.Replace == "" {
		return k, nil
	}
	return k, k.replace(s.Replace)
}

// replace adds the column of the revision.
func (k *Key) replace(name string) error {
	at, err := find(k.schema, "replace", name)
	switch {
	case err != nil:
		return err
	case !arrow.IsInteger(k.schema.Field(at).Type.ID()):
		return wrong("name a column of integers", "replace: column %s is %s", name, k.schema.Field(at).Type)
	case k.schema.Time < 0:
		return wrong("give the rows an event time, or leave `replace` out",
			"replace: the rows have no event time, of which the highest revision stands")
	case !slices.Contains(k.Columns, k.schema.Time):
		// Else a row of one time could stand in the way of a row of another.
		when := k.schema.Field(k.schema.Time).Name
		return wrong("add "+when+" to `key`", "replace: the event time %s is not in the key", when)
	}
	k.Revision = at
	return nil
}

func find(schema record.Schema, key, name string) (int, error) {
	if at := schema.FieldIndices(name); len(at) == 1 {
		return at[0], nil
	}
	names := make([]string, schema.NumFields())
	for i, f := range schema.Fields() {
		names[i] = f.Name
	}
	return 0, wrong("the columns are "+strings.Join(names, ", "), "%s: the rows have no column %s", key, name)
}

func wrong(hint, format string, args ...any) error {
	return fault.WithHint(fault.New(fault.Permanent, format, args...), "%s", hint)
}

// Any reports whether anything tells rows apart.
func (k Key) Any() bool { return len(k.Columns) > 0 }

// Replaces reports whether rows replace others of their time.
func (k Key) Replaces() bool { return k.Revision >= 0 }

// Names are those of the columns.
func (k Key) Names() []string {
	names := make([]string, len(k.Columns))
	for i, c := range k.Columns {
		names[i] = k.schema.Field(c).Name
	}
	return names
}

// CreateTable is the statement that makes a table for the rows, whose name it takes as it is. quote quotes the name of a
// column, and typ is what the database calls the type of its values.
func (k Key) CreateTable(table string, quote func(name string) string, typ func(arrow.DataType) string) string {
	lines := make([]string, k.schema.NumFields())
	for i, f := range k.schema.Fields() {
		lines[i] = "  " + quote(f.Name) + " " + typ(f.Type)
		if !f.Nullable || k.Needs(i) != "" {
			lines[i] += " NOT NULL"
		}
		if slices.Equal(k.Columns, []int{i}) {
			lines[i] += " PRIMARY KEY"
		}
	}
	if names := k.Names(); len(names) > 1 {
		for i, name := range names {
			names[i] = quote(name)
		}
		lines = append(lines, "  PRIMARY KEY ("+strings.Join(names, ", ")+")")
	}
	return fmt.Sprintf("CREATE TABLE %s (\n%s\n)", table, strings.Join(lines, ",\n"))
}

// Needs says why column i of a row can't be null, "" if it can.
func (k Key) Needs(i int) string {
	switch {
	case i == k.Revision:
		return "it says which rows stand"
	case !slices.Contains(k.Columns, i):
		return ""
	case len(k.Columns) == 1:
		return "it is the key"
	}
	return "it is part of the key"
}

// Lacks is the reason for which a row without a value in column i is refused, "" if it is not.
func (k Key) Lacks(i int) string {
	why := k.Needs(i)
	if why == "" {
		return ""
	}
	return fmt.Sprintf("%s is missing, and %s", k.schema.Field(i).Name, why)
}

// Differs is the reason for which a row is refused whose key another row has: the columns in which that is
// another.
func (k Key) Differs(columns []string) string {
	return fmt.Sprintf("the table holds another row with the same %s; it differs in %s",
		strings.Join(k.Names(), ", "), strings.Join(columns, ", "))
}
