package tabletest

import (
	"slices"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
)

// nothingYet: what nothing was written to has no rows, and a reader that was open before sees the first.
func nothingYet(d *driver) {
	d.gives(d.query())
	d.newest(d.query(), time.Time{})
	rows := hours(2)
	d.write(rows...)
	d.gives(d.query(), rows...)
	d.newest(d.query(), noon.Add(time.Hour))
	other := d.query()
	other.Table += "_other"
	d.gives(other)
	d.newest(other, time.Time{})
	d.write(Row{Time: noon.Unix() + 7200, ZipCode: "1", State: "Ohio"})
	d.newest(d.query(), noon.Add(2*time.Hour))
}

// values: every value is what was written, of the type that the contract says, in the order of Columns.
func values(d *driver) {
	rows := []Row{
		{Time: noon.Unix(), ZipCode: "00501", State: "New York", TempC: -0.1, Humidity: 1<<62 + 1, Revision: -1,
			Complete: true, Name: "Holtsville"},
		{Time: noon.Unix() + 1, ZipCode: "1e5", State: "12", TempC: 21, Humidity: 0, Revision: 1<<63 - 1,
			Name: "1.5"},
		{Time: noon.Unix() + 2, ZipCode: "true", State: "null", TempC: 1.7976931348623157e308, Humidity: -1 << 63,
			Revision: 7, Complete: true, Name: "2026-01-02T12:00:00Z"},
	}
	d.write(rows...)
	q := d.query()
	d.gives(q, rows...)
	for _, columns := range [][]string{{"revision", "time", "zip_code"}, {"complete"}, {"state"}, {"time"},
		{"name", "temp_c"}} {
		q.Columns = columns
		d.gives(q, rows...)
	}
}

// nulls: a null is nil, and its row is a row, whatever else of it is asked for.
func nulls(d *driver) {
	rows := hours(4)
	rows[1].Name, rows[2].Name = "", ""
	d.write(rows...)
	q := d.query()
	d.gives(q, rows...)
	q.Columns = []string{"name"}
	d.gives(q, rows...)
	q.Columns = []string{"zip_code", "name", "time"}
	d.gives(q, rows...)
	q.Equal = map[string]string{"name": "Ketchikan"}
	d.gives(q, rows[0], rows[3])
}

// bounds: From is within, To is not, and either may be missing.
func bounds(d *driver) {
	rows := hours(5)
	d.write(rows...)
	at := func(i int) time.Time { return time.Unix(rows[i].Time, 0) }
	const ns = time.Nanosecond
	for _, c := range []struct {
		from, to    time.Time
		first, last int // of the rows, last not within
	}{
		{time.Time{}, time.Time{}, 0, 5},
		{at(1), time.Time{}, 1, 5},
		{time.Time{}, at(3), 0, 3},
		{at(1), at(3), 1, 3},
		{at(1), at(1).Add(ns), 1, 2},
		{at(1).Add(ns), at(3).Add(ns), 2, 4},
		{at(1).Add(-ns), at(3).Add(-ns), 1, 3},
		{at(1).Add(500 * time.Millisecond), at(2), 2, 2},
		{at(2), at(2), 2, 2},
		{at(3), at(1), 3, 3},
		{at(4).Add(time.Second), time.Time{}, 5, 5},
		{time.Time{}, at(0), 0, 0},
		{at(1).In(time.FixedZone("far", -11*3600)), at(3).In(time.FixedZone("away", 13*3600)), 1, 3},
		{time.Date(1000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), 0, 5},
		{time.Date(9998, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), 5, 5},
	} {
		q := d.query()
		q.From, q.To = c.from, c.to
		want := rows[c.first:c.last]
		d.gives(q, want...)
		last := time.Time{}
		if len(want) > 0 {
			last = time.Unix(want[len(want)-1].Time, 0)
		}
		d.newest(q, last)
	}
}

// farAway: times before 1970 and long after today.
func farAway(d *driver) {
	rows := []Row{{Time: time.Date(1800, 1, 1, 0, 0, 0, 0, time.UTC).Unix()}, {Time: -1}, {Time: 0}, {Time: 1},
		{Time: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).Unix()}}
	for i := range rows {
		rows[i].ZipCode, rows[i].State = "99950", "Alaska"
	}
	d.write(rows...)
	q := d.query()
	d.gives(q, rows...)
	q.To = time.Unix(0, 0)
	d.gives(q, rows[:2]...)
	d.newest(q, time.Unix(-1, 0))
	q.From, q.To = time.Unix(-1, 1), time.Time{}
	d.gives(q, rows[2:]...)
	d.newest(q, time.Unix(rows[4].Time, 0))
}

// order: rows come by time, in whatever order and deliveries they were written.
func order(d *driver) {
	rows := hours(60)
	for i := range 20 { // and some share a time
		r := rows[i*3]
		r.ZipCode = "00001"
		rows = append(rows, r)
	}
	for part := range slices.Chunk(mixed(rows), 17) {
		d.write(part...)
	}
	d.gives(d.query(), byTime(rows)...)
}

// mixed returns rows in another order, the same every time.
func mixed(rows []Row) []Row {
	out := make([]Row, 0, len(rows))
	const step = 7
	for first := range step {
		for i := len(rows) - 1 - first; i >= 0; i -= step {
			out = append(out, rows[i])
		}
	}
	return out
}

func byTime(rows []Row) []Row {
	return slices.SortedStableFunc(slices.Values(rows), func(a, b Row) int { return int(a.Time - b.Time) })
}

// equal: columns must have exactly these texts.
func equal(d *driver) {
	rows := hours(6)
	rows[2].State, rows[4].Name = "alaska", "Ward Cove"
	d.write(rows...)
	for _, c := range []struct {
		equal map[string]string
		want  []int
	}{
		{map[string]string{"state": "Alaska"}, []int{0, 4}},
		{map[string]string{"state": "alaska"}, []int{2}},
		{map[string]string{"state": "Alaska", "zip_code": "99950"}, []int{0, 4}},
		{map[string]string{"state": "Alaska", "name": "Ketchikan"}, []int{0}},
		{map[string]string{"name": "Ward Cove"}, []int{4}},
		{map[string]string{"state": "Ohio"}, nil},
		{map[string]string{"state": "Alask"}, nil},
		{map[string]string{"state": "Alask_"}, nil},
		{map[string]string{"state": "%"}, nil},
		{map[string]string{"state": "/.*/"}, nil},
		{map[string]string{"state": "Alaska", "zip_code": "1"}, nil},
	} {
		q := d.query()
		q.Equal = c.equal
		var want []Row
		for _, i := range c.want {
			want = append(want, rows[i])
		}
		d.gives(q, want...)
	}
	q := d.query()
	q.Equal, q.From = map[string]string{"state": "Texas"}, time.Unix(rows[3].Time, 0)
	d.gives(q, rows[3], rows[5])
}

// hostile are texts that mean something in a query language, a pattern or a line protocol.
var hostile = []string{`x' OR 1=1 --`, `x' OR '1'='1`, `'`, `''`, `"`, `"; DROP TABLE weather; --`,
	`'; DROP TABLE weather; --`, `a\b`, `a\'b`, `\' OR 1=1 --`, `a\\b`, `$state`, `$1`, `?1`, `:name`, `%s`, `%`,
	`_`, `/.*/`, `a,b=c d`, `a b `, ` a`,
	`New York`, `日本 Zürich 🌍`, `null`, `NULL`, `1`, `true`, `-- x`, `/* x */`, `;`, `{"a":1}`}

// hostileTexts: a text is data, whatever it says.
func hostileTexts(d *driver) {
	rows := make([]Row, len(hostile))
	for i, s := range hostile {
		rows[i] = Row{Time: noon.Unix() + int64(i), ZipCode: "1", State: s, Name: s}
	}
	d.write(rows...)
	d.gives(d.query(), rows...)
	for i, s := range hostile {
		q := d.query()
		q.Equal = map[string]string{"state": s}
		d.gives(q, rows[i])
		d.newest(q, time.Unix(rows[i].Time, 0))
		q.Equal = map[string]string{"name": s}
		d.gives(q, rows[i])
	}
	for _, s := range []string{"\x00", "a\x00b", "\xff", "\n", `a\`, `\`, strings.Repeat("'", 10_000)} {
		q := d.query()
		q.Equal = map[string]string{"state": s}
		d.gives(q)
		d.newest(q, time.Time{})
	}
	d.gives(d.query(), rows...)
}

// hostileNames: so is a name; of tables and columns that are not there it says nothing else than any other.
func hostileNames(d *driver) {
	rows := hours(2)
	d.write(rows...)
	for _, s := range append(slices.Clone(hostile), "\x00", "\xff", `a\`, "a.b", `a"."b`, d.tg.Table+`" --`,
		d.tg.Table+"\x00x") {
		q := d.query()
		q.Table = s
		d.gives(q)
		d.newest(q, time.Time{})
		d.unknown(s)
	}
	d.gives(d.query(), rows...)
}

// missingColumn: a column that is not there is told by name, or has no values.
func missingColumn(d *driver) {
	d.write(hours(3)...)
	const name = "pressure_mb"
	errs := d.unknown(name)
	if d.tg.Loose != "" {
		return
	}
	q := d.query()
	q.Time = name
	for _, err := range append(errs, d.refused(d.in(), d.tables, q, fault.Permanent)...) {
		if err != nil && !strings.Contains(err.Error(), name) {
			d.Errorf("got %v, want the name of the column", err)
		}
	}
}

// unknown asks for a column that there is not, and returns the errors.
func (d *driver) unknown(name string) []error {
	d.Helper()
	columns, equal := d.query(), d.query()
	columns.Columns = []string{"temp_c", name}
	equal.Equal = map[string]string{name: "1"}
	got, err := d.ask(d.in(), columns)
	if d.tg.Loose != "" {
		if err != nil || len(got) == 0 || !strings.HasSuffix(got[0], ", <nil> <nil>") {
			d.Errorf("column %q: got %q %v, want null in every row", name, got, err)
		}
		d.gives(equal)
		d.newest(equal, time.Time{})
		return nil
	}
	if !fault.Is(err, fault.Permanent) {
		d.Errorf("column %q: got %v (kind %v), want permanent", name, err, fault.KindOf(err))
	}
	return append(d.refused(d.in(), d.tables, equal, fault.Permanent), err)
}

// limit: the first rows in the order of time.
func limit(d *driver) {
	rows := hours(10)
	d.write(mixed(rows)...)
	q := d.query()
	for n, want := range map[int]int{1: 1, 3: 3, 10: 10, 1000: 10, 0: 10} {
		q.Limit = n
		d.gives(q, rows[:want]...)
	}
	q.Limit, q.From, q.Equal = 2, time.Unix(rows[3].Time, 0), map[string]string{"state": "Alaska"}
	d.gives(q, rows[4], rows[6])
	d.newest(q, time.Unix(rows[8].Time, 0)) // it looks at no limit
}

// newest: with bounds and texts it is the newest of the rows that fit.
func newest(d *driver) {
	rows := hours(7)
	d.write(mixed(rows)...)
	at := func(i int) time.Time { return time.Unix(rows[i].Time, 0) }
	q := d.query()
	d.newest(q, at(6))
	q.Columns = nil
	d.newest(q, at(6))
	q.Columns = []string{"no such column"}
	d.newest(q, at(6))
	q = d.query()
	q.Equal = map[string]string{"state": "Texas"}
	d.newest(q, at(5))
	q.To = at(5)
	d.newest(q, at(3))
	q.From = at(4)
	d.newest(q, time.Time{})
	q.Equal = map[string]string{"state": "Ohio"}
	q.From, q.To = time.Time{}, time.Time{}
	d.newest(q, time.Time{})
}

// large: an answer that does not fit into one message is whole.
func large(d *driver) {
	rows := make([]Row, d.tg.Large)
	for i := range rows {
		zip := string(rune('a'+i%100/10)) + string(rune('a'+i%10))
		rows[i] = Row{Time: noon.Unix() + int64(i/100), ZipCode: zip, State: "Texas", TempC: float64(i),
			Humidity: int64(i)}
	}
	for part := range slices.Chunk(rows, 4000) { // in less than the time-out, also on a busy machine
		d.write(mixed(part)...)
	}
	d.gives(d.query(), rows...)
	q := d.query()
	q.Columns, q.Equal = []string{"humidity"}, map[string]string{"zip_code": "jj"}
	var want []Row
	for i := 99; i < len(rows); i += 100 {
		want = append(want, rows[i])
	}
	d.gives(q, want...)
	d.newest(q, time.Unix(want[len(want)-1].Time, 0))
}

// everything is a query for rows of which only their number counts.
func (d *driver) everything() connector.TableQuery {
	q := d.query()
	q.Columns = []string{"time", "humidity"}
	return q
}
