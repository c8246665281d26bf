package serve

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"go.uber.org/goleak"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/sqlite"
	"holdfast/job/stream/report"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
	"holdfast/tests/testenv"
)

// soon bounds every wait.
const soon = 30 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, testenv.ProxyLeaks()...) }

// rig is the role at work in an engine, and a client of it.
type rig struct {
	t      *testing.T
	job    *Job
	engine *engine.Engine
	client *http.Client
	stop   func() // ends the engine and waits
}

// start runs the role until the test ends. With change the job is changed before it runs.
func start(t *testing.T, cfg Config, change ...func(*Job)) *rig {
	t.Helper()
	cfg.Listen = cmp.Or(cfg.Listen, "127.0.0.1:0")
	made := make(chan *Job, 1)
	spec := engine.Spec{Name: "api", Kind: "stream", New: func(ctx context.Context, env engine.Env) (engine.Job, error) {
		j, err := New(ctx, env, cfg)
		if err != nil {
			return nil, err
		}
		for _, f := range change {
			f(j)
		}
		made <- j
		return j, nil
	}}
	e, err := engine.New(engine.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Room: engine.RoomLimits{Soft: 1, Hard: 1, Ballast: 1}}, []engine.Spec{spec})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	r := &rig{t: t, engine: e, client: &http.Client{Transport: new(http.Transport)}}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the engine ended with %v", err)
		}
	})
	t.Cleanup(r.client.CloseIdleConnections)
	t.Cleanup(r.stop)
	select {
	case r.job = <-made:
	case <-time.After(soon):
		t.Fatal("the job was not built")
	}
	testenv.Until(t, soon, "the job listens", func() bool { return r.job.Addr() != "" })
	return r
}

// opened waits until the database's gate is open.
func (r *rig) opened() *rig {
	r.t.Helper()
	testenv.Until(r.t, soon, "the gate is open", func() bool { return r.job.Gates()[0].Open })
	return r
}

// reopened has the closed gate opened by a canary now.
func (r *rig) reopened() {
	r.t.Helper()
	if _, err := r.job.Command(r.t.Context(), "try", nil); err != nil {
		r.t.Fatal(err)
	}
	r.opened()
}

// said is an answer.
type said struct {
	status int
	header http.Header
	body   string
	broken error // what kept it from being whole
}

// get asks for a path.
func (r *rig) get(path string, header ...string) said {
	r.t.Helper()
	return r.do(http.MethodGet, path, header...)
}

func (r *rig) do(method, path string, header ...string) said {
	r.t.Helper()
	req, err := http.NewRequest(method, "http://"+r.job.Addr()+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	res, err := r.client.Do(req)
	if err != nil {
		return said{broken: err}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	for name, values := range res.Trailer {
		res.Header[name] = values
	}
	return said{res.StatusCode, res.Header, string(body), err}
}

// wants checks status and words of an answer.
func (r *rig) wants(path string, status int, words ...string) said {
	r.t.Helper()
	got := r.get(path)
	got.check(r.t, path, status, words...)
	return got
}

func (s said) check(t *testing.T, what string, status int, words ...string) {
	t.Helper()
	if s.status != status || s.broken != nil {
		t.Errorf("%s: got %d %s %v, want %d", what, s.status, s.body, s.broken, status)
		return
	}
	for _, w := range words {
		if !strings.Contains(s.body, w) {
			t.Errorf("%s: got %s, want %q in it", what, s.body, w)
		}
	}
	if s.header.Get("Cache-Control") != "no-store" || s.header.Get("X-Content-Type-Options") != "nosniff" ||
		s.header.Get("Content-Type") == "" {
		t.Errorf("%s: got the headers %v", what, s.header)
	}
	if status >= 400 {
		f := s.failure(t)
		if f.Message == "" || f.Kind == "" || strings.Contains(s.body, "goroutine") {
			t.Errorf("%s: got %s, want the shape of an error", what, s.body)
		}
	}
}

// failure reads the answer as an error.
func (s said) failure(t *testing.T) (f Failure) {
	t.Helper()
	if err := json.Unmarshal([]byte(s.body), &f); err != nil || s.header.Get("Content-Type") != jsonType {
		t.Errorf("got %s (%s), want an error in JSON: %v", s.body, s.header.Get("Content-Type"), err)
	}
	return f
}

// events are those of a kind in the job's history.
func (r *rig) events(kind string) (out []engine.Event) {
	r.t.Helper()
	err := r.engine.WithStore("api", func(st *store.Store) error {
		return st.View(r.t.Context(), func(rd store.Reader) error {
			all, err := engine.ReadEvents(rd, 0, 1000)
			for _, e := range all {
				if e.Kind == kind {
					out = append(out, e)
				}
			}
			return err
		})
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// lite is a file of SQLite with reports in it, which the real sink writes and the real reader reads.
type lite struct {
	t    testing.TB
	path string
	next uint64
}

func newLite(t testing.TB) *lite {
	return &lite{t: t, path: filepath.Join(t.TempDir(), "weather.sqlite"), next: 1}
}

func (l *lite) tables() connector.Tables {
	l.t.Helper()
	tables, err := sqlite.OpenTables(sqlite.Config{Path: l.path})
	if err != nil {
		l.t.Fatal(err)
	}
	return tables
}

// row are the values of a row by column; missing ones are null.
type row map[string]any

// write writes rows of a report.
func (l *lite) write(of report.Report, rows ...row) {
	l.t.Helper()
	schema, batch := batchOf(of, rows)
	sink, err := sqlite.New(sqlite.Config{Path: l.path, Table: of.Table, Key: append(of.Tags(), report.Time)})
	if err != nil {
		l.t.Fatal(err)
	}
	defer sink.Close()
	if err := sink.Prepare(l.t.Context(), schema); err != nil {
		l.t.Fatal(err)
	}
	_, hash, err := record.Encode(nil, batch)
	if err != nil {
		l.t.Fatal(err)
	}
	v, err := sink.Write(l.t.Context(), connector.Delivery{Schema: schema, Rows: batch, FirstAttempt: time.Now(),
		Token: record.Token{Job: of.Table, First: l.next, Last: l.next, Hash: hash}})
	l.next++
	if err != nil || len(v.Rejected) > 0 {
		l.t.Fatalf("write %d rows of %s: %v, %v", len(rows), of.Table, v.Rejected, err)
	}
}

// batchOf makes rows a batch.
func batchOf(of report.Report, rows []row) (record.Schema, arrow.RecordBatch) {
	var fields []arrow.Field
	for _, name := range columnsOf(of) {
		f := arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Float64, Nullable: true}
		switch {
		case name == report.Time:
			f.Type, f.Nullable = arrow.FixedWidthTypes.Timestamp_s, false
		case slices.Contains(of.Tags(), name):
			f.Type, f.Nullable = arrow.BinaryTypes.String, false
		case name == report.Complete:
			f.Type = arrow.FixedWidthTypes.Boolean
		case name == report.Lost || name == report.Revision:
			f.Type = arrow.PrimitiveTypes.Int64
		}
		fields = append(fields, f)
	}
	schema := record.NewSchema(fields, "", report.Time)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema.Schema)
	for _, r := range rows {
		for i, f := range fields {
			switch to := b.Field(i).(type) {
			case *array.TimestampBuilder:
				to.Append(arrow.Timestamp(r[f.Name].(time.Time).Unix()))
			case *array.StringBuilder:
				to.Append(r[f.Name].(string))
			case *array.Float64Builder:
				if v, ok := r[f.Name].(float64); ok {
					to.Append(v)
				} else {
					to.AppendNull()
				}
			case *array.Int64Builder:
				to.Append(int64(r[f.Name].(int)))
			case *array.BooleanBuilder:
				to.Append(r[f.Name].(bool))
			}
		}
	}
	return schema, b.NewRecordBatch()
}

var (
	averages = report.Weather()[0]
	extremes = report.Weather()[1]
)

// at is an hour of the day of WeatherVane.
func at(day, hour int) time.Time { return time.Date(2023, 9, day, hour, 0, 0, 0, time.UTC) }

// average is a row of averages with one value, the other three follow from it.
func average(when time.Time, state string, temp float64) row {
	return row{"time": when, "hour": when.Format("15"), "state": state, "revision": 1, "complete": true, "lost": 0,
		"avg_temp_c": temp, "avg_pressure_mb": 1000 - temp, "avg_humidity": 50.5, "avg_precip_mm": nil}
}

// extreme is a row of extremes.
func extreme(when time.Time, state, zip string, values row) row {
	r := row{"time": when, "hour": when.Format("15"), "state": state, "zip_code": zip, "revision": 1, "complete": true,
		"lost": 0}
	for name, v := range values {
		r[name] = v
	}
	return r
}

// weather is a file with a few reports of two days.
func weather(t testing.TB) *lite {
	l := newLite(t)
	partly := average(at(20, 7), "Alaska", 3)
	partly["complete"], partly["lost"], partly["revision"] = false, 500, 2
	l.write(averages, average(at(19, 7), "Alaska", 1.5), average(at(19, 7), "Texas", 30), average(at(19, 8), "Alaska", 2),
		average(at(19, 23), "Alaska", -1), partly, average(at(20, 7), "Texas", 31), average(at(20, 7), "New York", 17.25),
		average(at(19, 0), "Alaska", 0))
	l.write(extremes,
		extreme(at(19, 7), "Alaska", "99501", row{"max_temp_c": 9.5, "min_humidity": 10.0, "min_precip_mm": 0.0}),
		extreme(at(19, 7), "Alaska", "99950", row{"min_temp_c": -4.0, "max_humidity": 99.0, "max_precip_mm": 2.5}),
		extreme(at(19, 7), "Alaska", "99603", row{"min_pressure_mb": 990.0, "max_pressure_mb": 1020.5}),
		extreme(at(19, 7), "Texas", "00501", row{"min_temp_c": 20.0, "max_temp_c": 40.0}),
		extreme(at(19, 8), "Alaska", "99501", row{"min_temp_c": 5.0, "max_temp_c": 5.0}))
	return l
}

// faulty is a database whose answers are given by the test.
type faulty struct {
	rows   func(ctx context.Context, q connector.TableQuery, yield func([]any) error) error
	newest func(ctx context.Context, q connector.TableQuery) (time.Time, bool, error)
	closed func()
}

func (f *faulty) Rows(ctx context.Context, q connector.TableQuery, yield func([]any) error) error {
	if f.rows == nil {
		return nil
	}
	return f.rows(ctx, q, yield)
}

func (f *faulty) Newest(ctx context.Context, q connector.TableQuery) (time.Time, bool, error) {
	if f.newest == nil {
		return time.Time{}, false, nil
	}
	return f.newest(ctx, q)
}

func (f *faulty) Close() error {
	if f.closed != nil {
		f.closed()
	}
	return nil
}

func TestConfigFaults(t *testing.T) {
	good := Config{Listen: "127.0.0.1:0", Tables: &faulty{}}
	for _, c := range []struct {
		want   string
		change func(*Config)
	}{
		{"", func(*Config) {}},
		{"a token is needed", func(c *Config) { c.Listen = "0.0.0.0:0" }},
		{"", func(c *Config) { c.Listen, c.Token = "0.0.0.0:0", "x" }},
		{"want host:port", func(c *Config) { c.Listen = "" }},
		{"a database is needed", func(c *Config) { c.Tables = nil }},
		{"more than 0", func(c *Config) { c.Timeout = -1 }},
		{"more than 0", func(c *Config) { c.AtOnce = -1 }},
		{"report weather: there is no such", func(c *Config) { c.Averages = "weather" }},
		{"report weather: there is no such", func(c *Config) { c.Extremes = "weather" }},
		{"want averages of groups, and extremes of", func(c *Config) { c.Extremes = averages.Table }},
		{"want averages of groups, and extremes of", func(c *Config) { c.Averages = extremes.Table }},
		{"there is none", func(c *Config) { c.Reports = report.List{} }},
		{"one column of groups", func(c *Config) {
			c.Averages, c.Reports = "a", report.List{{Table: "a", Values: []report.Value{{Mean: "x"}}}}
		}},
		{"", func(c *Config) {
			c.Reports = report.List{{Table: averagesTable, Group: []string{"a", "b"}, Values: []report.Value{{Mean: "x"}}},
				{Table: extremesTable, Group: []string{"a"}, Values: []report.Value{{Mean: "x"}}}}
		}},
		{"a parameter has that name", func(c *Config) {
			c.Reports = report.List{{Table: "a", Group: []string{"limit"}, Values: []report.Value{{Mean: "x"}}}}
		}},
		{"", func(c *Config) { c.Reports = report.List{{Table: "a", Values: []report.Value{{Mean: "x"}}}} }},
	} {
		cfg := good
		c.change(&cfg)
		_, err := New(t.Context(), engine.Env{Name: "api"}, cfg)
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) ||
			!fault.Is(err, fault.Permanent)) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// TestWhatAPersonSees are the parts of engine.Job that are for people.
func TestWhatAPersonSees(t *testing.T) {
	closed := false
	r := start(t, Config{Tables: &faulty{closed: func() { closed = true }}}).opened()
	if notes := r.job.Notes(); !slices.Equal(notes, [][2]string{{"address", "http://" + r.job.Addr() + "/"}}) {
		t.Errorf("got the notes %v", notes)
	}
	r.wants("/", 200)
	r.wants("/", 200)
	r.wants("/nowhere", 404)
	notes := r.job.Notes()
	if !slices.Contains(notes, [2]string{"answers with 200", "2"}) ||
		!slices.Contains(notes, [2]string{"answers with 404", "1"}) {
		t.Errorf("got the notes %v", notes)
	}
	if r.job.Promises() != nil || r.job.Quotas() != nil {
		t.Error("there is no sink and no quota")
	}
	if _, err := r.job.Command(t.Context(), "dance", nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("an unknown command: got %v", err)
	}
	if _, err := r.job.Command(t.Context(), "try", nil); err != nil {
		t.Errorf("try: got %v", err)
	}
	r.stop()
	if !closed || r.job.Addr() != "" {
		t.Errorf("after its end: closed %v, listens on %q", closed, r.job.Addr())
	}
	w := httptest.NewRecorder() // by the door of the console, which stays
	r.job.ServeReports(w, httptest.NewRequest("GET", "/?table=any", nil))
	if w.Code != 503 || !strings.Contains(w.Body.String(), "does not run") || w.Header().Get("Retry-After") == "" {
		t.Errorf("after its end: %d %s", w.Code, w.Body)
	}
}

// TestAddressInUse: the job fails, and the engine tries again until the address is free.
func TestAddressInUse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	j, err := New(t.Context(), engine.Env{Name: "api", Log: slog.New(slog.DiscardHandler)},
		Config{Listen: ln.Addr().String(), Tables: &faulty{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Run(t.Context()); !fault.Is(err, fault.Transient) || fault.HintOf(err) == "" {
		t.Errorf("got %v", err)
	}
	ln.Close()
}

// TestDrain: an answer under way is given when the job stops, one that takes too long is not waited for.
func TestDrain(t *testing.T) {
	for _, c := range []struct {
		name  string
		grace time.Duration
		whole bool
	}{{"in time", soon, true}, {"too late", 50 * time.Millisecond, false}} {
		t.Run(c.name, func(t *testing.T) {
			asked, answer := make(chan bool), make(chan bool)
			var under atomic.Bool
			tables := &faulty{}
			tables.rows = func(ctx context.Context, q connector.TableQuery, _ func([]any) error) error {
				under.Store(true)
				defer under.Store(false)
				close(asked)
				select {
				case <-answer:
					return nil
				case <-ctx.Done():
					time.Sleep(50 * time.Millisecond) // a driver that takes a moment to give up
					return fault.As(fault.Transient, ctx.Err())
				}
			}
			tables.closed = func() {
				if under.Load() {
					t.Error("the database is closed under a question")
				}
			}
			r := start(t, Config{Grace: c.grace, Timeout: soon, Tables: tables}).opened()
			got := make(chan said, 1)
			go func() { got <- r.get("/api/v1/reports?table=weather_averages") }()
			<-asked
			stopped := make(chan bool)
			go func() { r.stop(); close(stopped) }()
			testenv.Until(t, soon, "nothing listens", func() bool {
				conn, err := net.Dial("tcp", r.job.Addr())
				if err == nil {
					conn.Close()
				}
				return err != nil
			})
			if c.whole {
				close(answer)
			}
			if s := <-got; (s.status == 200 && s.broken == nil) != c.whole {
				t.Errorf("got %+v", s)
			}
			<-stopped
			if r.job.Gates()[0].Kind != "" {
				t.Errorf("the end of the job closed the gate: %+v", r.job.Gates()[0])
			}
		})
	}
}

var errTest = errors.New("no such luck")

// TestDrainOfTheConsole: an answer that is given through another server is not waited for beyond the grace either.
func TestDrainOfTheConsole(t *testing.T) {
	asked, release := make(chan bool), make(chan bool)
	tables := &faulty{rows: func(ctx context.Context, _ connector.TableQuery, _ func([]any) error) error {
		close(asked)
		select {
		case <-ctx.Done():
			return fault.As(fault.Transient, ctx.Err())
		case <-release:
			return nil
		}
	}}
	r := start(t, Config{Grace: 50 * time.Millisecond, Timeout: soon, Tables: tables}).opened()
	ended := make(chan any)
	go func() {
		defer func() { ended <- recover() }()
		r.job.ServeReports(httptest.NewRecorder(), httptest.NewRequest("GET", "/?table=weather_averages", nil))
	}()
	<-asked
	late := time.AfterFunc(5*time.Second, func() { close(release) })
	r.stop()
	if !late.Stop() {
		t.Error("the job waited for an answer whose grace was over")
	}
	if got := <-ended; got != http.ErrAbortHandler {
		t.Errorf("got %v, want an answer that is broken off", got)
	}
}
