// Package site is the web that crawls are tested on: directories of real documents (Docs), each served on an address of its own
// in 127.0.0.0/8, and a site of everything that goes wrong on the web (Nasty). What a right crawler makes of them is computed
// here, and by nothing that the crawler is made of: Reachable reads the files with golang.org/x/net/html, and Nasty says it as
// data.
//
// A server logs what it was asked, how often, when, and how much at once (Log), so that a test can tell whether a crawler was
// polite and whether what it archived was ever asked for. Servers and their goroutines end with the test.
//
// What a crawl has to have archived is Reach.Must. More is allowed, as crawlers look for links in places where there may be none,
// in scripts say: but whatever is archived stands in the log, for else it came from nowhere.
//
// Called by tests and benchmarks. It imports nothing of ours but testenv.
package site

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// Options says how Docs serves.
type Options struct {
	// Validators: answers have an ETag and a Last-Modified, and who knows them is told 304.
	Validators bool
}

// Site is a directory that is served as a web site. Its methods may be called while it is crawled.
type Site struct {
	Log
	URL  string // of its root: http://127.1.2.3:20456/
	Host string // 127.1.2.3:20456

	t     testing.TB
	files *files

	mu       sync.Mutex // guards what is below
	latency  time.Duration
	frozen   chan struct{} // closed when it thaws; nil if it is not frozen
	server   *http.Server  // nil while it is down
	over     bool          // the test has ended
	serving  sync.WaitGroup
	handlers sync.WaitGroup
}

// Docs serves a directory until the test ends.
func Docs(t testing.TB, dir string, o Options) *Site {
	t.Helper()
	listener := listen(t)
	s := &Site{Host: listener.Addr().String(), t: t, files: newFiles(dir, o.Validators)}
	s.URL = "http://" + s.Host + "/"
	s.serve(listener)
	t.Cleanup(func() {
		s.mu.Lock()
		s.over = true
		s.mu.Unlock()
		s.Down() // the contexts of requests that wait end with their connections
		s.handlers.Wait()
	})
	return s
}

// listen takes an address of its own in 127.0.0.0/8, and a port below those that the kernel hands out, so that both are free when
// it is listened to again.
func listen(t testing.TB) net.Listener {
	t.Helper()
	var err error
	for range 100 {
		host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("%s:%d", host, 20000+rand.IntN(12000))); err == nil {
			return l
		}
	}
	t.Fatalf("listen in 127.0.0.0/8: %v", err)
	return nil
}

func (s *Site) serve(l net.Listener) {
	server := &http.Server{Handler: http.HandlerFunc(s.handle), ErrorLog: discard}
	s.mu.Lock()
	s.server = server
	s.mu.Unlock()
	s.serving.Go(func() { _ = server.Serve(l) })
}

// Put has a path ("/robots.txt") answered with some bytes of a type, whatever the directory has there. Reachable knows.
func (s *Site) Put(path, contentType string, body []byte) {
	s.files.put(path, contentType, body)
}

// Latency is how long each answer is held back.
func (s *Site) Latency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

// Freeze has connections taken and requests read, and none answered, until Thaw.
func (s *Site) Freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frozen == nil {
		s.frozen = make(chan struct{})
	}
}

// Thaw ends Freeze: requests that still wait are answered.
func (s *Site) Thaw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frozen != nil {
		close(s.frozen)
		s.frozen = nil
	}
}

// Down closes all connections, and has new ones refused, until Up.
func (s *Site) Down() {
	s.mu.Lock()
	server := s.server
	s.server = nil
	s.mu.Unlock()
	if server == nil {
		return
	}
	_ = server.Close()
	s.serving.Wait()
}

// Up ends Down, at the same address.
func (s *Site) Up() {
	s.t.Helper()
	l, err := net.Listen("tcp", s.Host)
	if err != nil {
		s.t.Fatalf("listen again: %v", err)
	}
	s.serve(l)
}

// enter reports whether a request may be handled: not when the test has ended.
func (s *Site) enter() (latency time.Duration, frozen chan struct{}, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return 0, nil, false
	}
	s.handlers.Add(1)
	return s.latency, s.frozen, true
}

// handle answers a request. It is over in the log before its last byte is sent, so that a client who asks again when it has that
// byte is never taken for one that asks twice at once.
func (s *Site) handle(w http.ResponseWriter, r *http.Request) {
	latency, frozen, ok := s.enter()
	if !ok {
		panic(http.ErrAbortHandler)
	}
	defer s.handlers.Done()
	over := s.begin("http://"+s.Host+r.RequestURI, r.Header)
	status := 0
	defer func() { over(status) }()
	if !s.wait(r.Context(), latency, frozen) {
		panic(http.ErrAbortHandler)
	}
	p := s.files.answer(r.URL.Path, r.Header)
	for name, value := range p.fields {
		w.Header().Set(name, value)
	}
	body, size, err := p.open()
	if err != nil {
		s.t.Errorf("serve %s: %v", r.URL, err)
		panic(http.ErrAbortHandler)
	}
	defer body.Close()
	if p.status != http.StatusNotModified {
		w.Header().Set("Content-Length", fmt.Sprint(size))
	}
	w.WriteHeader(p.status)
	if r.Method == http.MethodHead || size == 0 {
		status = p.status
		return
	}
	if _, err := io.CopyN(w, body, size-1); err != nil {
		return // the client has gone
	}
	status = p.status
	over(status)
	_, _ = io.CopyN(w, body, 1)
}

// wait reports whether a request is to be answered, when that time has come.
func (s *Site) wait(ctx context.Context, latency time.Duration, frozen chan struct{}) bool {
	if latency > 0 {
		timer := time.NewTimer(latency)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return false
		}
	}
	if frozen == nil {
		return true
	}
	select {
	case <-frozen:
		return true
	case <-ctx.Done():
		return false
	}
}
