package crawl

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
)

// TestRobotsElsewhere: a host to which the robots.txt of others lead is asked as any other: by one at a time, and not at once again. Nor
// is one whose own leads elsewhere on it.
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

// TestRobotsLedToTheForbidden: a robots.txt that leads to an address that is never asked is not to be had; it is not one that forbids nothing.
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
