// Package columns makes rows of JSON items by a list of columns, for every source whose items are that.
//
//	columns: [{name: id, type: int64}, {name: time, type: time}, {name: temp, type: float64}]
//	key: id
//	time: time
//
// The promise: an item is a row with every column as it was declared, or a Reject that names each column
// that it does not fit, and why. Numbers go from the item to the row without float64 in between. It reads
// no feed and knows no paging; connectors do, and call it.
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
	Name string `yaml:"name" json:"name,omitempty"`
	// Type is int64, uint64, float64, text, bool, time or json (any value, as its text).
	Type string `yaml:"type" json:"type,omitempty"`
	// From is the jq expression of the value within an item; default the field of the column's name.
	From string `yaml:"from" json:"from,omitempty"`
	// Format of a time: rfc3339 (default), unix, unix_ms, or a Go layout (UTC, if it has no zone).
	Format string `yaml:"format" json:"format,omitempty"`
	// Optional: a missing value is null. Else it is a reject.
	Optional bool `yaml:"optional" json:"optional,omitempty"`
	// Convert allows text where a number, truth value or Unix time is wanted, and the reverse.
	// Values of a csv are always converted.
	Convert bool `yaml:"convert" json:"convert,omitempty"`
}

// Config says how items become rows. The connector's own Config has these keys, but for Convert.
type Config struct {
	Columns []Column
	// Extra is drop (default) or keep: what becomes of fields that no column is made from.
	Extra string
	// Key is the column that identifies a row (int64, uint64 or text), or several, separated by
	// commas: then a text column `key` with their joined values stands in front.
	Key string
	// Time is the column of the event time; default none.
	Time string
	// Cursor is the column whose highest value is the place in the feed; default none.
	Cursor string
	// Convert all columns: a feed such as csv knows only text.
	Convert bool
}

// The values of Extra.
const (
	Drop = "drop"
	Keep = "keep"
)

// KeyColumn is the name of the column that holds several joined values.
const KeyColumn = "key"

// Keys are the names of the key's columns.
func (c Config) Keys() (names []string) {
	for name := range strings.SplitSeq(c.Key, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// Column returns the column of that name, nil if there is none.
func (c Config) Column(name string) *Column {
	i := slices.IndexFunc(c.Columns, func(k Column) bool { return k.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Columns[i]
}

// Problem is one fault of a configuration: Key is the name under the connector's.
type Problem struct{ Key, Text string }

// Error returns the key and what is wrong with it.
func (p Problem) Error() string { return p.Key + ": " + p.Text }

// check gathers the faults of a configuration.
type check struct {
	Config
	faults []error
}

func (k *check) bad(key, format string, args ...any) {
	k.faults = append(k.faults, Problem{key, fmt.Sprintf(format, args...)})
}

func (k *check) oneOf(key, got string, want ...string) {
	if !slices.Contains(want, got) {
		k.bad(key, "is %q, want one of: %s", got, strings.Join(want, ", "))
	}
}

func (k *check) expression(key, text string) {
	if _, err := ParseExpr(text); text != "" && err != nil {
		k.bad(key, "%v", err)
	}
}

// Validate returns all faults at once, each a Problem.
func (c Config) Validate() []error {
	if c.Extra == "" {
		c.Extra = Drop
	}
	k := &check{Config: c}
	k.oneOf("extra", k.Extra, Drop, Keep)
	k.columns()
	k.names()
	return k.faults
}

func (k *check) columns() {
	if len(k.Columns) == 0 {
		k.bad("columns", "there is none")
	}
	seen := map[string]bool{}
	for i, c := range k.Columns {
		at := fmt.Sprintf("columns[%d].", i)
		switch {
		case c.Name == "":
			k.bad(at+"name", "is missing")
		case seen[c.Name]:
			k.bad(at+"name", "%q is there twice", c.Name)
		case len(k.Keys()) > 1 && c.Name == KeyColumn:
			k.bad(at+"name", "%q is the column of the joined key", c.Name)
		}
		seen[c.Name] = true
		k.oneOf(at+"type", c.Type, slices.Sorted(maps.Keys(arrowTypes))...)
		k.expression(at+"from", c.From)
		if c.Format != "" && c.Type != Time {
			k.bad(at+"format", "is for type time alone")
		} else if !knownFormat(c.Format) {
			k.bad(at+"format", "is %q, want rfc3339, unix, unix_ms or a Go layout such as %q", c.Format,
				time.DateTime)
		}
	}
}

// knownFormat refuses what time.Format would give back as it is: no layout at all.
func knownFormat(f string) bool {
	if f == "" || f == formatRFC3339 || f == formatUnix || f == formatUnixMS {
		return true
	}
	return time.Unix(1e9, 0).UTC().Format(f) != f
}

// names checks what names columns.
func (k *check) names() {
	keys := k.Keys()
	named := map[string][]string{"key": keys}
	if k.Time != "" {
		named["time"] = []string{k.Time}
	}
	if k.Cursor != "" {
		named["cursor.column"] = []string{k.Cursor}
	}
	allowed := map[string][]string{"key": {Int64, Uint64, Text}, "time": {Time},
		"cursor.column": {Int64, Uint64, Float64, Text, Time}}
	if len(keys) > 1 {
		allowed["key"] = append(allowed["key"], Time, Bool)
	}
	for at, list := range named {
		for _, name := range list {
			c := k.Column(name)
			switch {
			case c == nil:
				k.bad(at, "there is no column %q", name)
			case !slices.Contains(allowed[at], c.Type):
				k.bad(at, "column %q is %s, want one of: %s", name, c.Type,
					strings.Join(allowed[at], ", "))
			case c.Optional && at != "cursor.column":
				k.bad(at, "column %q is optional", name)
			}
		}
	}
}
