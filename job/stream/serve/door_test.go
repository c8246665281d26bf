package serve

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/tests/testenv"
)

func TestOnlineAndHealth(t *testing.T) {
	r := start(t, Config{Tables: &faulty{}})
	if s := r.wants("/", 200); s.body != "online" {
		t.Errorf("got %q, want exactly what WeatherVane says", s.body)
	}
	r.wants("/healthz", 200, `{"alive":true}`)
	if s := r.do(http.MethodHead, "/"); s.status != 200 || s.body != "" {
		t.Errorf("HEAD: got %+v", s)
	}
}

func TestNoRoute(t *testing.T) {
	r := start(t, Config{Tables: &faulty{}})
	for _, path := range []string{"/nowhere", "/avg/", "/AVG", "/api", "/api/v1/",
		"/api/v1/reports/x", "/%2e%2e/%2e%2e/etc/passwd",
		"/healthz/", "/%00"} {
		s := r.wants(path, 404)
		if f := s.failure(t); f.Kind != "not found" || !strings.Contains(f.Hint, "/state_extremes") {
			t.Errorf("%s: got %+v", path, f)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} {
		s := r.do(method, "/avg?state=Alaska&hour=7")
		s.check(t, method, 405)
		if f := s.failure(t); s.header.Get("Allow") != "GET, HEAD" || f.Hint != "it takes GET, HEAD" {
			t.Errorf("%s: got %v %+v", method, s.header, f)
		}
	}
}

func TestGuard(t *testing.T) {
	open := start(t, Config{Tables: &faulty{}})
	locked := start(t, Config{Tables: &faulty{}, Token: "sesame"})
	for _, c := range []struct {
		name   string
		r      *rig
		path   string
		want   int
		header []string
	}{
		{"no token wanted", open, "/", 200, nil},
		{"by name", open, "/", 200, []string{"Host", "localhost:1"}},
		{"a foreign name", open, "/", 403, []string{"Host", "evil.example"}},
		{"one that looks like loopback", open, "/", 403, []string{"Host", "127.0.0.1.evil.example"}},
		{"another site's page, of an old browser", open, "/", 403, []string{"Origin", "http://evil.example"}},
		{"another site's page", open, "/", 403, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}},
		{"a link on another site", open, "/", 200, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}},
		{"our own page", open, "/", 200, []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors"}},
		{"no token", locked, "/", 401, nil},
		{"no token and no such route", locked, "/nowhere", 401, nil},
		{"a wrong one", locked, "/", 401, []string{"Authorization", "Bearer sesam"}},
		{"an empty one", locked, "/", 401, []string{"Authorization", "Bearer "}},
		{"by Basic", locked, "/", 401, []string{"Authorization", "Basic sesame"}},
		{"the token", locked, "/", 200, []string{"Authorization", "Bearer sesame"}},
		{"the token, any name", locked, "/", 200, []string{"Authorization", "Bearer sesame", "Host", "weather.example"}},
		{"the token, another site's page", locked, "/", 403, []string{"Authorization", "Bearer sesame",
			"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"}},
		{"health", locked, "/healthz", 200, nil},
		{"not quite health", locked, "/healthz/../avg", 401, nil},
	} {
		s := c.r.get(c.path, c.header...)
		s.check(t, c.name, c.want)
		if (s.header.Get("WWW-Authenticate") == "Bearer") != (c.want == 401) {
			t.Errorf("%s: got %v", c.name, s.header)
		}
		if s.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: another site may read the answer", c.name)
		}
	}
}

func TestLargeRequests(t *testing.T) {
	r := start(t, Config{Tables: &faulty{}})
	if s := r.get("/avg?state=" + strings.Repeat("x", 2*maxHeader) + "&hour=7"); s.status != 431 {
		t.Errorf("a long query: got %d %v", s.status, s.broken)
	}
	s := r.get("/avg?state=" + strings.Repeat("x", maxHeader/2) + "&hour=7")
	s.check(t, "one that is not too long", 404)
}

// TestPanic: a bug is an answer and an event, and the process lives.
func TestPanic(t *testing.T) {
	rows := 0
	r := start(t, Config{Tables: &faulty{rows: func(_ context.Context, q connector.TableQuery,
		yield func([]any) error) error {
		for range rows {
			if err := yield(make([]any, len(q.Columns))); err != nil {
				return err
			}
		}
		panic("boom at 0xc000123")
	}}}).opened()
	const path = "/api/v1/reports?table=weather_averages"
	for range 3 {
		s := r.wants(path, 500, "this is a bug of holdfast")
		if strings.Contains(s.body, "boom") || strings.Contains(s.body, ".go:") {
			t.Errorf("got %s, want no word of the inside", s.body)
		}
	}
	const kind = "request.panicked"
	testenv.Until(t, soon, "the event", func() bool { return len(r.events(kind)) > 0 })
	if e := r.events(kind); len(e) != 1 || !strings.Contains(e[0].Text, "boom") || !e[0].Warn {
		t.Errorf("got the events %v, want one for the three", e)
	}
	rows = 10_000 // so that something is sent before
	if s := r.get(path); s.broken == nil {
		t.Errorf("got %d and %d bytes, which look whole", s.status, len(s.body))
	}
	r.wants("/", 200)
	if !r.job.Gates()[0].Open {
		t.Errorf("a bug closed the gate: %+v", r.job.Gates()[0])
	}
}

// TestPanickingProbe: the canary flies outside of any request.
func TestPanickingProbe(t *testing.T) {
	r := start(t, Config{Tables: &faulty{newest: func(context.Context,
		connector.TableQuery) (time.Time, bool, error) {
		panic("boom")
	}}})
	s := r.wants("/api/v1/reports?table=weather_averages", 503, "panic: boom")
	if g := r.job.Gates()[0]; g.Open || g.Cause != "panic: boom" {
		t.Errorf("got %+v (%s)", g, s.body)
	}
}

func TestWindows(t *testing.T) {
	none := start(t, Config{Tables: &faulty{}})
	none.wants("/api/v1/windows", 404, "no ingester runs here", `"hint"`)

	var got WindowQuery
	var answer any
	var fails error
	r := start(t, Config{Tables: &faulty{}, Windows: func(_ context.Context, q WindowQuery) (any, error) {
		got = q
		return answer, fails
	}})
	type window struct {
		Key string `json:"key"`
	}
	answer = []window{{"7"}}
	r.wants("/api/v1/windows?from=2023-09-19&to=2023-09-20T01:00:00%2B01:00&state=open&limit=3", 200,
		`{"windows":[{"key":"7"}]}`)
	if want := (WindowQuery{From: at(19, 0), To: at(20, 0), State: "open", Limit: 3}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	answer = json.RawMessage(`[{"key":"8"}]`)
	r.wants("/api/v1/windows", 200, `{"windows":[{"key":"8"}]}`)
	if want := (WindowQuery{Limit: usualWindows}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	answer = []window(nil)
	r.wants("/api/v1/windows", 200, `{"windows":[]}`)
	for query, want := range map[string]string{"from=x": "from: want a time", "limit=0": "limit: want 1 to 10000",
		"limit=10001": "limit: want", "to=2023-09-19&from=2023-09-19": "from is not before to",
		"stat=open": "no parameter", "state=done": `state: want one of open, complete, lost, stored, told, got \"done\"`,
		"state=open&state=lost": "state is there 2 times"} {
		r.wants("/api/v1/windows?"+query, 400, want)
	}
	for kind, status := range map[fault.Kind]int{fault.Invalid: 400, fault.NotFound: 404, fault.Transient: 503,
		fault.Busy: 503, fault.Unknown: 500, fault.Corrupt: 500} {
		fails = fault.As(kind, errTest)
		s := r.wants("/api/v1/windows", status, errTest.Error())
		if (s.header.Get("Retry-After") != "") != (status == 503) {
			t.Errorf("%v: got Retry-After %q", kind, s.header.Get("Retry-After"))
		}
	}
}
