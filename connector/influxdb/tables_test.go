package influxdb

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/sinktest"
	"holdfast/connector/tabletest"
	"holdfast/tests/testenv"
)

// TestTables runs the suite of readers on a real server: knowing of no field, and knowing which are in
// every point.
func TestTables(t *testing.T) {
	for _, always := range [][]string{nil, {"revision", "temp_c"}} {
		t.Run(fmt.Sprint(always), func(t *testing.T) {
			tabletest.Run(t, func(t *testing.T) *tabletest.Target { return readerTarget(t, always) })
		})
	}
}

func readerTarget(t *testing.T, always []string) *tabletest.Target {
	s := newServer(t, "")
	c := Config{URL: "http://" + s.proxy.Addr(), Database: "d", Measurement: "weather", Username: "admin",
		Password: "geheim123", Create: true, Tags: []string{"zip_code", "state"}, Precision: "s", Unique: true,
		Timeout: time.Second}
	return &tabletest.Target{
		Table:   c.Measurement,
		Sink:    func() (connector.Sink, error) { return New(c) },
		Open:    func() (connector.Tables, error) { return OpenTables(c, always...) },
		Timeout: time.Second,
		Loose:   "a field that nothing was written to is unknown to the server",
		Away:    sinktest.HookOf(s.proxy.Down, s.proxy.Up),
		Restart: sinktest.HookOf(s.Kill, s.Restart),
		Freeze:  sinktest.HookOf(s.Freeze, s.Thaw),
		Denied: tabletest.Denied{Open: func() (connector.Tables, error) {
			c := c
			c.Password = "wrong"
			return OpenTables(c)
		}},
	}
}

// tablesAt is a reader of database d, with what goes over its wire.
func tablesAt(t *testing.T, s *testenv.InfluxServer, always ...string) (*Tables, *wire) {
	t.Helper()
	tables, err := OpenTables(Config{URL: "http://" + s.Addr(), Database: "d", Username: "admin", Password: "geheim123"},
		always...)
	if err != nil {
		t.Fatal(err)
	}
	w := wired(tables.c)
	t.Cleanup(func() { _ = tables.Close() })
	return tables, w
}

// readAll returns the rows of an answer.
func readAll(t *testing.T, tables *Tables, q connector.TableQuery) (rows []string) {
	t.Helper()
	err := tables.Rows(t.Context(), q, func(values []any) error {
		texts := make([]string, len(values))
		for i, v := range values {
			texts[i] = fmt.Sprintf("%T %[1]v", v)
		}
		rows = append(rows, strings.Join(texts, ", "))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestTablesOfOthers: measurements that no sink of ours has made.
func TestTablesOfOthers(t *testing.T) {
	s := testenv.Influx(t, "")
	tables, _ := tablesAt(t, s)
	q := connector.TableQuery{Table: "m", Time: "at", Columns: []string{"v", "name", "both"}}
	if rows := readAll(t, tables, q); len(rows) > 0 {
		t.Errorf("no database: got %q", rows)
	}
	s.Query(t, "", "CREATE DATABASE d")
	const week = 7 * 24 * 3600
	s.Write(t, "d", "m,name=a v=3,both=1i 1\nm v=3.5 2")
	s.Write(t, "d", fmt.Sprintf("m,name=b v=3i,both=2.5 %d\nm both=7 %d", 2*week*int64(time.Second),
		2*week*int64(time.Second)+5))
	want := []string{"float64 3, string a, float64 1", "float64 3.5, <nil> <nil>, <nil> <nil>",
		"float64 3, string b, float64 2.5", "<nil> <nil>, <nil> <nil>, float64 7"}
	if rows := readAll(t, tables, q); !slices.Equal(rows, want) {
		t.Errorf("fields of two types: got %q, want %q", rows, want)
	}
	q.Columns = []string{"at", "v", "at", "v", "time", "no\nname", ""}
	q.Limit = 1
	if rows := readAll(t, tables, q); len(rows) != 1 || strings.Count(rows[0], "time.Time 1970-01-01 00:00:00.000000001") != 3 ||
		strings.Count(rows[0], "float64 3") != 2 || !strings.HasSuffix(rows[0], "<nil> <nil>, <nil> <nil>") {
		t.Errorf("columns twice: got %q", rows)
	}
	q.Columns = nil
	if rows := readAll(t, tables, q); len(rows) != 1 || rows[0] != "" {
		t.Errorf("no columns: got %q, want a row of nothing", rows)
	}
	q.Equal = map[string]string{"name": ""} // of the points without it
	if rows := readAll(t, tables, q); len(rows) != 1 {
		t.Errorf("no name: got %q", rows)
	}
	for _, name := range []string{"v", "time", "at"} {
		q.Equal = map[string]string{name: "3"}
		err := tables.Rows(t.Context(), q, func([]any) error { return nil })
		if !fault.Is(err, fault.Permanent) || !strings.Contains(err.Error(), "column "+name+" is no text") {
			t.Errorf("the text of %s: got %v (kind %v), want permanent", name, err, fault.KindOf(err))
		}
	}
}

// TestTablesAskLittle: a field that is in every point saves the others.
func TestTablesAskLittle(t *testing.T) {
	s := testenv.Influx(t, "")
	s.Query(t, "", "CREATE DATABASE d")
	now := time.Now().UnixNano()
	s.Write(t, "d", fmt.Sprintf("m,t=x a=1,b=2,c=3 %d\nn a=1,b=2 %d\nold,t=x b=1 1", now, now))
	q := connector.TableQuery{Table: "m", Time: "time", Columns: []string{"t", "a"}}
	for _, c := range []struct {
		always []string
		table  string
		newest bool
		want   string // the questions but that for the fields
	}{
		{nil, "m", false, `SELECT "t"::tag, "a"::field, "b"::field, "c"::field FROM "m"`},
		{[]string{"c"}, "m", false, `SELECT "t"::tag, "a"::field, "c"::field FROM "m"`},
		{[]string{"c", "a"}, "m", false, `SELECT "t"::tag, "a"::field FROM "m"`},
		{[]string{"t", "d"}, "m", false, `SELECT "t"::tag, "a"::field, "b"::field, "c"::field FROM "m"`},
		{[]string{"c"}, "n", false, `SELECT "t"::tag, "a"::field, "b"::field FROM "n"`},
		{nil, "m", true, `SELECT "a"::field, "b"::field, "c"::field FROM "m" WHERE time >= $p0 ORDER BY time DESC LIMIT 1`},
		{[]string{"b"}, "m", true, `SELECT "b"::field FROM "m" WHERE time >= $p0 ORDER BY time DESC LIMIT 1`},
		{[]string{"b"}, "old", true, `SELECT "b"::field FROM "old" WHERE time >= $p0 ORDER BY time DESC LIMIT 1|` +
			`SELECT "b"::field FROM "old" WHERE time < $p0 ORDER BY time DESC LIMIT 1`},
	} {
		tables, w := tablesAt(t, s, c.always...)
		q.Table = c.table
		if c.newest {
			if _, ok, err := tables.Newest(t.Context(), q); !ok || err != nil {
				t.Fatal(ok, err)
			}
		} else if rows := readAll(t, tables, q); len(rows) != 1 {
			t.Fatalf("got %q", rows)
		}
		asked := slices.DeleteFunc(w.seen, func(s string) bool { return strings.HasPrefix(s, "SHOW") })
		if got := strings.Join(asked, "|"); got != c.want {
			t.Errorf("%s, knowing of %q:\n got %s\nwant %s", c.table, c.always, got, c.want)
		}
	}
}

// TestOpenTables: a bucket is refused, and what no server is at.
func TestOpenTables(t *testing.T) {
	for _, c := range []Config{{Bucket: "b", Token: "geheim123"}, {}, {Database: "d", URL: "localhost"}} {
		if _, err := OpenTables(c); !fault.Is(err, fault.Permanent) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%+v: got %v (kind %v), want permanent", c, err, fault.KindOf(err))
		}
	}
	tables, err := OpenTables(Config{Database: "d", Replace: "revision"})
	if err != nil || !tables.always["revision"] || tables.always[""] {
		t.Errorf("got %+v %v, want one that knows that the revision is in every point", tables, err)
	}
}

// TestTablesOfFarTimes: of a time that the server can't hold it has nothing, which is not said of one that was not asked.
func TestTablesOfFarTimes(t *testing.T) {
	s := testenv.Influx(t, "")
	tables, _ := tablesAt(t, s)
	s.Query(t, "", "CREATE DATABASE d")
	s.Write(t, "d", "m v=3 1")
	day := func(year int) time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
	for _, away := range []bool{false, true} {
		if away {
			s.Kill()
		}
		for _, q := range []connector.TableQuery{{From: day(1500), To: day(1501)}, {From: day(1), To: day(2)}, {From: day(2400)}} {
			q.Table, q.Time, q.Columns = "m", "at", []string{"v"}
			err := tables.Rows(t.Context(), q, func([]any) error { return fmt.Errorf("there is a row") })
			_, some, err2 := tables.Newest(t.Context(), q)
			if (err != nil) != away || (err2 != nil) != away || some {
				t.Errorf("from %v, away %v: got %v, %v %v", q.From, away, err, some, err2)
			}
		}
	}
}
