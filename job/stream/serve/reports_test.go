package serve

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/connector"
	"holdfast/tests/testenv"
)

// table is an answer of /api/v1/reports in JSON.
type table struct {
	Table string           `json:"table"`
	Rows  []map[string]any `json:"rows"`
	More  bool             `json:"more"`
}

func (r *rig) table(query string) (out table) {
	r.t.Helper()
	s := r.wants("/api/v1/reports?"+query, 200)
	if err := json.Unmarshal([]byte(s.body), &out); err != nil {
		r.t.Fatalf("%s: %v in %s", query, err, s.body)
	}
	return out
}

func TestReports(t *testing.T) {
	r := start(t, Config{Tables: weather(t).tables()}).opened()
	r.wants("/api/v1/reports", 200, `"table":"weather_averages"`, `"filters":["state","zip_code","hour"]`)
	for query, want := range map[string]int{
		"table=weather_averages":                                                          8,
		"table=weather_averages&state=Alaska":                                             5,
		"table=weather_averages&state=Alaska&hour=7":                                      2,
		"table=weather_averages&hour=07":                                                  5,
		"table=weather_averages&from=2023-09-20":                                          3,
		"table=weather_averages&to=2023-09-20":                                            5,
		"table=weather_averages&from=2023-09-19T07:00:00Z&to=2023-09-19T08:00:00Z":        2,
		"table=weather_averages&from=2023-09-19T09:00:00%2B02:00&to=2023-09-19T07:00:01Z": 2,
		"table=weather_averages&state=Ohio":                                               0,
		"table=zip_code_extremes&zip_code=99501":                                          2,
		"table=zip_code_extremes&zip_code=99501&state=Alaska&hour=8&format=json":          1,
		"table=weather_averages&limit=8":                                                  8,
		"table=weather_averages&limit=1000000":                                            8,
	} {
		if got := r.table(query); len(got.Rows) != want || got.More {
			t.Errorf("%s: got %d rows, more %v, want %d", query, len(got.Rows), got.More, want)
		}
	}
	for limit := range 7 {
		if got := r.table(fmt.Sprintf("table=weather_averages&limit=%d", limit+1)); len(got.Rows) != limit+1 || !got.More {
			t.Errorf("limit %d: got %d rows, more %v", limit+1, len(got.Rows), got.More)
		}
	}
	s := r.get("/api/v1/reports?table=zip_code_extremes&hour=8")
	if want := `{"table":"zip_code_extremes","rows":[` + "\n" + `{"time":"2023-09-19T08:00:00Z","state":"Alaska",` +
		`"zip_code":"99501","hour":"08","min_temp_c":5,"max_temp_c":5,"min_pressure_mb":null,"max_pressure_mb":null,` +
		`"min_humidity":null,"max_humidity":null,"min_precip_mm":null,"max_precip_mm":null,"complete":true,"lost":0,` +
		`"revision":1}` + "\n" + `],"more":false}` + "\n"; s.body != want {
		t.Errorf("got\n%swant\n%s", s.body, want)
	}
}

func TestReportsInCSV(t *testing.T) {
	l := weather(t)
	hostile := []string{"=1+1", "+1", "-1", "@SUM(A1)", `say "hi"`, "a,b", "a\nb", "a\r\nb", " a ", "",
		"日本 🌍", "\t=1", "'=1"}
	for i, name := range hostile {
		l.write(averages, average(at(21, i), name, 1))
	}
	r := start(t, Config{Tables: l.tables()}).opened()
	for _, ask := range [][]string{{"&format=csv"}, {"", "Accept", "text/csv"}, {"", "Accept", "text/csv;q=1, */*;q=0.1"}} {
		s := r.get("/api/v1/reports?table=weather_averages&from=2023-09-21"+ask[0], ask[1:]...)
		s.check(t, "csv", 200)
		if s.header.Get("Content-Type") != csvType || s.header.Get("Vary") != "Accept" ||
			s.header.Get("Content-Disposition") != "attachment; filename=weather_averages.csv" ||
			s.header.Get(moreHeader) != "false" {
			t.Errorf("%v: got %v", ask, s.header)
		}
		lines, err := csv.NewReader(strings.NewReader(s.body)).ReadAll()
		if err != nil || len(lines) != len(hostile)+1 {
			t.Fatalf("%v: got %d lines, %v", ask, len(lines), err)
		}
		if want := columnsOf(averages); !slices.Equal(lines[0], want) {
			t.Errorf("got %v, want %v", lines[0], want)
		}
		for i, name := range hostile {
			name = strings.ReplaceAll(name, "\r\n", "\n") // so reads Go's reader
			got, want := lines[i+1], []string{at(21, i).Format(time.RFC3339), name, fmt.Sprintf("%02d", i), "1", "999",
				"50.5", "", "true", "0", "1"}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		if !strings.Contains(s.body, "\n"+`"2023-09-21T00:00:00Z","=1+1","00",1,999,50.5,,true,0,1`+"\n") {
			t.Errorf("got %s", s.body)
		}
	}
	s := r.get("/api/v1/reports?table=weather_averages&limit=3", "Accept", "text/csv")
	if n := strings.Count(s.body, "\n"); n != 4 || s.header.Get(moreHeader) != "true" {
		t.Errorf("three rows: got %d lines, %v", n, s.header)
	}
	s = r.get("/api/v1/reports?table=weather_averages&format=json", "Accept", "text/csv")
	if s.header.Get("Content-Type") != jsonType {
		t.Errorf("the parameter has the last word: got %v", s.header)
	}
	s = r.get("/api/v1/reports?table=weather_averages&format=csv&state=Ohio")
	if want := "\"" + strings.Join(columnsOf(averages), `","`) + "\"\n"; s.body != want {
		t.Errorf("nothing: got %q, want %q", s.body, want)
	}
}

func TestValues(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"}
	values := []any{nil, true, int64(math.MinInt64), 1e300, math.NaN(), math.Inf(-1), "<\u2028\x00\xff", -0.5, 1e6, 1e-7,
		time.Date(2023, 9, 19, 7, 0, 0, 5000, time.FixedZone("", 3600))}
	got := string(appendObject(nil, names, values))
	if want := `{"a":null,"b":true,"c":-9223372036854775808,"d":1e+300,"e":null,"f":null,"g":"<` + "\u2028" +
		`\u0000` + "\ufffd" + `","h":-0.5,"i":1000000,"j":1e-07,"k":"2023-09-19T06:00:00.000005Z"}`; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if !json.Valid([]byte(got)) {
		t.Error("that is no JSON")
	}
	got = string(appendRecord(nil, values))
	if want := `,true,-9223372036854775808,1e+300,,,"<` + "\u2028\x00\ufffd" + `",-0.5,1000000,1e-07,` +
		`"2023-09-19T06:00:00.000005Z"` + "\n"; got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// many gives n rows of averages.
func many(n int, meanwhile func()) *faulty {
	return &faulty{rows: func(ctx context.Context, q connector.TableQuery, yield func([]any) error) error {
		values := make([]any, len(q.Columns))
		for c := range values {
			values[c] = float64(c) + 0.125
		}
		values[0], values[1], values[2] = at(19, 7), "Alaska", "07"
		for i := range n {
			if i%1000 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if i%100_000 == 0 && meanwhile != nil {
				meanwhile()
			}
			if err := yield(values); err != nil {
				return err
			}
		}
		return nil
	}}
}

// lineCounter counts lines, and keeps the last bytes.
type lineCounter struct {
	lines int
	last  []byte
}

func (l *lineCounter) Write(b []byte) (int, error) {
	l.lines += bytes.Count(b, []byte("\n"))
	l.last = append(l.last, b...)
	l.last = l.last[max(0, len(l.last)-100):]
	return len(b), nil
}

// TestManyRows: a million rows go through in the memory of a few.
func TestManyRows(t *testing.T) {
	const most = 16 << 20
	var highest uint64
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	r := start(t, Config{Tables: many(mostRows+5, func() { highest = max(highest, heap()) })}).opened()
	for _, format := range []string{"json", "csv"} {
		before := heap()
		highest = 0
		res, err := r.client.Get("http://" + r.job.Addr() + "/api/v1/reports?table=weather_averages&limit=1000000&format=" +
			format)
		if err != nil {
			t.Fatal(err)
		}
		var got lineCounter
		_, err = io.Copy(&got, res.Body)
		res.Body.Close()
		whole := got.lines == mostRows+2 && strings.HasSuffix(string(got.last), "\n],\"more\":true}\n")
		if format == "csv" {
			whole = got.lines == mostRows+1 && res.Trailer.Get(moreHeader) == "true"
		}
		if err != nil || !whole {
			t.Errorf("%s: got %d lines, %v, the last %q, %v", format, got.lines, err, got.last, res.Trailer)
		}
		if grown := int64(highest) - int64(before); grown > most {
			t.Errorf("%s: the heap grew by %d MB", format, grown>>20)
		}
	}
	k, ok := r.job.last.find("reports?format=csv&limit=1000000&table=weather_averages#csv")
	if !ok || k.body != nil {
		t.Errorf("such an answer is not kept, but that there was one: got %v", ok)
	}
}

// TestBrokenOff: an answer that can't go on has no end that looks like one.
func TestBrokenOff(t *testing.T) {
	rows := 3000
	var fails error
	tables := &faulty{}
	tables.rows = func(ctx context.Context, q connector.TableQuery, yield func([]any) error) error {
		if err := many(rows, nil).rows(ctx, q, yield); err != nil {
			return err
		}
		return fails
	}
	r := start(t, Config{Tables: tables}).opened()
	for _, format := range []string{"json", "csv"} {
		path := "/api/v1/reports?table=weather_averages&format=" + format
		fails, rows = nil, 3000
		whole := r.wants(path, 200)
		fails = errTest
		if s := r.get(path); s.broken == nil || len(s.body) > len(whole.body) {
			t.Errorf("%s: got %d and %d bytes, which look whole", format, s.status, len(s.body))
		}
		r.reopened()
		rows = 10 // nothing is sent yet: the error can be told
		s := r.wants(path, 503, errTest.Error(), "age_seconds")
		if f := s.failure(t); len(f.Last) == 0 || s.header.Get("Content-Disposition") != "" {
			t.Errorf("%s: got %v %.200s", format, s.header, s.body)
		}
		r.reopened()
	}
	if notes := fmt.Sprint(r.job.Notes()); !strings.Contains(notes, "[answers broken off 2]") {
		t.Errorf("got the notes %s", notes)
	}
}

// TestSlowClient: who does not read loses its place, and nobody else waits for it.
func TestSlowClient(t *testing.T) {
	ended := make(chan error, 1)
	tables := many(mostRows, nil)
	rows := tables.rows
	tables.rows = func(ctx context.Context, q connector.TableQuery, yield func([]any) error) error {
		if q.Limit < mostRows {
			return nil
		}
		err := rows(ctx, q, yield)
		ended <- err
		return err
	}
	r := start(t, Config{Tables: tables, AtOnce: 8}, func(j *Job) {
		j.patience = time.Second
	}).opened()
	conn, err := net.Dial("tcp", r.job.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /api/v1/reports?table=weather_averages&limit=1000000 HTTP/1.1\r\n"+
		"Host: localhost\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	for waiting := true; waiting; asked++ {
		select {
		case err := <-ended:
			if err == nil || !strings.Contains(err.Error(), errUnsent.Error()) {
				t.Errorf("the rows ended with %v", err)
			}
			waiting = false
		default:
			r.wants("/api/v1/reports?table=zip_code_extremes", 200)
		}
	}
	if asked < 3 {
		t.Errorf("%d questions were answered meanwhile", asked)
	}
	testenv.Until(t, soon, "the places are free", func() bool {
		return len(r.job.places.all) == 0 && len(r.job.places.long) == 0
	})
	if !r.job.Gates()[0].Open {
		t.Errorf("a slow client closed the gate: %+v", r.job.Gates()[0])
	}
}

// TestTakingItsTime: the clock of the database stands still while the client is waited for.
func TestTakingItsTime(t *testing.T) {
	const timeout = 1500 * time.Millisecond
	const rows = 100_000 // more than the buffers between us hold
	r := start(t, Config{Tables: many(rows, nil), Timeout: timeout}).opened()
	res, err := r.client.Get("http://" + r.job.Addr() + "/api/v1/reports?table=weather_averages&limit=1000000")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	time.Sleep(2 * timeout) // this is the slow client
	var got lineCounter
	if _, err := io.Copy(&got, res.Body); err != nil || got.lines != rows+2 {
		t.Errorf("got %d lines, %v", got.lines, err)
	}
}

// TestClientGoesAway: a question ends with who asked it.
func TestClientGoesAway(t *testing.T) {
	asked, ended := make(chan bool), make(chan error, 1)
	r := start(t, Config{Timeout: soon, Tables: &faulty{rows: func(ctx context.Context, _ connector.TableQuery,
		_ func([]any) error) error {
		close(asked)
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}}}).opened()
	conn, err := net.Dial("tcp", r.job.Addr())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "GET /api/v1/reports?table=weather_averages HTTP/1.1\r\nHost: localhost\r\n\r\n")
	<-asked
	conn.Close()
	select {
	case <-ended:
	case <-time.After(soon):
		t.Fatal("the question goes on for nobody")
	}
	testenv.Until(t, soon, "it is counted", func() bool {
		return strings.Contains(fmt.Sprint(r.job.Notes()), "broken off 1")
	})
	if !r.job.Gates()[0].Open {
		t.Errorf("it closed the gate: %+v", r.job.Gates()[0])
	}
}
