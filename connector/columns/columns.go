// Package columns makes rows of a source's own out of items that know no types: JSON values, or the
// fields of a CSV line. The configuration declares columns, with types and jq expressions; an item that
// does not fit becomes a Reject that names the column, and its neighbours go on.
//
// Numbers go from the item to the row without float64 in between. Sources of such feeds use it
// (httppoll, filesource, nats, redis); it knows nothing of where items come from.
package columns

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Column is one column of the rows.
type Column struct {
	// Name of the column, in the rows and in every sink.
	Name string `yaml:"name" json:"name,omitempty"`
	// Type is what its values are; json is any value, as its text.
	Type string `yaml:"type" json:"type,omitempty" jsonschema:"enum=int64,enum=uint64,enum=float64,enum=text,enum=bool,enum=time,enum=json"`
	// From is the jq expression of the value within an item; default the field of the column's name.
	From string `yaml:"from" json:"from,omitempty"`
	// Format of a time: rfc3339, unix, unix_ms, or a Go layout (UTC, if it has no zone). The default takes 2006-01-02 15:04
	// and 2006-01-02T15:04, with seconds and their fraction and with a zone if they are there.
	Format string `yaml:"format" json:"format,omitempty"`
	// Optional has a missing value be null; default false, by which the row is refused and kept as a dead letter.
	Optional bool `yaml:"optional" json:"optional,omitempty"`
	// Convert allows text where a number, truth value or Unix time is wanted, and the reverse; default false.
	// Values of a csv are always converted.
	Convert bool `yaml:"convert" json:"convert,omitempty"`

	zone  *time.Location // of times without one
	loose bool           // a time that is not of the format may be one by default
}

// Spec is what a configuration says of rows.
type Spec struct {
	Columns []Column
	Key     string // names of the key's columns, separated by commas; "" for none
	Time    string // name of the event time's column; "" for none
	Cursor  string // name of the column whose highest value is followed; "" for none
	Extra   string // ExtraDrop or ExtraKeep
	Convert bool   // every column as if it said so: a csv knows only text
	// Zone is that of times without one; nil is UTC.
	Zone *time.Location
	// Loose: a time that is not of its column's format may be as by default.
	Loose bool
}

// What becomes of the fields of an item that no column is made from.
const (
	ExtraDrop = "drop"
	ExtraKeep = "keep"
)

// keyColumn is the name of the column that holds several joined values.
const keyColumn = "key"

// Keys are the names of the key's columns.
func (s Spec) Keys() (names []string) {
	for name := range strings.SplitSeq(s.Key, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// Column returns the column of that name, nil if there is none.
func (s Spec) Column(name string) *Column {
	i := slices.IndexFunc(s.Columns, func(k Column) bool { return k.Name == name })
	if i < 0 {
		return nil
	}
	return &s.Columns[i]
}

// Check calls bad for every fault, with the name of its key in a configuration.
func (s Spec) Check(bad func(key, format string, args ...any)) {
	oneOf(bad, "extra", s.Extra, ExtraDrop, ExtraKeep)
	if len(s.Columns) == 0 {
		bad("columns", "there is none")
	}
	seen := map[string]bool{}
	for i, c := range s.Columns {
		at := fmt.Sprintf("columns[%d].", i)
		switch {
		case c.Name == "":
			bad(at+"name", "is missing")
		case seen[c.Name]:
			bad(at+"name", "%q is there twice", c.Name)
		case len(s.Keys()) > 1 && c.Name == keyColumn:
			bad(at+"name", "%q is the column of the joined key", c.Name)
		}
		seen[c.Name] = true
		c.check(at, bad)
	}
	s.checkNames(bad)
}

func (c Column) check(at string, bad func(key, format string, args ...any)) {
	oneOf(bad, at+"type", c.Type, slices.Sorted(maps.Keys(arrowTypes))...)
	if _, err := ParseExpr(c.From); c.From != "" && err != nil {
		bad(at+"from", "%v", err)
	}
	if c.Format != "" && c.Type != Time {
		bad(at+"format", "is for type time alone")
	} else if !knownFormat(c.Format) {
		bad(at+"format", "is %q, want rfc3339, unix, unix_ms or a Go layout such as %q", c.Format,
			time.DateTime)
	}
}

// knownFormat refuses what time.Format would give back as it is: no layout at all.
func knownFormat(f string) bool {
	if f == "" || f == formatRFC3339 || f == formatUnix || f == formatUnixMS {
		return true
	}
	return time.Unix(1e9, 0).UTC().Format(f) != f
}

// checkNames checks what names columns.
func (s Spec) checkNames(bad func(key, format string, args ...any)) {
	keys := s.Keys()
	named := map[string][]string{"key": keys}
	if s.Time != "" {
		named["time"] = []string{s.Time}
	}
	if s.Cursor != "" {
		named["cursor.column"] = []string{s.Cursor}
	}
	allowed := map[string][]string{"key": {Int64, Uint64, Text}, "time": {Time},
		"cursor.column": {Int64, Uint64, Float64, Text, Time}}
	if len(keys) > 1 {
		allowed["key"] = append(allowed["key"], Time, Bool)
	}
	for at, list := range named {
		for _, name := range list {
			c := s.Column(name)
			switch {
			case c == nil:
				bad(at, "there is no column %q", name)
			case !slices.Contains(allowed[at], c.Type):
				bad(at, "column %q is %s, want one of: %s", name, c.Type, strings.Join(allowed[at], ", "))
			case c.Optional && at != "cursor.column":
				bad(at, "column %q is optional", name)
			}
		}
	}
}

func oneOf(bad func(key, format string, args ...any), key, got string, want ...string) {
	if !slices.Contains(want, got) {
		bad(key, "is %q, want one of: %s", got, strings.Join(want, ", "))
	}
}
