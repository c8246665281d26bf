package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/goccy/go-yaml"

	"holdfast/base/fault"
	"holdfast/base/record"
)

// schema is that of rows with a column of every type.
var schema = record.NewSchema([]arrow.Field{
	{Name: "time", Type: arrow.FixedWidthTypes.Timestamp_us},
	{Name: "zip_code", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "state", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "temp_c", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	{Name: "pressure_mb", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	{Name: "humidity", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "precip_mm", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	{Name: "serial", Type: arrow.PrimitiveTypes.Uint64, Nullable: true},
	{Name: "is_day", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
}, "", "time")

// batchOf makes a batch of rows that are JSON objects.
func batchOf(t testing.TB, rows ...map[string]any) arrow.RecordBatch {
	t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema.Schema)
	for _, row := range rows {
		if row["time"] == nil {
			row["time"] = "2023-09-19T07:00:00Z"
		}
		text, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.UnmarshalJSON(text); err != nil {
			t.Fatal(err)
		}
	}
	return b.NewRecordBatch()
}

type row = map[string]any

var seven = Window{From: time.Date(2023, 9, 19, 7, 0, 0, 0, time.UTC), Revision: 3, Complete: true}

// tableOf returns the rows of one table of a batch of reports as objects, without the columns that every row
// has and those that are null.
func tableOf(t testing.TB, s *Set, b arrow.RecordBatch, name string) (rows []row) {
	t.Helper()
	i := slices.IndexFunc(s.Tables(), func(o Table) bool { return o.Name == name })
	for at := range int(b.NumRows()) {
		if b.Column(0).(*array.String).Value(at) != name {
			continue
		}
		out := row{}
		for _, c := range s.Tables()[i].Columns[len(common):] {
			col := b.Column(b.Schema().FieldIndices(c.From)[0])
			if col.IsValid(at) {
				out[c.As] = col.GetOneForMarshal(at)
			}
		}
		rows = append(rows, out)
	}
	return rows
}

func compute(t testing.TB, l List, batches ...arrow.RecordBatch) (*Set, arrow.RecordBatch) {
	t.Helper()
	s, err := New(l, schema)
	if err != nil {
		t.Fatal(err)
	}
	c := s.Begin()
	for _, b := range batches {
		if err := c.Add(b); err != nil {
			t.Fatal(err)
		}
	}
	out, err := c.Reports(seven)
	if err != nil {
		t.Fatal(err)
	}
	return s, out
}

func wantRows(t *testing.T, got, want []row) {
	t.Helper()
	g, w := fmt.Sprint(got), fmt.Sprint(want)
	if g != w {
		t.Errorf("got\n%s\nwant\n%s", strings.ReplaceAll(g, "] map", "]\nmap"), strings.ReplaceAll(w, "] map", "]\nmap"))
	}
}

// TestWeather computes the reports of WeatherVane of a few rows by hand.
func TestWeather(t *testing.T) {
	s, b := compute(t, Weather(), batchOf(t,
		row{"zip_code": "99950", "state": "Alaska", "temp_c": 11.5, "pressure_mb": 1000, "humidity": 80, "precip_mm": 0},
		row{"zip_code": "99501", "state": "Alaska", "temp_c": 9.5, "pressure_mb": 1010, "humidity": 90, "precip_mm": 0},
		row{"zip_code": "99502", "state": "Alaska", "temp_c": 10.0, "pressure_mb": 1005, "humidity": 85, "precip_mm": 0},
		row{"zip_code": "43001", "state": "Ohio", "temp_c": 20.25, "pressure_mb": nil, "humidity": 50, "precip_mm": 1.5}))
	wantRows(t, tableOf(t, s, b, "weather_averages"), []row{
		{"state": "Alaska", "avg_temp_c": 31.0 / 3, "avg_pressure_mb": 1005.0, "avg_humidity": 85.0, "avg_precip_mm": 0.0},
		{"state": "Ohio", "avg_temp_c": 20.25, "avg_humidity": 50.0, "avg_precip_mm": 1.5}})
	wantRows(t, tableOf(t, s, b, "zip_code_extremes"), []row{
		{"state": "Alaska", "zip_code": "99501", "min_temp_c": 9.5, "max_pressure_mb": 1010.0, "max_humidity": 90,
			"min_precip_mm": 0.0, "max_precip_mm": 0.0},
		{"state": "Alaska", "zip_code": "99950", "max_temp_c": 11.5, "min_pressure_mb": 1000.0, "min_humidity": 80},
		{"state": "Ohio", "zip_code": "43001", "min_temp_c": 20.25, "max_temp_c": 20.25, "min_humidity": 50,
			"max_humidity": 50, "min_precip_mm": 1.5, "max_precip_mm": 1.5}})
	first := b.NewSlice(0, 1)
	for i, want := range []string{"weather_averages", "2023-09-19T07:00:00Z", "07", "3", "true", "0"} {
		if got := first.Column(i).ValueStr(0); got != want {
			t.Errorf("%s: got %s, want %s", b.Schema().Field(i).Name, got, want)
		}
	}
	want := []Table{{Name: "weather_averages", Tags: []string{"state", "hour"}, Columns: []Column{
		{"time", "time"}, {"hour", "hour"}, {"revision", "revision"}, {"complete", "complete"}, {"lost", "lost"},
		{"weather_averages.state", "state"}, {"weather_averages.avg_temp_c", "avg_temp_c"},
		{"weather_averages.avg_pressure_mb", "avg_pressure_mb"}, {"weather_averages.avg_humidity", "avg_humidity"},
		{"weather_averages.avg_precip_mm", "avg_precip_mm"}}}}
	if got := s.Tables()[:1]; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := s.Tables()[1].Tags; !slices.Equal(got, []string{"state", "zip_code", "hour"}) {
		t.Errorf("got tags %v", got)
	}
}

const everything = `
- {table: all, values: [{count: temp_c}, {sum: serial}, {mean: humidity}]}
- table: by
  group: [state, is_day]
  values:
    - {mean: temp_c}
    - {sum: humidity}
    - {min: serial, as: least}
    - {max: humidity}
    - {count: zip_code, as: n}
    - {percentile: temp_c, p: 95}
    - {percentile: humidity, p: 12.5}
    - {argmin: temp_c, member: zip_code, as: coldest}
    - {argmax: serial, member: humidity}
- {table: of, group: [is_day], member: state, values: [{min: temp_c}, {max: serial}, {max: temp_c}]}
`

func parsed(t testing.TB, text string) (l List) {
	t.Helper()
	if err := yaml.UnmarshalWithOptions([]byte(text), &l, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	return l
}

// TestAgainstIndependent computes reports of random rows, in any order, cut into any batches and by single
// rows too, and compares them with what a plain walk over the rows gives.
func TestAgainstIndependent(t *testing.T) {
	l := parsed(t, everything)
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 7))
		rows := randomRows(rng, 1+rng.IntN(250))
		var first string
		for turn := range 4 {
			rng.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
			s, err := New(l, schema)
			if err != nil {
				t.Fatal(err)
			}
			c := s.Begin()
			for left := rows; len(left) > 0; {
				n := 1 + rng.IntN(len(left))
				b := batchOf(t, left[:n]...)
				left = left[n:]
				if turn%2 == 0 {
					err = c.Add(b)
				} else {
					err = addRows(c, s, b)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if got := c.Len(); got != int64(len(rows)) {
				t.Fatalf("%d rows were added, want %d", got, len(rows))
			}
			out, err := c.Reports(seven)
			if err != nil {
				t.Fatal(err)
			}
			wantRows(t, tableOf(t, s, out, "all"), plainAll(rows))
			wantRows(t, tableOf(t, s, out, "by"), plainBy(rows))
			wantRows(t, tableOf(t, s, out, "of"), plainOf(rows))
			text, err := out.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			if turn == 0 {
				first = string(text)
			} else if string(text) != first {
				t.Fatalf("seed %d: another order of the rows gives another report", seed)
			}
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
	}
}

// randomRows makes rows with few different values, so that extremes are shared, and with nulls. Temperatures
// are quarters: their sums are exact in any order.
func randomRows(rng *rand.Rand, n int) (rows []row) {
	for range n {
		r := row{"zip_code": fmt.Sprintf("%05d", rng.IntN(40)), "state": fmt.Sprintf("s%d", rng.IntN(4)),
			"temp_c": float64(rng.IntN(50)-25) / 4, "humidity": rng.IntN(100) - 50, "serial": uint64(rng.IntN(30)),
			"is_day": rng.IntN(2) == 0}
		for _, name := range []string{"zip_code", "state", "temp_c", "humidity", "serial", "is_day"} {
			if rng.IntN(12) == 0 {
				r[name] = nil
			}
		}
		rows = append(rows, r)
	}
	return rows
}

// addRows adds the rows of a batch one by one, with the values that a database would give.
func addRows(c *Computation, s *Set, b arrow.RecordBatch) error {
	values := make([]any, len(s.Columns()))
	for at := range int(b.NumRows()) {
		for i, name := range s.Columns() {
			values[i] = nil
			col := b.Column(b.Schema().FieldIndices(name)[0])
			if col.IsNull(at) {
				continue
			}
			switch col := col.(type) {
			case *array.String:
				values[i] = col.Value(at)
			case *array.Float64:
				values[i] = col.Value(at)
			case *array.Int64:
				values[i] = col.Value(at)
			case *array.Uint64:
				values[i] = int64(col.Value(at))
			case *array.Boolean:
				values[i] = col.Value(at)
			}
		}
		if err := c.AddRow(values); err != nil {
			return err
		}
	}
	return nil
}

// text is a value in a name of a group.
func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// grouped cuts rows into groups, in the order of their names.
func grouped(rows []row, by ...string) (groups [][]row) {
	name := func(r row) (all []string) {
		for _, col := range by {
			all = append(all, text(r[col]))
		}
		return all
	}
	sorted := slices.SortedStableFunc(slices.Values(rows), func(a, b row) int { return slices.Compare(name(a), name(b)) })
	for i, r := range sorted {
		if i == 0 || !slices.Equal(name(sorted[i-1]), name(r)) {
			groups = append(groups, nil)
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], r)
	}
	return groups
}

// sortedBy are the rows with a value in a column, by it and then by a member.
func sortedBy(rows []row, col, member string) []row {
	rows = slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r[col] == nil })
	slices.SortStableFunc(rows, func(a, b row) int {
		if by := cmp.Compare(float(a[col]), float(b[col])); by != 0 {
			return by
		}
		return cmp.Compare(text(a[member]), text(b[member]))
	})
	return rows
}

func float(v any) float64 {
	switch v := v.(type) {
	case int:
		return float64(v)
	case uint64:
		return float64(v)
	}
	return v.(float64)
}

// top is the last of sorted rows, of those with the same value the first.
func top(sorted []row, col string) row {
	i := slices.IndexFunc(sorted, func(r row) bool { return r[col] == sorted[len(sorted)-1][col] })
	return sorted[i]
}

func total64(rows []row, col string) (sum float64, n int) {
	for _, r := range sortedBy(rows, col, "") {
		sum += float(r[col])
		n++
	}
	return sum, n
}

func plainAll(rows []row) []row {
	out := row{}
	_, n := total64(rows, "temp_c")
	out["count_temp_c"] = n
	if sum, n := total64(rows, "serial"); n > 0 {
		out["sum_serial"] = sum
	}
	if sum, n := total64(rows, "humidity"); n > 0 {
		out["avg_humidity"] = sum / float64(n)
	}
	return []row{out}
}

func plainBy(rows []row) (out []row) {
	for _, g := range grouped(rows, "state", "is_day") {
		r := row{"state": text(g[0]["state"]), "is_day": text(g[0]["is_day"])}
		out = append(out, r)
		if sum, n := total64(g, "temp_c"); n > 0 {
			r["avg_temp_c"] = sum / float64(n)
			s := sortedBy(g, "temp_c", "zip_code")
			r["coldest"] = text(s[0]["zip_code"])
			for i, v := range s { // the first value that 95 % don't exceed
				if 100*(i+1) >= 95*n {
					r["p95_temp_c"] = v["temp_c"]
					break
				}
			}
		}
		if sum, n := total64(g, "humidity"); n > 0 {
			r["sum_humidity"] = sum
			s := sortedBy(g, "humidity", "")
			r["max_humidity"] = s[n-1]["humidity"]
			for i, v := range s {
				if 1000*(i+1) >= 125*n {
					r["p12_5_humidity"] = v["humidity"]
					break
				}
			}
		}
		if s := sortedBy(g, "serial", "humidity"); len(s) > 0 {
			r["least"] = s[0]["serial"]
			r["argmax_serial"] = text(top(s, "serial")["humidity"])
		}
		n := 0
		for _, one := range g {
			if one["zip_code"] != nil {
				n++
			}
		}
		r["n"] = n
	}
	return out
}

func plainOf(rows []row) (out []row) {
	for _, g := range grouped(rows, "is_day") {
		by := map[string]row{}
		put := func(holder row, field string, v any) {
			who := text(holder["state"])
			if by[who] == nil {
				by[who] = row{"is_day": text(g[0]["is_day"]), "state": who}
			}
			by[who][field] = v
		}
		if s := sortedBy(g, "temp_c", "state"); len(s) > 0 {
			put(s[0], "min_temp_c", s[0]["temp_c"])
			put(top(s, "temp_c"), "max_temp_c", s[len(s)-1]["temp_c"])
		}
		if s := sortedBy(g, "serial", "state"); len(s) > 0 {
			put(top(s, "serial"), "max_serial", s[len(s)-1]["serial"])
		}
		for _, who := range slices.Sorted(func(yield func(string) bool) {
			for who := range by {
				if !yield(who) {
					return
				}
			}
		}) {
			out = append(out, by[who])
		}
	}
	return out
}

// TestMeanIsSound: a sum whose naive form depends on the order by far does not.
func TestMeanIsSound(t *testing.T) {
	var rows []row
	exact := new(big.Float).SetPrec(2000)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5_000 {
		v := (rng.Float64() - 0.5) * math.Pow(10, float64(rng.IntN(17)))
		exact.Add(exact, big.NewFloat(v))
		rows = append(rows, row{"temp_c": v})
	}
	want, _ := exact.Quo(exact, big.NewFloat(float64(len(rows)))).Float64()
	l := List{{Table: "x", Values: []Value{{Mean: "temp_c"}}}}
	for range 3 {
		rng.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		s, b := compute(t, l, batchOf(t, rows...))
		got := tableOf(t, s, b, "x")[0]["avg_temp_c"].(float64)
		if math.Abs(got-want) > 1e-15*math.Abs(want) {
			t.Errorf("got %.17g, want %.17g", got, want)
		}
	}
}

// TestExactIntegers: extremes and ranks of integers are those, also where floats can't tell them apart.
func TestExactIntegers(t *testing.T) {
	l := List{{Table: "x", Values: []Value{{Max: "serial"}, {Min: "humidity"}, {Percentile: "serial", P: new(50.0)}}}}
	s, b := compute(t, l, batchOf(t, row{"serial": uint64(math.MaxUint64), "humidity": math.MinInt64 + 1},
		row{"serial": uint64(math.MaxUint64 - 1), "humidity": math.MinInt64}))
	wantRows(t, tableOf(t, s, b, "x"), []row{{"max_serial": uint64(math.MaxUint64), "min_humidity": math.MinInt64,
		"p50_serial": uint64(math.MaxUint64 - 1)}})
}

// TestStrangeFloats: what is no finite number is in no aggregation, and neither zero nor overflow shows an
// order.
func TestStrangeFloats(t *testing.T) {
	l := List{{Table: "x", Group: []string{"state"}, Values: []Value{{Mean: "temp_c"}, {Min: "temp_c"}, {Count: "temp_c"},
		{ArgMin: "temp_c", Member: "zip_code"}, {Percentile: "temp_c", P: new(0.0)}}}}
	set, err := New(l, schema)
	if err != nil {
		t.Fatal(err)
	}
	for _, flip := range []bool{false, true} {
		in := [][]any{{"a", math.NaN(), "1"}, {"a", math.Inf(-1), "2"}, {"a", math.Copysign(0, -1), "4"}, {"a", 0.0, "3"},
			{"b", math.NaN(), "5"}, {"c", math.MaxFloat64, "6"}, {"c", math.MaxFloat64, "7"}}
		if flip {
			slices.Reverse(in)
		}
		c := set.Begin()
		for _, r := range in {
			if err := c.AddRow(r); err != nil {
				t.Fatal(err)
			}
		}
		b, err := c.Reports(seven)
		if err != nil {
			t.Fatal(err)
		}
		wantRows(t, tableOf(t, set, b, "x"), []row{
			{"state": "a", "avg_temp_c": 0.0, "min_temp_c": 0.0, "count_temp_c": 2, "argmin_temp_c": "3", "p0_temp_c": 0.0},
			{"state": "b", "count_temp_c": 0},
			{"state": "c", "min_temp_c": math.MaxFloat64, "count_temp_c": 2, "argmin_temp_c": "6", "p0_temp_c": math.MaxFloat64}})
	}
}

// TestRank holds the nearest rank to its definition, where a float would slip too.
func TestRank(t *testing.T) {
	for _, c := range []struct {
		p    float64
		n    int
		want int
	}{{0, 5, 0}, {100, 5, 4}, {50, 1, 0}, {50, 2, 0}, {50, 3, 1}, {50, 4, 1}, {30, 5, 1}, {40, 5, 1}, {40.0001, 5, 2},
		{95, 20, 18}, {99.9, 1000, 998}, {99.9, 44_000, 43_955}, {7, 100, 6}, {14, 50, 6}, {28, 25, 6}, {55, 100, 54},
		{1e-300, 3, 0}} {
		if got := rankOf(c.p, c.n); got != c.want {
			t.Errorf("percentile %v of %d: got rank %d, want %d", c.p, c.n, got, c.want)
		}
	}
}

// TestGroupsDontRunTogether: names of a group stay apart whatever they are.
func TestGroupsDontRunTogether(t *testing.T) {
	l := List{{Table: "x", Group: []string{"state", "zip_code"}, Values: []Value{{Count: "temp_c", As: "n"}}}}
	s, b := compute(t, l, batchOf(t, row{"state": "a", "zip_code": "bc"}, row{"state": "ab", "zip_code": "c"},
		row{"state": "abc"}, row{"zip_code": "abc"}, row{"state": "", "zip_code": "abc"}, row{"state": "a\x00b", "zip_code": "c"}))
	wantRows(t, tableOf(t, s, b, "x"), []row{{"state": "", "zip_code": "abc", "n": 0}, {"state": "a", "zip_code": "bc", "n": 0},
		{"state": "a\x00b", "zip_code": "c", "n": 0}, {"state": "ab", "zip_code": "c", "n": 0}, {"state": "abc", "zip_code": "", "n": 0}})
}

// TestNothing: without rows there are no reports.
func TestNothing(t *testing.T) {
	if _, b := compute(t, parsed(t, everything)); b.NumRows() != 0 {
		t.Errorf("got %d rows", b.NumRows())
	}
	if _, b := compute(t, parsed(t, everything), batchOf(t)); b.NumRows() != 0 {
		t.Errorf("of an empty batch got %d rows", b.NumRows())
	}
}

// TestOtherRows: batches that lack a column, or have another type there, and values that a column can't hold
// are refused, and a batch that is refused leaves no trace.
func TestOtherRows(t *testing.T) {
	s, err := New(Weather(), schema)
	if err != nil {
		t.Fatal(err)
	}
	c := s.Begin()
	good := batchOf(t, row{"state": "Ohio", "zip_code": "43001", "temp_c": 1})
	fields, cols := schema.Fields(), good.Columns()
	less := array.NewRecordBatch(arrow.NewSchema(fields[:6], nil), cols[:6], 1)
	if err := c.Add(less); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "no column precip_mm") {
		t.Errorf("got %v", err)
	}
	other := slices.Clone(fields)
	other[3].Type = arrow.BinaryTypes.String
	swapped := slices.Clone(cols)
	swapped[3] = cols[2]
	if err := c.Add(array.NewRecordBatch(arrow.NewSchema(other, nil), swapped, 1)); err == nil ||
		!strings.Contains(err.Error(), "column temp_c is utf8, want float64") {
		t.Errorf("got %v", err)
	}
	// In another order, and with columns that nobody asked for, it is as good.
	slices.Reverse(fields)
	slices.Reverse(cols)
	if err := c.Add(array.NewRecordBatch(arrow.NewSchema(fields, nil), cols, 1)); err != nil || c.Len() != 1 {
		t.Errorf("got %v, %d rows", err, c.Len())
	}
	for name, v := range map[string]any{"temp_c": "warm", "humidity": 3.5, "state": time.Now()} {
		values := make([]any, len(s.Columns()))
		values[slices.Index(s.Columns(), name)] = v
		if err := s.Begin().AddRow(values); !fault.Is(err, fault.Permanent) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := s.Begin().AddRow(nil); !fault.Is(err, fault.Permanent) {
		t.Errorf("of a row without values: got %v", err)
	}
	// The same number in another form is the same number.
	values := make([]any, len(s.Columns()))
	values[slices.Index(s.Columns(), "temp_c")], values[slices.Index(s.Columns(), "humidity")] = int64(3), 4.0
	one := s.Begin()
	if err := one.AddRow(values); err != nil {
		t.Fatal(err)
	}
	b, err := one.Reports(seven)
	if err != nil {
		t.Fatal(err)
	}
	wantRows(t, tableOf(t, s, b, "weather_averages"), []row{{"state": "", "avg_temp_c": 3.0, "avg_humidity": 4.0}})
}

// TestFaults: every fault of a configuration is told, with its key.
func TestFaults(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`[]`, "reports: there is none"},
		{`[{values: [{mean: temp_c}]}]`, "reports[0].table: is missing"},
		{`[{table: x}]`, "reports[0].values: there is none"},
		{`[{table: x, values: [{}]}]`, "reports[0].values[0]: names 0 aggregations"},
		{`[{table: x, values: [{min: temp_c, max: temp_c}]}]`, "reports[0].values[0]: names 2 aggregations"},
		{`[{table: x, group: [""], values: [{min: temp_c}]}]`, "reports[0].group[0]: is empty"},
		{`[{table: x, group: [hour], values: [{min: temp_c}]}]`, "reports[0].group[0]: every report has a column"},
		{`[{table: x, group: [state, state], values: [{min: temp_c}]}]`, "reports[0].group[1]: there is a column"},
		{`[{table: x, group: [state], member: state, values: [{min: temp_c}]}]`, "reports[0].member: there is a column"},
		{`[{table: x, values: [{min: temp_c}, {min: temp_c}]}]`, `reports[0].values[1].as: there is a column "min_temp_c"`},
		{`[{table: x, group: [state], values: [{min: temp_c, as: state}]}]`, "reports[0].values[0].as: there is"},
		{`[{table: x, values: [{min: temp_c, as: revision}]}]`, "reports[0].values[0].as: every report"},
		{`[{table: x, member: state, values: [{mean: temp_c}]}]`, "reports[0].values[0].mean: a report with a member"},
		{`[{table: x, values: [{percentile: temp_c}]}]`, "reports[0].values[0].p: is missing"},
		{`[{table: x, values: [{percentile: temp_c, p: 101}]}]`, "reports[0].values[0].p: is 101"},
		{`[{table: x, values: [{percentile: temp_c, p: -1}]}]`, "reports[0].values[0].p: is -1"},
		{`[{table: x, values: [{percentile: temp_c, p: .nan}]}]`, "reports[0].values[0].p: is NaN"},
		{`[{table: x, values: [{mean: temp_c, p: 5}]}]`, "reports[0].values[0].p: is for percentile alone"},
		{`[{table: x, values: [{argmin: temp_c}]}]`, "reports[0].values[0].member: is missing"},
		{`[{table: x, values: [{min: temp_c, member: state}]}]`, "reports[0].values[0].member: is for argmin"},
		{`[{table: x, values: [{min: temp_c}]}, {table: x, values: [{min: temp_c}]}]`, `reports[1].table: "x" is there twice`},
		{`[{table: a.b, values: [{min: temp_c, as: c}]}, {table: a, values: [{min: temp_c, as: b.c}]}]`,
			`reports[1].table: a column of another report is called "a.b.c"`},
		{`[{table: x, group: [city], values: [{min: temp_c}]}]`, `reports[0].group[0]: the rows have no column "city"`},
		{`[{table: x, member: city, values: [{min: temp_c}]}]`, `reports[0].member: the rows have no column "city"`},
		{`[{table: x, values: [{min: temp_f}]}]`, `reports[0].values[0].min: the rows have no column "temp_f"`},
		{`[{table: x, values: [{argmax: temp_c, member: city}]}]`, "reports[0].values[0].member: the rows"},
		{`[{table: x, values: [{mean: state}]}]`, `reports[0].values[0].mean: column "state" is utf8, want one of numbers`},
		{`[{table: x, group: [state], values: [{sum: state}]}]`, `reports[0].values[0].sum: column "state" is utf8`},
		{`[{table: x, values: [{max: is_day}]}]`, "reports[0].values[0].max: column"},
	} {
		_, err := New(parsed(t, c.text), schema)
		if !fault.Is(err, fault.Permanent) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.text, err, c.want)
		}
	}
	all := parsed(t, `[{values: [{percentile: temp_c, p: 200}, {argmax: temp_c}, {}]}]`).Validate()
	if len(all) != 4 {
		t.Errorf("got %d faults, want 4: %v", len(all), all)
	}
	if got := parsed(t, `[{table: x, values: [{min: a}, {max: b}]}]`).Fits(schema); len(got) != 2 {
		t.Errorf("got %v, want both columns", got)
	}
}

func TestNames(t *testing.T) {
	for want, v := range map[string]Value{"avg_x": {Mean: "x"}, "min_x": {Min: "x"}, "max_x": {Max: "x"}, "sum_x": {Sum: "x"},
		"count_x": {Count: "x"}, "p95_x": {Percentile: "x", P: new(95.0)}, "p99_9_x": {Percentile: "x", P: new(99.9)},
		"argmin_x": {ArgMin: "x"}, "argmax_x": {ArgMax: "x"}, "y": {ArgMax: "x", As: "y"}} {
		if got := v.Name(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// hourOf makes a window of 44,000 rows of 50 states.
func hourOf(b *testing.B) arrow.RecordBatch {
	rng := rand.New(rand.NewPCG(3, 4))
	build := array.NewRecordBuilder(memory.DefaultAllocator, schema.Schema)
	for i := range 44_000 {
		build.Field(0).(*array.TimestampBuilder).Append(arrow.Timestamp(i))
		build.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("%05d", i))
		build.Field(2).(*array.StringBuilder).Append(fmt.Sprintf("State %d", rng.IntN(50)))
		build.Field(3).(*array.Float64Builder).Append(float64(rng.IntN(600)-200) / 10)
		build.Field(4).(*array.Float64Builder).Append(float64(9000+rng.IntN(2000)) / 10)
		build.Field(5).(*array.Int64Builder).Append(int64(rng.IntN(100)))
		build.Field(6).(*array.Float64Builder).Append(float64(rng.IntN(100)) / 10)
		build.Field(7).AppendNull()
		build.Field(8).AppendNull()
	}
	return build.NewRecordBatch()
}

// BenchmarkWeather computes both reports of WeatherVane of one of its hours, from batches.
func BenchmarkWeather(b *testing.B) {
	hour := hourOf(b)
	s, err := New(Weather(), schema)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		c := s.Begin()
		for at := int64(0); at < hour.NumRows(); at += 10_000 {
			if err := c.Add(hour.NewSlice(at, min(at+10_000, hour.NumRows()))); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := c.Reports(seven); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*44_000/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkWeatherRows is the same by single rows.
func BenchmarkWeatherRows(b *testing.B) {
	hour := hourOf(b)
	s, err := New(Weather(), schema)
	if err != nil {
		b.Fatal(err)
	}
	var rows [][]any
	for at := range int(hour.NumRows()) {
		values := make([]any, len(s.Columns()))
		for i, name := range s.Columns() {
			values[i] = hour.Column(hour.Schema().FieldIndices(name)[0]).GetOneForMarshal(at)
		}
		rows = append(rows, values)
	}
	for b.Loop() {
		c := s.Begin()
		for _, values := range rows {
			if err := c.AddRow(values); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := c.Reports(seven); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*44_000/b.Elapsed().Seconds(), "rows/s")
}
