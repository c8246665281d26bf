package prometheus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/watchertest"
	"holdfast/tests/testenv"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, append(testenv.ProcessLeaks(), goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))...) // of testenv's own client
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// watched is what was told, each look as "name{label=value} 1" or "FAILED why", joined by "; ".
type watched struct {
	t     *testing.T
	mu    sync.Mutex
	looks []string
	notes []string
}

func (w *watched) tell(_ context.Context, s connector.Seen) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.Position != nil {
		return errors.New("a value has no position")
	}
	for _, e := range s.Events {
		if e.Kind == connector.EventNote {
			w.notes = append(w.notes, e.Cause)
			continue
		}
		var all []string
		for _, x := range e.Samples {
			all = append(all, text(x))
		}
		slices.Sort(all)
		if e.Failed != "" {
			all = []string{"FAILED " + e.Failed}
		}
		w.looks = append(w.looks, strings.Join(all, "; "))
	}
	return nil
}

func text(x connector.Sample) string {
	s := x.Labels[""]
	var labels []string
	for _, name := range slices.Sorted(maps.Keys(x.Labels)) {
		if name != "" && name != "job" && name != "instance" {
			labels = append(labels, name+"="+x.Labels[name])
		}
	}
	s += "{" + strings.Join(labels, ",") + "} " + x.Text
	if x.Text == "" {
		s += fmt.Sprint(x.Value)
	}
	if x.Stale {
		s += " stale"
	}
	return s
}

func watch(t *testing.T, x connector.Watcher) *watched {
	w := &watched{t: t}
	watchertest.Start(t, x, nil, w.tell)
	return w
}

// until waits for a look behind those that are there.
func (w *watched) until(want string) {
	w.t.Helper()
	w.mu.Lock()
	from := len(w.looks)
	w.mu.Unlock()
	defer func() {
		if w.t.Failed() {
			w.t.Logf("looks: %q", w.looks[max(0, len(w.looks)-5):])
		}
	}()
	testenv.Until(w.t, 30*time.Second, fmt.Sprintf("%q", want), func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return slices.ContainsFunc(w.looks[from:], func(l string) bool {
			return l == want || strings.HasPrefix(want, "FAILED ") && strings.HasPrefix(l, "FAILED ") && strings.Contains(l, want[7:])
		})
	})
}

// metrics is an endpoint whose text can be set.
type metrics struct {
	*httptest.Server
	mu   sync.Mutex
	text string
}

func endpoint(t *testing.T, text string) *metrics {
	m := &metrics{text: text}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.text == "" {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(m.text))
	}))
	t.Cleanup(m.Close)
	return m
}

func (m *metrics) set(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.text = text
}

func query(t *testing.T, url, q string, change func(*Config)) *watched {
	c := Config{URL: url, Query: q, Every: 50 * time.Millisecond, Timeout: 2 * time.Second}
	if change != nil {
		change(&c)
	}
	x, err := New(c)
	must(t, err)
	return watch(t, x)
}

// The value of a real Prometheus goes up and down, is absent, and the server goes and comes: each is told as what it is.
func TestPrometheus(t *testing.T) {
	m := endpoint(t, "bitcoin_ibd{chain=\"main\"} 1\nbitcoin_ibd{chain=\"test\"} 0\n")
	s := testenv.Prometheus(t, m.Listener.Addr().String())
	w := query(t, s.URL(), "bitcoin_ibd", nil)
	w.until("bitcoin_ibd{chain=main} 1; bitcoin_ibd{chain=test} 0")
	m.set("bitcoin_ibd{chain=\"main\"} 0\n")
	w.until("bitcoin_ibd{chain=main} 0")
	m.set("other 1\n")
	w.until("")
	s.Kill()
	w.until("FAILED connection refused")
	m.set("bitcoin_ibd 1\n")
	s.Restart()
	w.until("bitcoin_ibd{} 1")

	for q, want := range map[string]string{
		"scalar(bitcoin_ibd) + 1": "{} 2",
		`"a word"`:                "{} a word",
		"bitcoin_ibd * NaN":       "{} NaN",
		"up == 5":                 "",
		"bitcoin_ibd[5m]":         "FAILED a range of values",
		"bitcoin_ibd(":            "FAILED bad_data",
		"absent(none)":            "{} 1",
	} {
		query(t, s.URL(), q, nil).until(want)
	}
	query(t, s.URL(), "{job=\"test\"}", func(c *Config) { c.Series = 2 }).until("FAILED series, and a look may have 2")
	s.Freeze()
	query(t, s.URL(), "up", func(c *Config) { c.Timeout = 200 * time.Millisecond }).until("FAILED no answer within 200ms")
	s.Thaw()
	// Nobody scrapes it any more, and Prometheus has the last value for five minutes.
	m.Close()
	old := query(t, s.URL(), "timestamp(up) * 0", func(c *Config) { c.StaleAfter = time.Hour })
	old.until("{} 0")
}

// A value that Prometheus has, and that is too old, is stale.
func TestStale(t *testing.T) {
	m := endpoint(t, fmt.Sprintf("m{a=\"old\"} 1 %d\nm{a=\"new\"} 1\n", time.Now().Add(-time.Minute).UnixMilli()))
	s := testenv.Prometheus(t, m.Listener.Addr().String())
	w := query(t, s.URL(), "m", func(c *Config) { c.StaleAfter = 30 * time.Second })
	w.until("m{a=new} 1; m{a=old} 1 stale")
}

func TestScrape(t *testing.T) {
	m := endpoint(t, fmt.Sprintf("# TYPE ibd gauge\nibd{c=\"a\"} 1\nibd{c=\"b\"} 2\nold 1 %d\nother 5\n# TYPE s histogram\ns_bucket{le=\"1\"} 1\n"+
		"s_bucket{le=\"+Inf\"} 3\ns_sum 4\ns_count 3\n", time.Now().Add(-time.Hour).UnixMilli()))
	look := func(change func(*ScrapeConfig)) *watched {
		c := ScrapeConfig{URL: m.URL, Metrics: []string{"ibd"}, Every: 20 * time.Millisecond}
		change(&c)
		x, err := NewScrape(c)
		must(t, err)
		return watch(t, x)
	}
	w := look(func(*ScrapeConfig) {})
	w.until("ibd{c=a} 1; ibd{c=b} 2")
	look(func(c *ScrapeConfig) { c.Labels = map[string]string{"c": "b"} }).until("ibd{c=b} 2")
	look(func(c *ScrapeConfig) { c.Metrics = []string{"s_count", "s_sum", "old"} }).until("old{} 1 stale; s_count{} 3; s_sum{} 4")
	look(func(c *ScrapeConfig) { c.Series = 1 }).until("FAILED 2 series")
	m.set("nothing 1\n")
	w.until("")
	m.set("")
	w.until("FAILED 503")
	m.set("this is { no metric\n")
	w.until("FAILED text format parsing error")
	m.Close()
	w.until("FAILED connection refused")
}

// A server that answers without end, or not at all.
func TestHostile(t *testing.T) {
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte(strings.Repeat("# x\n", 10_000))); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	x, err := NewScrape(ScrapeConfig{URL: endless.URL, Metrics: []string{"a"}, Timeout: 300 * time.Millisecond})
	must(t, err)
	watch(t, x).until("FAILED no answer within 300ms")
	r := &limited{io.NopCloser(strings.NewReader("0123456789")), 5}
	if b, err := io.ReadAll(r); string(b) != "01234" || err == nil {
		t.Errorf("more than the limit: %q, %v", b, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	x, err = NewScrape(ScrapeConfig{URL: "http://" + l.Addr().String(), Metrics: []string{"a"}, Timeout: 100 * time.Millisecond})
	must(t, err)
	watch(t, x).until("FAILED no answer within 100ms")
}

// Warnings are notes, once; who asks is said.
func TestWarnings(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "u" || password != "geheim" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"status":"success","data":{"resultType":"scalar","result":[1,"7"]},"warnings":["a shard is away"]}`))
	}))
	defer s.Close()
	w := query(t, s.URL, "x", func(c *Config) { c.User, c.Password = "u", "geheim" })
	w.until("{} 7")
	w.until("{} 7")
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.notes, []string{"a shard is away"}) {
		t.Errorf("got %q", w.notes)
	}
}

func TestConfig(t *testing.T) {
	for want, c := range map[string]Config{
		"query: is missing": {URL: "http://x"},
		"url: is \"\"":      {Query: "x"},
		"url: is \"ftp":     {URL: "ftp://x", Query: "x"},
		"token: means":      {URL: "http://x", Query: "x", User: "a", Token: "b"},
		"timeout: is":       {URL: "http://x", Query: "x", Timeout: -1},
		"stale_after: is":   {URL: "http://x", Query: "x", StaleAfter: -1},
		"series: is":        {URL: "http://x", Query: "x", Series: -1},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) || !fault.Is(err, fault.Permanent) {
			t.Errorf("%+v: got %v, want %q", c, err, want)
		}
	}
	for want, c := range map[string]ScrapeConfig{
		"metrics: is missing": {URL: "http://x"},
		"metrics: \"{x}\"":    {URL: "http://x", Metrics: []string{"{x}"}},
	} {
		if _, err := NewScrape(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", c, err, want)
		}
	}
	full := errors.New("full")
	q, err := New(Config{URL: "http://127.0.0.1:1", Query: "x"})
	must(t, err)
	if err := q.Watch(t.Context(), nil, func(context.Context, connector.Seen) error { return full }); !errors.Is(err, full) {
		t.Errorf("tell failed, and Watch says %v", err)
	}
}

// Whom a redirect leads to is told no secret.
func TestRedirectToAnother(t *testing.T) {
	got := make(chan string, 10)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Get("Authorization")
		_, _ = w.Write([]byte("x 1\n"))
	}))
	defer other.Close()
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Get("Authorization")
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	}))
	defer first.Close()
	s, err := NewScrape(ScrapeConfig{URL: first.URL, Token: "secret", Metrics: []string{"x"}, Every: time.Hour})
	must(t, err)
	watch(t, s)
	if a, b := <-got, <-got; a != "Bearer secret" || b != "" {
		t.Errorf("the first was told %q, the other %q", a, b)
	}
}
