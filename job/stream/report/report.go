// Package report is what a processor computes of the rows of a window: for each group of rows the mean, the
// extremes and other aggregations of their columns, and which member of the group holds an extreme.
//
//	reports:
//	  - {table: weather_averages, group: [state], values: [{mean: temp_c, as: avg_temp_c}, {mean: humidity}]}
//	  - {table: zip_code_extremes, group: [state], member: zip_code, values: [{min: temp_c}, {max: temp_c}]}
//	  - {table: heat, group: [state], values: [{percentile: temp_c, p: 95},
//	     {argmax: temp_c, member: zip_code, as: hottest}, {count: temp_c}]}
//
// A report has one row for each group. With a member it has one for each member of the group that holds an
// extreme, and there only the fields whose extreme it holds. Every row has besides: time (where the window
// begins), hour ("00" to "23" of that, in UTC), revision, complete, and lost (how many rows the window lacks).
//
// What is promised: the same rows give the same report, whatever order they come in; sums and means may differ
// in their last digit. Values that are null, or floats that are not finite, are in no aggregation, and a group
// without any value has null there. A row without a value in a column of the group is of the group "", and one
// without a member of the member "".
//
//   - mean and sum are floats, added up with Neumaier's compensation (Z. Angew. Math. Mech. 54, 1974), whose error
//     does not grow with the number of rows; one that no float can hold is null;
//   - percentile is the nearest rank, as percentile_disc of PostgreSQL has it: the lowest value that at least
//     p % of the values don't exceed. It needs all values of the column in memory, 8 bytes each;
//   - min, max and percentile have the type of their column, count is a whole number;
//   - of members that hold the same extreme the smallest is told, as a text; groups and members are texts.
//
// All reports of a job are rows of one schema, so that they go through one spool: a column that names the
// table, and the columns of each report behind its name. Set.Tables says how they are taken apart.
package report

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// List is what a configuration says under `reports:`.
type List []Report

// Report is one table of reports.
type Report struct {
	// Table is where the rows of the report go: a table, or a measurement.
	Table string `yaml:"table"`
	// Group are the columns whose values make a group; none: all rows are one.
	Group []string `yaml:"group"`
	// Member, if set, is the column that tells the rows of a group apart: each row of the report is of one
	// member then, and its values are extremes that the member holds.
	Member string `yaml:"member"`
	// Values are what is computed.
	Values []Value `yaml:"values"`
}

// Value is one column of a report. Exactly one of the first eight is set, to the column that it is computed of.
type Value struct {
	// Mean is the column whose arithmetic mean is computed.
	Mean string `yaml:"mean"`
	// Min is the column whose lowest value is told.
	Min string `yaml:"min"`
	// Max is the column whose highest value is told.
	Max string `yaml:"max"`
	// Sum is the column whose values are added.
	Sum string `yaml:"sum"`
	// Count is the column whose values are counted that are not null.
	Count string `yaml:"count"`
	// Percentile is the column whose percentile is computed, which p names.
	Percentile string `yaml:"percentile"`
	// ArgMin is the column: the member with the lowest value is told.
	ArgMin string `yaml:"argmin"`
	// ArgMax is the column: the member with the highest value is told.
	ArgMax string `yaml:"argmax"`
	// P is which percentile, from 0 to 100.
	P *float64 `yaml:"p"`
	// Member is the column whose value argmin and argmax tell.
	Member string `yaml:"member"`
	// As is the name of the column; default avg_ (for mean), min_, max_, sum_, count_, p95_, argmin_ or
	// argmax_, and the column that it is computed of.
	As string `yaml:"as"`
}

// The columns that every report has beside its groups and values.
const (
	Time     = "time"
	Hour     = "hour"
	Revision = "revision"
	Complete = "complete"
	Lost     = "lost"
)

var common = []string{Time, Hour, Revision, Complete, Lost}

// kind is an aggregation, by the word that a configuration has for it.
type kind string

const (
	mean       kind = "mean"
	lowest     kind = "min"
	highest    kind = "max"
	total      kind = "sum"
	count      kind = "count"
	percentile kind = "percentile"
	argmin     kind = "argmin"
	argmax     kind = "argmax"
)

// named is an aggregation and the column that it is of.
type named struct {
	kind kind
	of   string
}

// asked returns what a value asks for: exactly one thing, if it has no fault.
func (v Value) asked() (all []named) {
	for _, n := range []named{{mean, v.Mean}, {lowest, v.Min}, {highest, v.Max}, {total, v.Sum}, {count, v.Count},
		{percentile, v.Percentile}, {argmin, v.ArgMin}, {argmax, v.ArgMax}} {
		if n.of != "" {
			all = append(all, n)
		}
	}
	return all
}

// Name is that of the column.
func (v Value) Name() string {
	all := v.asked()
	if v.As != "" || len(all) != 1 {
		return v.As
	}
	prefix := string(all[0].kind)
	switch {
	case all[0].kind == mean:
		prefix = "avg"
	case all[0].kind == percentile && v.P != nil:
		prefix = "p" + strings.ReplaceAll(strconv.FormatFloat(*v.P, 'f', -1, 64), ".", "_")
	}
	return prefix + "_" + all[0].of
}

// Tags are the columns that tell the rows of one window apart: groups, member and hour.
func (r Report) Tags() []string {
	tags := slices.Clone(r.Group)
	if r.Member != "" {
		tags = append(tags, r.Member)
	}
	return append(tags, Hour)
}

// Weather are the reports of WeatherVane.
func Weather() List {
	averages := Report{Table: "weather_averages", Group: []string{"state"}}
	extremes := Report{Table: "zip_code_extremes", Group: []string{"state"}, Member: "zip_code"}
	for _, field := range []string{"temp_c", "pressure_mb", "humidity", "precip_mm"} {
		averages.Values = append(averages.Values, Value{Mean: field})
		extremes.Values = append(extremes.Values, Value{Min: field}, Value{Max: field})
	}
	return List{averages, extremes}
}

// Validate returns all faults of the configuration, each beginning with the name of its key.
func (l List) Validate() []error {
	var faults []error
	if len(l) == 0 {
		faults = append(faults, fmt.Errorf("reports: there is none"))
	}
	tables, columns := map[string]bool{}, map[string]bool{}
	for i, r := range l {
		at := fmt.Sprintf("reports[%d].", i)
		for _, err := range r.Validate() {
			faults = append(faults, fmt.Errorf("%s%w", at, err))
		}
		if tables[strings.ToLower(r.Table)] { // to SQLite, names that differ in their case are the same
			faults = append(faults, fmt.Errorf("%stable: %q is there twice", at, r.Table))
			continue
		}
		tables[strings.ToLower(r.Table)] = true
		for _, name := range r.own() {
			if name = r.qualified(name); columns[name] {
				faults = append(faults, fmt.Errorf("%stable: a column of another report is called %q too", at,
					name))
			}
			columns[name] = true
		}
	}
	return faults
}

// own are the columns that a report has for itself.
func (r Report) own() []string {
	names := slices.Clone(r.Group)
	if r.Member != "" {
		names = append(names, r.Member)
	}
	for _, v := range r.Values {
		names = append(names, v.Name())
	}
	return names
}

// qualified is what a column of the report is called where those of all stand together.
func (r Report) qualified(column string) string { return r.Table + "." + column }

// Validate returns all faults of the report, each beginning with the name of its key.
func (r Report) Validate() []error {
	k := &check{taken: map[string]bool{}}
	for _, name := range common {
		k.taken[name] = true
	}
	if r.Table == "" {
		k.bad("table", "is missing")
	}
	for i, name := range r.Group {
		k.name(fmt.Sprintf("group[%d]", i), name)
	}
	if r.Member != "" {
		k.name("member", r.Member)
	}
	if len(r.Values) == 0 {
		k.bad("values", "there is none")
	}
	for i, v := range r.Values {
		k.value(fmt.Sprintf("values[%d]", i), v, r.Member != "")
	}
	return k.faults
}

// check gathers the faults of a report.
type check struct {
	faults []error
	taken  map[string]bool // names of columns
}

func (k *check) bad(key, format string, args ...any) {
	k.faults = append(k.faults, fmt.Errorf(key+": "+format, args...))
}

// name takes the name of a column.
func (k *check) name(key, name string) {
	switch {
	case name == "":
		k.bad(key, "is empty, want the name of a column")
	case slices.Contains(common, name):
		k.bad(key, "every report has a column %q of its own", name)
	case k.taken[name]:
		k.bad(key, "there is a column %q already", name)
	}
	k.taken[name] = true
}

func (k *check) value(at string, v Value, member bool) {
	all := v.asked()
	if len(all) != 1 {
		k.bad(at, "names %d aggregations, want one of: mean, min, max, sum, count, percentile, argmin, argmax",
			len(all))
		return
	}
	what := all[0].kind
	switch {
	case member && what != lowest && what != highest:
		k.bad(at+"."+string(what), "a report with a member has min and max alone")
	case what == percentile && v.P == nil:
		k.bad(at+".p", "is missing, want which percentile, from 0 to 100")
	case what == percentile && !(*v.P >= 0 && *v.P <= 100):
		k.bad(at+".p", "is %v, want a number from 0 to 100", *v.P)
	case what != percentile && v.P != nil:
		k.bad(at+".p", "is for percentile alone")
	}
	switch arg := what == argmin || what == argmax; {
	case arg && v.Member == "":
		k.bad(at+".member", "is missing, want the column whose value is told")
	case !arg && v.Member != "":
		k.bad(at+".member", "is for argmin and argmax; a report of members has it beside group")
	}
	k.name(at+".as", v.Name())
}
