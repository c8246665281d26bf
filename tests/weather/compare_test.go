package weather

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/tests/testenv"
)

// The tables of a station.
const (
	rowsTable     = "weather_data"
	averagesTable = "weather_averages"
	extremesTable = "zip_code_extremes"
)

// tables reads a table of the database: its rows, each with its time.
type tables func(t testing.TB, table string) []record

// check compares everything that a database holds with what it must.
func (e *expected) check(t testing.TB, read tables) {
	t.Helper()
	same(t, rowsTable, read(t, rowsTable), e.rows)
	same(t, averagesTable, read(t, averagesTable), e.averages)
	same(t, extremesTable, read(t, extremesTable), e.extremes)
}

// same compares the rows of a table with those that it must have: each of them once, every field, and no other.
func same(t testing.TB, table string, got []record, want map[string]record) {
	t.Helper()
	var wrong []string
	met := map[string]bool{}
	for _, row := range got {
		at := row["time"].(time.Time)
		delete(row, "time")
		zip := row["zip_code"]
		if zip == nil {
			zip = ""
		}
		key := place(zip, row["state"], at)
		switch w := want[key]; {
		case w == nil:
			wrong = append(wrong, "there is "+key+", which should not be")
		case met[key]:
			wrong = append(wrong, "there is "+key+" twice")
		default:
			if d := difference(row, w); d != "" {
				wrong = append(wrong, key+": "+d)
			}
		}
		met[key] = true
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if !met[key] {
			wrong = append(wrong, "there is no "+key)
		}
	}
	if len(wrong) > 0 {
		t.Errorf("%s has %d rows, want %d; %d things are wrong:\n  %s", table, len(got), len(want), len(wrong),
			strings.Join(wrong[:min(len(wrong), 10)], "\n  "))
	}
}

// difference says in which fields two rows differ. Means may differ in their last digits.
func difference(got, want record) string {
	var out []string
	for name, w := range want {
		g, ok := got[name]
		equal := ok && g == w
		if strings.HasPrefix(name, "avg_") && ok {
			a, b := g.(float64), w.(float64)
			equal = near(a, b)
		}
		if !equal {
			out = append(out, fmt.Sprintf("%s is %v, want %v", name, g, w))
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			out = append(out, fmt.Sprintf("%s is %v, want none", name, got[name]))
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// database is that of a station in InfluxDB.
const database = "weather"

// influxTables reads measurements.
func influxTables(s *testenv.InfluxServer) tables {
	return func(t testing.TB, table string) (rows []record) {
		t.Helper()
		for _, row := range influxRows(t, s, fmt.Sprintf("SELECT * FROM %q", table)) {
			ns, err := row["time"].(json.Number).Int64()
			if err != nil {
				t.Fatal(err)
			}
			row["time"] = time.Unix(0, ns).UTC()
			for name, v := range row {
				if n, ok := v.(json.Number); ok {
					if row[name], err = n.Float64(); err != nil {
						t.Fatal(err)
					}
				}
			}
			rows = append(rows, row)
		}
		return rows
	}
}

// influxRows asks a question and returns the rows of the answer, without what is null.
func influxRows(t testing.TB, s *testenv.InfluxServer, question string) (rows []record) {
	t.Helper()
	var got struct {
		Results []struct {
			Series []struct {
				Columns []string
				Values  [][]any
			}
		}
	}
	dec := json.NewDecoder(strings.NewReader(s.Query(t, database, question)))
	dec.UseNumber()
	if err := dec.Decode(&got); err != nil {
		t.Fatal(err)
	}
	for _, series := range got.Results[0].Series {
		for _, values := range series.Values {
			row := record{}
			for i, name := range series.Columns {
				if values[i] != nil {
					row[name] = values[i]
				}
			}
			rows = append(rows, row)
		}
	}
	return rows
}
