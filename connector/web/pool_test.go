package web

import (
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/connector"
)

// TestGoneConnections: one that was closed while it was kept, and one that is closed when it is asked again, are not told.
func TestGoneConnections(t *testing.T) {
	leaves := map[string]func(p *peer){
		"closed while kept":  func(*peer) {},
		"closed when asked":  func(p *peer) { p.request() },
		"broken when asked":  func(p *peer) { p.request(); p.reset() },
		"garbage when asked": func(p *peer) { p.request(); p.say("left over from before") },
	}
	for name, leave := range leaves {
		t.Run(name, func(t *testing.T) {
			left := make(chan struct{}, 10)
			s := serve(t, func(p *peer) {
				p.request()
				p.say(okAnswer)
				leave(p)
				_ = p.Close()
				left <- struct{}{}
			})
			f := fetcher(t, Config{})
			for i := range 3 {
				equal(t, "received", received(t, get(t, f, s.url)), okAnswer)
				if name == "closed while kept" {
					<-left
				}
				if got := int(s.conns.Load()); got != i+1 {
					t.Errorf("fetch %d: %d connections", i, got)
				}
			}
		})
	}
}

// TestNotTwice: a connection that is new and is closed without an answer is not tried again, nor is one that began to answer.
func TestNotTwice(t *testing.T) {
	s := serve(t, func(p *peer) { p.request() })
	f := fetcher(t, Config{})
	failing(t, f, page(s.url), connector.FetchBroken)
	if got := s.conns.Load(); got != 1 {
		t.Errorf("%d connections, want 1", got)
	}
	s = serve(t, func(p *peer) {
		p.request()
		p.say(okAnswer)
		p.request()
		p.say("HTTP/1.1 200 OK\r\nConten")
	})
	get(t, f, s.url)
	failing(t, f, page(s.url), connector.FetchBroken)
	if got := s.conns.Load(); got != 1 {
		t.Errorf("%d connections, want 1", got)
	}
}

// TestSurplus has a server say a second answer that nobody asked for, at once or later: it is never taken for one.
func TestSurplus(t *testing.T) {
	const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	for _, late := range []bool{false, true} {
		asked, said := make(chan struct{}, 2), make(chan struct{}, 2)
		s := serve(t, func(p *peer) {
			p.request()
			if late {
				p.say(okAnswer)
				<-asked
				p.say(evil)
			} else {
				p.say(okAnswer + evil)
			}
			said <- struct{}{}
			p.hang()
		})
		f := fetcher(t, Config{})
		get(t, f, s.url)
		asked <- struct{}{}
		<-said
		asked <- struct{}{}
		equal(t, "received", received(t, get(t, f, s.url)), okAnswer)
	}
}

// TestPool keeps some connections, for some time, and uses the one that was used last.
func TestPool(t *testing.T) {
	closed := make(chan string, 10)
	text := func(p *peer) {
		for p.request() != "" {
			p.say(okAnswer)
		}
		closed <- p.LocalAddr().String()
	}
	a, b, c := serve(t, text), serve(t, text), serve(t, text)
	f := fetcher(t, Config{IdleConnections: 2})
	for _, s := range []*server{a, b, a, c} {
		get(t, f, s.url)
	}
	equal(t, "the one that is given up", <-closed, b.Addr().String())
	if f.idle.byUse.Len() != 2 || len(f.idle.origins) != 2 {
		t.Errorf("%d connections of %d origins are kept, want 2 of 2", f.idle.byUse.Len(), len(f.idle.origins))
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	<-closed
	<-closed
	failing(t, f, page(a.url), connector.FetchRuntime)

	f = fetcher(t, Config{IdleTimeout: 50 * time.Millisecond})
	get(t, f, a.url)
	get(t, f, b.url)
	<-closed
	<-closed
}

// TestMany fetches from several servers at once, and every answer is the one to its question.
func TestMany(t *testing.T) {
	var servers []*server
	for range 4 {
		servers = append(servers, serve(t, func(p *peer) {
			for n := 0; ; n++ {
				line, _, _ := strings.Cut(p.request(), " HTTP/1.1\r\n")
				if line == "" {
					return
				}
				body := line + strings.Repeat("!", n*997%5000)
				p.say("HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
				if n%7 == 6 {
					return
				}
			}
		}))
	}
	f := fetcher(t, Config{IdleConnections: 5, MemoryPerAnswer: 2000})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 100 {
				path := "/" + strconv.Itoa(worker) + "/" + strconv.Itoa(i)
				x, err := f.Fetch(t.Context(), connector.FetchRequest{URL: servers[(worker+i)%4].url + path})
				if err != nil {
					t.Error(err)
					return
				}
				if _, body, _ := strings.Cut(received(t, x), "\r\n\r\n"); strings.TrimRight(body, "!") != "GET "+path || x.Truncated != "" {
					t.Errorf("%s: got %.60q %s", path, body, x.Truncated)
				}
				_ = x.Close()
			}
		})
	}
	wg.Wait()
	noNames(t, f)
}

// TestRest: the times of an exchange that is over do not end the connection.
func TestRest(t *testing.T) {
	s := answering(t, okAnswer)
	f := fetcher(t, Config{})
	get(t, f, s.url)
	w := f.idle.take(s.url)
	if w == nil {
		t.Fatal("no connection was kept")
	}
	w.interrupt() // as if they were
	f.idle.put(w)
	get(t, f, s.url)
	if got := s.conns.Load(); got != 1 {
		t.Errorf("%d connections, want 1", got)
	}
}
