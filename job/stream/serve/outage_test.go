package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/connector"
	"holdfast/connector/influxdb"
	"holdfast/tests/testenv"
)

// recovery is how long a closed gate may take to open once the database is back: a second, and as much again
// for a machine that is busy with other tests.
const recovery = 2 * time.Second

// lines are weather() for InfluxDB.
func lines() string {
	var out strings.Builder
	for _, a := range []struct {
		day, hour int
		state     string
		temp      float64
	}{{19, 7, `Alaska`, 1.5}, {19, 7, `Texas`, 30}, {20, 7, `Alaska`, 3}, {20, 7, `New\ York`, 17.25}} {
		fmt.Fprintf(&out, "weather_averages,state=%s,hour=%02d avg_temp_c=%v,avg_humidity=50.5,complete=true,lost=0i,"+
			"revision=1i %d\n", a.state, a.hour, a.temp, at(a.day, a.hour).UnixNano())
	}
	fmt.Fprintf(&out, "zip_code_extremes,state=Alaska,hour=07,zip_code=99501 max_temp_c=9.5,complete=true,lost=0i,"+
		"revision=1i %d\n", at(19, 7).UnixNano())
	fmt.Fprintf(&out, "zip_code_extremes,state=Alaska,hour=07,zip_code=99950 min_temp_c=-4,complete=true,lost=0i,"+
		"revision=1i %d\n", at(19, 7).UnixNano())
	return out.String()
}

func openInflux(t *testing.T, addr, password string) connector.Tables {
	t.Helper()
	tables, err := influxdb.OpenTables(influxdb.Config{URL: "http://" + addr, Database: "weather", Username: "admin",
		Password: secret.Text(password)})
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

// counting counts what a database is asked.
type counting struct {
	connector.Tables
	asked atomic.Int64
}

func (c *counting) Rows(ctx context.Context, q connector.TableQuery, yield func([]any) error) error {
	c.asked.Add(1)
	return c.Tables.Rows(ctx, q, yield)
}

func (c *counting) Newest(ctx context.Context, q connector.TableQuery) (time.Time, bool, error) {
	c.asked.Add(1)
	return c.Tables.Newest(ctx, q)
}

// influx is a real server with reports in it, and the role in front of it.
func influx(t *testing.T, timeout time.Duration) (*testenv.InfluxServer, *counting, *rig) {
	t.Helper()
	s := testenv.Influx(t, "")
	s.Query(t, "", "CREATE DATABASE weather")
	s.Write(t, "weather", lines())
	c := &counting{Tables: openInflux(t, s.Addr(), "geheim123")}
	return s, c, start(t, Config{Tables: c, Timeout: timeout}).opened()
}

const alaska = "/avg?state=Alaska&hour=7"

// away checks that every question is answered with why there is no answer, and those that were answered
// before with that.
func (r *rig) away(cause string, within time.Duration) {
	r.t.Helper()
	began := time.Now()
	s := r.wants(alaska, 503, cause, `"last_answer":{"state":"Alaska","hour":"07"`)
	if took := time.Since(began); took > within {
		r.t.Errorf("the answer took %v, want at most %v", took, within)
	}
	f := s.failure(r.t)
	after, err := strconv.Atoi(s.header.Get("Retry-After"))
	if err != nil || after < 1 || f.Kind != "outage" || f.Age == nil || *f.Age < 0 || *f.Age > soon.Seconds() ||
		f.Since.IsZero() || time.Since(f.Since) > soon || s.header.Get(windowHeader) != "2023-09-20T07:00:00Z" {
		r.t.Errorf("got %v %s", s.header, s.body)
	}
	began = time.Now()
	r.wants("/extremes?state=Alaska&hour=7", 503, cause, `"last_answer":{"max":{"temp_c":{"zip_code":"99501","value":9.5}}`)
	r.wants("/state_extremes?hour=7", 503, cause)
	s = r.wants("/avg?state=Ohio&hour=7", 503, cause) // nobody knows that there is none
	if f := s.failure(r.t); f.Age != nil || f.Last != nil {
		r.t.Errorf("got %s, want no last answer where there was none", s.body)
	}
	s = r.wants("/api/v1/reports?table=weather_averages&format=csv", 503, cause)
	var text string
	if err := json.Unmarshal(s.failure(r.t).Last, &text); err != nil || !strings.HasPrefix(text, `"time",`) {
		r.t.Errorf("got %s, want the last CSV as a text: %v", s.body, err)
	}
	r.wants("/", 200)
	r.wants("/healthz", 200)
	r.wants("/avg?state=Alaska&hour=99", 400) // what is wrong is wrong
	r.wants("/api/v1/reports", 200, "weather_averages")
	if took := time.Since(began); took > 2*time.Second {
		r.t.Errorf("with the gate closed the answers took %v", took)
	}
	g := r.job.Gates()[0]
	if g.Open || g.Name != "database" || g.Kind != "outage" || !strings.Contains(g.Cause, cause) {
		r.t.Errorf("got the gate %+v, want it closed by %q", g, cause)
	}
}

// asked asks everything once, while the database is well.
func (r *rig) asked() {
	r.t.Helper()
	r.wants(alaska, 200, `"avg_temp_c":3,`)
	r.wants("/extremes?state=Alaska&hour=7", 200, `{"max":{"temp_c":{"zip_code":"99501","value":9.5}},`+
		`"min":{"temp_c":{"zip_code":"99950","value":-4}}}`)
	r.wants("/state_extremes?hour=7", 200, `"temp_c":{"state":"New York","value":17.25}`)
	r.wants("/avg?state=Ohio&hour=7", 404)
	r.wants("/avg?state="+url.QueryEscape("x' OR 1=1")+"&hour=7", 404)
	r.wants("/api/v1/reports?table=weather_averages&format=csv", 200, `"New York"`)
}

// back waits for the gate, and asks everything again.
func (r *rig) back() {
	r.t.Helper()
	began := time.Now()
	testenv.Until(r.t, soon, "the gate is open", func() bool { return r.job.Gates()[0].Open })
	took := time.Since(began)
	if took > recovery {
		r.t.Errorf("the gate took %v to open, want a second", took)
	}
	r.t.Logf("the gate took %v to open", took)
	r.asked()
}

// TestInfluxKilled: InfluxDB goes down when the API asks it, and comes back.
func TestInfluxKilled(t *testing.T) {
	s, c, r := influx(t, 2*time.Second)
	r.asked()
	s.Kill()
	r.away("ask influxdb", time.Second)
	before, from := c.asked.Load(), time.Now()
	testenv.Until(t, soon, "a few canaries", func() bool {
		r.wants(alaska, 503)
		return c.asked.Load() >= before+3
	})
	if took := time.Since(from); took < 2*time.Second {
		t.Errorf("three attempts within %v, want one a second", took)
	}
	r.wants(alaska, 503, "connection refused") // as the last canary met it
	s.Restart()
	r.back()
	testenv.Until(t, soon, "both events", func() bool {
		return len(r.events("gate.opened")) == 1 && len(r.events("gate.closed")) == 1
	})
	if e := r.events("gate.closed"); !e[0].Warn || !strings.Contains(e[0].Text, "ask influxdb") {
		t.Errorf("got the events %v", e)
	}
}

// TestInfluxFrozen: it takes connections, and never answers.
func TestInfluxFrozen(t *testing.T) {
	s, _, r := influx(t, 2*time.Second)
	r.asked()
	s.Freeze()
	t.Cleanup(s.Thaw)
	r.away("no answer came", 2*time.Second+500*time.Millisecond)
	s.Thaw()
	r.back()
}

// TestInfluxCutOff: what is sent goes nowhere.
func TestInfluxCutOff(t *testing.T) {
	s := testenv.Influx(t, "")
	s.Query(t, "", "CREATE DATABASE weather")
	s.Write(t, "weather", lines())
	p := testenv.Proxy(t, s.Addr())
	c := &counting{Tables: openInflux(t, p.Addr(), "geheim123")}
	const timeout = 4 * time.Second
	r := start(t, Config{Tables: c, Timeout: timeout}).opened()
	r.asked()
	p.Toxic(t, "hole", "timeout", "upstream", map[string]any{"timeout": 0})
	r.away("no answer came", timeout+500*time.Millisecond)
	before, from := c.asked.Load(), time.Now()
	testenv.Until(t, soon, "a few canaries", func() bool { return c.asked.Load() >= before+3 })
	if took := time.Since(from); took < 2*time.Second {
		t.Errorf("three attempts within %v, want one a second", took)
	}
	p.Remove(t, "hole")
	r.back()
	p.Down()
	r.away("ask influxdb", time.Second)
	p.Up()
	r.back()
}

// TestInfluxDiesWithinAnAnswer: of a long answer nothing that is sent looks whole.
func TestInfluxDiesWithinAnAnswer(t *testing.T) {
	s := testenv.Influx(t, "")
	s.Query(t, "", "CREATE DATABASE weather")
	var all strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&all, "weather_averages,state=Ohio,hour=08 avg_temp_c=1,revision=1i %d\n", at(21, 8).UnixNano()+int64(i))
	}
	s.Write(t, "weather", all.String())
	p := testenv.Proxy(t, s.Addr())
	r := start(t, Config{Tables: openInflux(t, p.Addr(), "geheim123"), Timeout: 5 * time.Second}).opened()
	// Slow enough that the answer is under way for many seconds.
	p.Toxic(t, "slow", "bandwidth", "downstream", map[string]any{"rate": 100})
	res, err := r.client.Get("http://" + r.job.Addr() + "/api/v1/reports?table=weather_averages&state=Ohio&limit=1000000")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadFull(res.Body, make([]byte, 100)); err != nil || res.StatusCode != 200 {
		t.Fatalf("got %d, %v", res.StatusCode, err)
	}
	s.Kill()
	p.Down()
	if n, err := io.Copy(io.Discard, res.Body); err == nil {
		t.Errorf("%d bytes look whole", n)
	}
	testenv.Until(t, soon, "the gate is closed", func() bool { return !r.job.Gates()[0].Open })
}

// TestInfluxRefusesUs: a person must act, so it is not asked every second.
func TestInfluxRefusesUs(t *testing.T) {
	s := testenv.Influx(t, "")
	s.Query(t, "", "CREATE DATABASE weather")
	r := start(t, Config{Tables: openInflux(t, s.Addr(), "wrong"), Timeout: 2 * time.Second})
	testenv.Until(t, soon, "the canary is back", func() bool { return r.job.Gates()[0].Kind != "" })
	answer := r.wants(alaska, 503, "can't be asked")
	f := answer.failure(t)
	if after, _ := strconv.Atoi(answer.header.Get("Retry-After")); f.Kind != "credentials" || after < 30 {
		t.Errorf("got %v %+v", answer.header, f)
	}
}

// TestDownFromTheStart: who asks before the first canary is back waits for it, and gets a true answer.
func TestDownFromTheStart(t *testing.T) {
	flown := make(chan error)
	r := start(t, Config{Timeout: soon, Tables: &faulty{
		newest: func(ctx context.Context, _ connector.TableQuery) (time.Time, bool, error) {
			select {
			case err := <-flown:
				return time.Time{}, false, err
			case <-ctx.Done():
				return time.Time{}, false, ctx.Err()
			}
		}}})
	got := make(chan said, 1)
	go func() { got <- r.get("/api/v1/reports?table=weather_averages") }()
	flown <- nil
	(<-got).check(t, "after the first canary", 200)
}

// TestKinds: which errors speak of the database, and close its gate, and which of a question.
func TestKinds(t *testing.T) {
	var fails error
	tables := &faulty{rows: func(context.Context, connector.TableQuery, func([]any) error) error { return fails }}
	r := start(t, Config{Tables: tables}).opened()
	const path = "/api/v1/reports?table=weather_averages"
	r.wants(path, 200)
	for _, c := range []struct {
		kind   fault.Kind
		status int
		closes bool
	}{
		{fault.Unknown, 503, true},
		{fault.Transient, 503, true},
		{fault.Throttled, 503, true},
		{fault.Credentials, 503, true},
		{fault.Full, 503, true},
		{fault.Busy, 503, true},
		{fault.Permanent, 500, false},
		{fault.Invalid, 500, false},
		{fault.Conflict, 500, false},
		{fault.Corrupt, 500, false},
	} {
		fails = fault.WithHint(fault.As(c.kind, errTest), "look elsewhere")
		s := r.wants(path, c.status, errTest.Error(), "look elsewhere", `"last_answer":{"table"`, c.kind.String())
		if (s.header.Get("Retry-After") != "") != (c.status == 503) {
			t.Errorf("%v: got %v", c.kind, s.header)
		}
		if g := r.job.Gates()[0]; g.Open == c.closes {
			t.Errorf("%v: got the gate %+v", c.kind, g)
		}
		if c.closes {
			fails = nil
			r.reopened()
		}
	}
}

// TestBrokenWords: words of a database are shown as text.
func TestBrokenWords(t *testing.T) {
	r := start(t, Config{Tables: &faulty{rows: func(context.Context, connector.TableQuery, func([]any) error) error {
		return errors.New("a\x1b[31m\nb\xff")
	}}}).opened()
	s := r.wants("/api/v1/reports?table=weather_averages", 503)
	if f := s.failure(t); strings.ContainsAny(f.Message, "\x1b\n") {
		t.Errorf("got %q", f.Message)
	}
}

// silent is a database that says nothing of rows.
func silent() *faulty {
	return &faulty{rows: func(ctx context.Context, _ connector.TableQuery, _ func([]any) error) error {
		<-ctx.Done()
		return fault.As(fault.Transient, ctx.Err())
	}, newest: func(context.Context, connector.TableQuery) (time.Time, bool, error) { return at(19, 7), true, nil }}
}

// TestHardQuestion: a question for many rows that takes too long says nothing about the database; a short one
// does.
func TestHardQuestion(t *testing.T) {
	r := start(t, Config{Tables: silent(), Timeout: 100 * time.Millisecond}).opened()
	s := r.wants("/api/v1/reports?table=weather_averages", 503, "did not answer within 100ms", "ask for less")
	if g := r.job.Gates()[0]; !g.Open || s.header.Get("Retry-After") != "1" {
		t.Errorf("got %v, the gate is %+v", s.header, g)
	}
	r.wants(alaska, 503, "can't be asked: no answer came within 100ms", `"since"`)
	if g := r.job.Gates()[0]; g.Open || g.Kind != "outage" {
		t.Errorf("got the gate %+v", g)
	}
}

// TestIdleGate: also where nobody asks anything the gate tells the truth.
func TestIdleGate(t *testing.T) {
	var dead atomic.Bool
	r := start(t, Config{Tables: &faulty{newest: func(context.Context, connector.TableQuery) (time.Time, bool, error) {
		if dead.Load() {
			return time.Time{}, false, fault.As(fault.Transient, errTest)
		}
		return time.Time{}, false, nil
	}}}).opened()
	dead.Store(true)
	testenv.Until(t, soon, "the gate is closed", func() bool { return !r.job.Gates()[0].Open })
	dead.Store(false)
	began := time.Now()
	r.opened()
	if took := time.Since(began); took > recovery {
		t.Errorf("it took %v to open", took)
	}
}

// TestLostCanary: one that is lost on the way keeps nobody waiting.
func TestLostCanary(t *testing.T) {
	var hole atomic.Bool
	var lost atomic.Int64
	tables := silent()
	tables.rows = func(context.Context, connector.TableQuery, func([]any) error) error { return errTest }
	tables.newest = func(ctx context.Context, _ connector.TableQuery) (time.Time, bool, error) {
		if hole.Load() {
			lost.Add(1)
			<-ctx.Done()
			return time.Time{}, false, ctx.Err()
		}
		return at(19, 7), true, nil
	}
	const timeout = 5 * time.Second
	r := start(t, Config{Tables: tables, Timeout: timeout}).opened()
	hole.Store(true)
	r.wants("/api/v1/reports?table=weather_averages", 503, errTest.Error())
	testenv.Until(t, soon, "a canary is lost", func() bool { return lost.Load() == 1 })
	hole.Store(false)
	began := time.Now()
	r.opened()
	if took := time.Since(began); took > recovery {
		t.Errorf("the gate took %v to open", took)
	}
}

// TestOldNews: an error of a question that began before the database was away and back closes nothing.
func TestOldNews(t *testing.T) {
	asked, fails := make(chan bool), make(chan error)
	r := start(t, Config{Timeout: soon, Tables: &faulty{rows: func(context.Context, connector.TableQuery,
		func([]any) error) error {
		asked <- true
		return <-fails
	}}}).opened()
	got := make(chan said, 2)
	ask := func() { got <- r.get("/api/v1/reports?table=weather_averages") }
	go ask()
	<-asked
	go ask()
	<-asked
	fails <- errTest
	(<-got).check(t, "the first", 503, errTest.Error())
	r.reopened()
	fails <- errTest
	(<-got).check(t, "the second", 503, errTest.Error())
	if g := r.job.Gates()[0]; !g.Open {
		t.Errorf("got the gate %+v", g)
	}
}

// TestAtOnce: more questions than there are places are not put, and the small ones have places that the large
// ones can't take.
func TestAtOnce(t *testing.T) {
	asked, answer := make(chan bool), make(chan bool)
	tables := silent()
	tables.rows = func(_ context.Context, q connector.TableQuery, yield func([]any) error) error {
		asked <- true
		<-answer
		return yield(make([]any, len(q.Columns)))
	}
	r := start(t, Config{Tables: tables, Timeout: soon, AtOnce: 8}).opened()
	var all sync.WaitGroup
	ask := func(path string) {
		all.Go(func() { r.get(path).check(t, path, 200) })
		<-asked
	}
	const long = "/api/v1/reports?table=weather_averages"
	ask(long)
	ask(long)
	s := r.wants(long, 503, "2 questions are being answered", `"kind":"busy"`)
	if s.header.Get("Retry-After") != "1" {
		t.Errorf("got %v", s.header)
	}
	for range 6 {
		ask(alaska)
	}
	r.wants("/avg?state=Texas&hour=7", 503, "8 questions are being answered")
	r.wants(long, 503, "8 questions are being answered")
	r.wants("/healthz", 200)
	r.wants("/api/v1/reports", 200)
	close(answer)
	all.Wait()
	go func() { <-asked }()
	s = r.wants(alaska, 200)
	if !r.job.Gates()[0].Open || s.broken != nil {
		t.Errorf("the gate is %+v", r.job.Gates()[0])
	}
}

// TestManyAtOnce: under many clients every answer is right, or says that there is no place.
func TestManyAtOnce(t *testing.T) {
	r := start(t, Config{Tables: weather(t).tables(), AtOnce: 4}).opened()
	var all sync.WaitGroup
	var right atomic.Int64
	for i := range 12 {
		all.Go(func() {
			for range 5 {
				path, want := "/avg?state=Texas&hour=7", `"avg_temp_c":31,`
				if i%2 == 0 {
					path, want = "/state_extremes?hour=7", `{"max":{"temp_c":{"state":"Texas","value":31}`
				}
				s := r.get(path)
				switch {
				case s.status == 200 && strings.Contains(s.body, want):
					right.Add(1)
				case s.status == 503 && strings.Contains(s.body, "being answered"):
				default:
					t.Errorf("%s: got %+v", path, s)
				}
			}
		})
	}
	all.Wait()
	if right.Load() < 10 {
		t.Errorf("%d right answers", right.Load())
	}
}

// TestForgotten: a report that is gone has no last answer.
func TestForgotten(t *testing.T) {
	there := true
	var fails error
	r := start(t, Config{Tables: &faulty{
		newest: func(_ context.Context, q connector.TableQuery) (time.Time, bool, error) {
			if q.Equal == nil { // a canary, which comes when it likes
				return at(19, 7), true, nil
			}
			return at(19, 7), there, fails
		},
		rows: func(_ context.Context, q connector.TableQuery, yield func([]any) error) error {
			return yield(make([]any, len(q.Columns)))
		}}}).opened()
	r.wants(alaska, 200)
	there = false
	r.wants(alaska, 404)
	fails = errTest
	s := r.wants(alaska, 503)
	if f := s.failure(t); f.Last != nil || f.Age != nil {
		t.Errorf("got %s", s.body)
	}
}

// TestRecent: what is kept is bounded in number and bytes, and what was asked for last stays.
func TestRecent(t *testing.T) {
	m := newRecent()
	large := make([]byte, maxAnswer)
	for i := range 100 {
		m.keep("large "+strconv.Itoa(i), &kept{body: large})
		if _, ok := m.find("large 0"); !ok {
			t.Fatalf("the one that is asked for was gone after %d", i)
		}
	}
	if m.used > maxMemory || m.used < maxMemory-2*maxAnswer || len(m.byKey) != m.order.Len() {
		t.Errorf("%d bytes in %d answers", m.used, len(m.byKey))
	}
	if _, ok := m.find("large 1"); ok {
		t.Error("the oldest is there still")
	}
	for i := range maxAnswers + 10 {
		m.keep(strconv.Itoa(i), &kept{})
		m.keep(strconv.Itoa(i), &kept{body: []byte("again")})
	}
	if len(m.byKey) != maxAnswers || m.used > maxMemory {
		t.Errorf("%d bytes in %d answers", m.used, len(m.byKey))
	}
	if k, ok := m.find(strconv.Itoa(maxAnswers)); !ok || string(k.body) != "again" {
		t.Errorf("got %v %v", k, ok)
	}
	for key := range m.byKey {
		m.forget(key)
	}
	m.forget("nobody knows it")
	if m.used != 0 || m.order.Len() != 0 {
		t.Errorf("%d bytes in %d answers are left", m.used, m.order.Len())
	}
}

// TestFirstDay: the first day of all times is a question of its own: that there is nothing of it makes no other one forget
// its last answer.
func TestFirstDay(t *testing.T) {
	var fails error
	r := start(t, Config{Tables: &faulty{
		newest: func(_ context.Context, q connector.TableQuery) (time.Time, bool, error) {
			return at(19, 7), q.To.IsZero(), fails
		},
		rows: func(_ context.Context, q connector.TableQuery, yield func([]any) error) error {
			return yield(make([]any, len(q.Columns)))
		}}}).opened()
	r.wants(alaska, 200)
	r.wants(alaska+"&date=0001-01-01", 404, "on 0001-01-01")
	fails = errTest
	if f := r.wants(alaska, 503).failure(t); f.Last == nil {
		t.Error("the last answer is forgotten")
	}
}
