package crawl

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/base/robots"
	"holdfast/base/weburl"
	"holdfast/connector"
)

// TestRobotsElsewhere: a host to which the robots.txt of others lead is asked as any other: by one at a time, and not at once
// again. Nor is one whose own leads elsewhere on it.
func TestRobotsElsewhere(t *testing.T) {
	t.Parallel()
	const pause = 150 * time.Millisecond
	var mu sync.Mutex // guards asked and busy
	asked := map[string][]time.Time{}
	busy := map[string]int{}
	serve := func(name string, h http.HandlerFunc) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			if busy[name]++; busy[name] > 1 {
				t.Errorf("%s is asked twice at once", name)
			}
			asked[name] = append(asked[name], time.Now())
			mu.Unlock()
			h(w, r)
			mu.Lock()
			busy[name]--
			mu.Unlock()
		}))
		t.Cleanup(s.Close)
		return s
	}
	shared := serve("shared", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/robots") {
			time.Sleep(10 * time.Millisecond) // a slow answer: others may come meanwhile
			return
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<a href="/a">a</a><a href="/b">b</a>`))
	})
	r := newRig(t, nil)
	r.cfg.Settings.MinDelay = new(time.Duration)
	*r.cfg.Settings.MinDelay = pause
	r.cfg.Seeds, r.cfg.Workers = []string{shared.URL + "/"}, 24
	for i := range 5 {
		name := string(rune('a' + i))
		s := serve(name, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/robots.txt":
				http.Redirect(w, r, "/moved", http.StatusFound)
			case "/moved":
				http.Redirect(w, r, shared.URL+"/robots-of-"+name, http.StatusFound)
			}
		})
		r.cfg.Seeds = append(r.cfg.Seeds, s.URL+"/")
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if err := r.run(ctx); err != nil || ctx.Err() != nil {
		t.Fatal(err, ctx.Err())
	}
	mu.Lock()
	defer mu.Unlock()
	if len(asked["shared"]) != 9 || len(asked["a"]) != 3 {
		t.Errorf("asked: %v", asked)
	}
	for name, at := range asked {
		for i := 1; i < len(at); i++ {
			if d := at[i].Sub(at[i-1]); d < pause*9/10 {
				t.Errorf("%s is asked again after %v", name, d)
			}
		}
	}
}

// TestRobotsLedToTheForbidden: a robots.txt that leads to an address that is never asked is not to be had; it is not one that
// forbids nothing.
func TestRobotsLedToTheForbidden(t *testing.T) {
	r := newRig(t, map[string]string{"/": "home"})
	r.site.robots = "User-agent: *\n"
	r.cfg.Settings.Retries = new(int) // none
	r.cfg.Fetch = hooked{r.cfg.Fetch, func(url string) error {
		if strings.HasSuffix(url, "/elsewhere") {
			return &connector.FetchError{Status: connector.FetchForbidden, Begun: time.Now(), Err: fault.New(fault.Permanent, "not there")}
		}
		return nil
	}}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.site.asked["/"] != 0 || r.site.asked["/robots.txt"] != 1 {
		t.Errorf("asked: %v", r.site.asked)
	}
}

// TestRobotsInARing: hosts whose robots.txt lead to each other do not wait for each other for ever.
func TestRobotsInARing(t *testing.T) {
	t.Parallel()
	const ring = 4
	var sites [ring]*httptest.Server
	r := newRig(t, nil)
	r.cfg.Seeds = nil
	gate := make(chan struct{})
	var first atomic.Int64
	for i := range sites {
		var once sync.Once
		sites[i] = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if q.URL.Path != "/robots.txt" {
				return
			}
			once.Do(func() { // all are asked at once
				if first.Add(1) == ring {
					close(gate)
				}
				<-gate
			})
			http.Redirect(w, q, sites[(i+1)%ring].URL+"/robots.txt", http.StatusFound)
		}))
		t.Cleanup(sites[i].Close)
		r.cfg.Seeds = append(r.cfg.Seeds, sites[i].URL+"/")
	}
	soon := 20 * time.Millisecond
	r.cfg.Settings.RetryAfter, r.cfg.Settings.Retries, r.cfg.Workers = &soon, new(int), 4*ring
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Second) // less than one waits at most
	defer stop()
	if err := r.run(ctx); err != nil || ctx.Err() != nil {
		t.Fatal(err, ctx.Err())
	}
	if c := r.counts(); c.Done+c.Failed != 2*ring || c.Queued+c.Waiting != 0 {
		t.Errorf("%+v", c)
	}
}

// TestRobotsLedInVain: a robots.txt that leads to a host that can't be asked is tried so often, and then not to be had.
func TestRobotsLedInVain(t *testing.T) {
	r := newRig(t, map[string]string{"/": "home"})
	other := newSite(t, nil)
	site := httptest.NewServer(http.RedirectHandler(other.URL+"/robots.txt", http.StatusFound))
	defer site.Close()
	soon := time.Millisecond
	r.cfg.Seeds, r.cfg.Settings.RetryAfter = []string{site.URL + "/robots.txt"}, &soon
	var said strings.Builder
	r.said = &said
	j, end := r.open()
	defer end()
	j.led.longest = time.Millisecond
	to, err := weburl.Parse(other.URL)
	if err != nil {
		t.Fatal(err)
	}
	if leave, err := j.frontier.TryGuest(to.QueueKey(), to.String()); leave == nil {
		t.Fatal(err)
	}
	for n := 1; ; n++ {
		if n == mostLed/2 { // as a crawl that was started again
			j.led.tries = recent[int]{most: 1}
		}
		l, err := j.frontier.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		v, err := j.visit(t.Context(), l, 0)
		if err != nil {
			t.Fatal(err)
		}
		if (v.rules != nil) != (n == mostLed) {
			t.Fatalf("after %d tries the rules are %v", n, v.rules)
		}
		for _, c := range v.all() {
			c.packed, _ = j.archive.Pack(c.records...)
		}
		done := v.rules
		if err := j.writeDown([]*visit{v}); err != nil {
			t.Fatal(err)
		}
		if done == nil {
			continue
		}
		if done.State() != robots.Unreachable || !strings.Contains(said.String(), "however often") || len(other.asked) > 0 {
			t.Errorf("%v, asked %v, said %s", done.State(), other.asked, said.String())
		}
		return
	}
}

// TestGuestIsRefused: a host to which a robots.txt leads, and that asks to be left alone, is.
func TestGuestIsRefused(t *testing.T) {
	r := newRig(t, nil)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Retry-After", "3000")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer other.Close()
	site := httptest.NewServer(http.RedirectHandler(other.URL+"/robots.txt", http.StatusFound))
	defer site.Close()
	r.cfg.Seeds, r.cfg.Settings.DelayFactor = []string{site.URL + "/robots.txt"}, new(float64)
	j, end := r.open()
	defer end()
	l, err := j.frontier.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v, err := j.visit(t.Context(), l, 0)
	if err != nil || v.rules == nil || v.rules.State() != robots.Unreachable {
		t.Fatal(v, err)
	}
	to, err := weburl.Parse(other.URL)
	if err != nil {
		t.Fatal(err)
	}
	if leave, err := j.frontier.TryGuest(to.QueueKey(), to.String()); leave != nil || err != nil {
		t.Errorf("it may be asked again at once: %v", err)
	}
	if err := v.close(); err != nil {
		t.Error(err)
	}
}

// TestGuestHangs: a host to which the robots.txt of many lead, and that never answers, is waited for a few times, and then left
// alone as any other, also by a crawl that is started again.
func TestGuestHangs(t *testing.T) {
	r := newRig(t, nil)
	other := newSite(t, nil)
	var asked atomic.Int64
	r.cfg.Fetch = hooked{r.cfg.Fetch, func(url string) error {
		if !strings.HasPrefix(url, other.URL) {
			return nil
		}
		asked.Add(1)
		return &connector.FetchError{Status: connector.FetchTimeout, Begun: time.Now(), Err: fault.New(fault.Transient, "it hangs")}
	}}
	r.cfg.Settings.Retries, r.cfg.Seeds = new(int), nil // no retries
	more := func() {
		for range 5 {
			site := httptest.NewServer(http.RedirectHandler(other.URL+"/robots.txt", http.StatusFound))
			t.Cleanup(site.Close)
			r.cfg.Seeds = append(r.cfg.Seeds, site.URL+"/")
		}
	}
	for n := range 3 {
		more()
		if err := r.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := asked.Load(); n != mostUnsure+1 {
			t.Errorf("it was asked %d times", n)
		}
		if c := r.counts(); int(c.Done+c.Failed) != 10*(n+1) || c.Queued+c.Waiting != 0 {
			t.Errorf("%+v", c)
		}
	}
}
