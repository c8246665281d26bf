package crawl

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/base/weburl"
	"holdfast/connector"
	"holdfast/job/crawl/archive"
	"holdfast/kernel/store"
)

// script answers without a web, and notes when it was asked.
type script struct {
	pages  int
	mu     sync.Mutex // guards asked
	asked  map[string][]asked
	life   int
	busy   time.Duration // how long a page of the first host can't be had, when it is asked for first; nor the rules of the second
	robots int
}

// asked is a request.
type asked struct {
	life int
	at   time.Time
}

// memory is an answer.
type memory struct{ *strings.Reader }

func (memory) Close() error { return nil }

func (s *script) Fetch(ctx context.Context, r connector.FetchRequest) (*connector.Exchange, error) {
	begun := time.Now()
	time.Sleep(20 * time.Millisecond)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[r.URL] = append(s.asked[r.URL], asked{s.life, begun})
	status, header, body := http.StatusOK, http.Header{"Content-Type": {"text/html"}}, ""
	u, err := weburl.Parse(r.URL)
	if err != nil {
		return nil, err
	}
	switch {
	case u.Path() == robotsPath:
		s.robots++
		if status = http.StatusNotFound; u.Host() == "192.0.2.2" && len(s.asked[r.URL]) == 1 {
			status = http.StatusServiceUnavailable
		}
	case u.Path() == "/":
		for i := range s.pages {
			body += fmt.Sprintf("<a href=/%d>", i)
		}
	case u.Path() == "/3" && u.Host() == "192.0.2.1" && len(s.asked[r.URL]) == 1:
		status = http.StatusServiceUnavailable
	default:
		body = "page " + r.URL
	}
	if status == http.StatusServiceUnavailable {
		header.Set("Retry-After", fmt.Sprint(s.busy.Seconds()))
	}
	text := fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Length: %d\r\n", status, http.StatusText(status), len(body))
	for name, values := range header {
		text += name + ": " + values[0] + "\r\n"
	}
	return &connector.Exchange{Begun: begun, Took: time.Since(begun), Remote: netip.MustParseAddrPort("192.0.2.1:80"), Protocol: "HTTP/1.1",
		Sent: []byte("GET " + u.Path() + " HTTP/1.1\r\n\r\n"), Received: memory{strings.NewReader(text + "\r\n" + body)}, Status: status,
		Header: header}, nil
}

func (s *script) Close() error { return nil }

// TestElapsed: how long a crawl has been at work grows while there is something to fetch, over its runs; a finished one
// that waits for seeds is not at work.
func TestElapsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := store.Open(t.TempDir(), store.Options{Log: slog.New(slog.DiscardHandler), Fatal: func(err error) { t.Error(err) }})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		var c *clock
		is := func(want time.Duration) {
			t.Helper()
			if got := c.elapsed(); got != want {
				t.Errorf("at work for %v, want %v", got, want)
			}
		}
		opens := func() {
			t.Helper()
			if c, err = openClock(st); err != nil {
				t.Fatal(err)
			}
		}
		commits := func(idle bool) {
			t.Helper()
			if err := st.Update(func(tx *store.Tx) error { c.commit(tx, idle); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		opens()
		time.Sleep(time.Hour) // without a seed
		is(0)
		commits(false)
		time.Sleep(10 * time.Second)
		is(10 * time.Second)
		commits(true)
		for range 3 { // its logs are rotated
			time.Sleep(time.Hour)
			commits(true)
		}
		is(10 * time.Second)
		opens()
		time.Sleep(time.Hour)
		is(10 * time.Second)
		commits(false)
		time.Sleep(5 * time.Second)
		is(15 * time.Second)
	})
}

// TestClockSetBetweenLives: a crawl that is started again by another clock loses nothing, asks no host too soon, and waits
// for none longer than it should.
func TestClockSetBetweenLives(t *testing.T) {
	const hosts, pages, delay, busy, short = 3, 30, 5 * time.Second, 20 * time.Minute, 2 * time.Minute
	for name, lives := range map[string][]time.Duration{ // what the clock says when each begins, behind some time
		"right":              {0, short, 2 * short},
		"back three days":    {96 * time.Hour, 24 * time.Hour, 24 * time.Hour},
		"back twelve hours":  {48 * time.Hour, 36 * time.Hour, 36 * time.Hour},
		"back, and again":    {48 * time.Hour, 36 * time.Hour, 0},
		"forwards a day":     {0, 24*time.Hour + short, 24*time.Hour + 2*short},
		"forwards, and back": {0, 24 * time.Hour, 2 * short},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := &script{pages: pages, asked: map[string][]asked{}, busy: busy}
			least, settings := delay, Settings{DelayFactor: new(float64)}
			settings.MinDelay, settings.MaxDelay = &least, &least
			var spent time.Duration
			var r *rig
			for i, at := range lives {
				synctest.Test(t, func(t *testing.T) { // each begins at the same time
					time.Sleep(at)
					s.life = i
					r = &rig{T: t, dir: dir, site: &site{Server: &httptest.Server{}}}
					r.cfg = Config{Fetch: s, Rules: weburl.Heritrix, Workers: 4, Logs: filepath.Join(dir, "logs"), Settings: settings, Once: true,
						Archive: archive.Options{Dir: filepath.Join(dir, "warc"), Name: "site"}}
					for n := range hosts {
						r.cfg.Seeds = append(r.cfg.Seeds, fmt.Sprintf("http://192.0.2.%d/", n+1))
					}
					begun := time.Now()
					ctx, stop := context.WithTimeout(t.Context(), 10*24*time.Hour)
					if i < len(lives)-1 {
						ctx, stop = context.WithTimeout(t.Context(), short/2)
					}
					defer stop()
					if err := r.run(ctx); err != nil {
						t.Error(err)
					}
					spent += time.Since(begun)
				})
			}
			r.T = t
			s.judge(r, hosts, delay)
			if most := busy + (pages+12)*delay; spent > most {
				t.Errorf("it took %v, want at most %v", spent, most)
			}
			back := !strings.HasPrefix(name, "forwards")
			if want := hosts + 1; back && s.robots != want || s.robots > 2*want {
				t.Errorf("%d times a robots.txt was asked for", s.robots)
			}
			for url, all := range s.asked {
				if strings.HasSuffix(url, "/3") && back && spent < busy {
					t.Errorf("%s was asked for again too soon: %v", url, all)
				}
			}
		})
	}
}

// judge checks that all was archived once, and no host asked too often.
func (s *script) judge(r *rig, hosts int, delay time.Duration) {
	r.Helper()
	archived := r.archived()
	for n := range hosts {
		host := fmt.Sprintf("http://192.0.2.%d", n+1)
		for path := range s.pages {
			if url := fmt.Sprintf("%s/%d", host, path); archived[url] != 1 {
				r.Errorf("%s is archived %d times", url, archived[url])
			}
		}
	}
	for url, times := range s.asked {
		if want := 2; len(times) > want || len(times) == want && !strings.HasSuffix(url, "/3") && !strings.HasSuffix(url, robotsPath) {
			r.Errorf("%s was asked for at %v", url, times)
		}
	}
	byHost := map[string][]asked{}
	for url, times := range s.asked {
		host := url[:strings.IndexByte(url[len("http://"):], '/')+len("http://")]
		byHost[host] = append(byHost[host], times...)
	}
	for host, times := range byHost {
		for i, a := range times {
			for _, b := range times[:i] {
				if d := a.at.Sub(b.at).Abs(); a.life == b.life && d < delay {
					r.Errorf("%s was asked twice within %v", host, d)
				}
			}
		}
	}
}
