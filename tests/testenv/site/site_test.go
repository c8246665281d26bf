package site

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/tests/testenv"
)

// client follows nothing.
func client(t testing.TB) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request,
		[]*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

func get(t testing.TB, c *http.Client, url string, fields ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatalf("ask for %s: %v", url, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("read %s: %v", url, err)
	}
	return answer, string(body)
}

// small is a site of each kind of link and answer.
func small(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"index.html": `<!DOCTYPE html><base href="/sub/"><a href="a.html#x">a</a><a href=" a.html ">a</a>
<img src="i.png" srcset="1x.png 1x, 2x.png 2x">
<link rel="dns-prefetch" href="/never"><form action="/no-link"></form><a href="//other.example/">o</a><a href="mailto:x@y">m</a>
<noscript><img src="/noscript.png"></noscript><iframe src="/list"></iframe>
<!-- <a href="/comment"> --><a href="http://a b/">strange</a>`,
		"sub/a.html": `<meta http-equiv=refresh content="1;url='b.html'">
<p style="background:url(s.svg)"><style>@import "c.css";</style>`,
		"sub/b.html": `<a href="">self</a><a href="/sub//b.html">double</a>`,
		"sub/c.css":  `/* url(comment.png) */ @import url("d.css"); x { y: url( 'd.css' ) }`,
		"sub/d.css":  ``,
		"sub/i.png":  "PNG",
		"sub/1x.png": "1",
		"sub/s.svg": `<svg xmlns:xlink="http://www.w3.org/1999/xlink">
<image xlink:href="v.png"/><style>x { y: url(t.png) }</style></svg>`,
		"list/x y.md": "listed",
		"orphan.html": "nothing leads here",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestReachable(t *testing.T) {
	s := Docs(t, small(t), Options{})
	s.Put("/user", "text/html", []byte(`<a href="//x:y@`+s.Host+`/user#again">with a name</a>`))
	r := s.Reachable("/", "/user")
	relative := func(urls []string) string {
		for i := range urls {
			urls[i] = strings.TrimPrefix(urls[i], s.URL)
		}
		return strings.Join(urls, " ")
	}
	want := "" + " list/ list/x%20y.md sub//b.html sub/1x.png sub/a.html sub/b.html sub/c.css sub/d.css sub/i.png sub/s.svg user"
	wantURLs := strings.Split(want, " ")
	slices.Sort(wantURLs)
	got := strings.Split(relative(slices.Clone(r.OK)), " ")
	slices.Sort(got)
	if !slices.Equal(got, wantURLs) {
		t.Errorf("good pages: got  %q\nwant %q", got, wantURLs)
	}
	if got := relative(slices.Clone(r.Missing)); got != "noscript.png sub/2x.png sub/t.png sub/v.png" {
		t.Errorf("missing pages: got %q", got)
	}
	if got := relative(slices.Clone(r.Moved)); got != "list" || r.Depth != 3 {
		t.Errorf("moved pages: got %q, %d hops", got, r.Depth)
	}
	if len(r.Strange) != 1 || !strings.HasSuffix(r.Strange[0], "http://a b/") {
		t.Errorf("strange references: got %q", r.Strange)
	}
	archived := map[string]bool{}
	for _, url := range r.Must() {
		archived[url] = url != s.URL+"sub/c.css"
	}
	if lost := r.Lost(archived); len(lost) != 1 || lost[0] != s.URL+"sub/c.css" {
		t.Errorf("lost: got %q", lost)
	}
	asServed(t, s, r)
}

// asServed asks for all that is to be reached: it is answered as Reachable says, and logged.
func asServed(t *testing.T, s *Site, r Reach) {
	t.Helper()
	c := client(t)
	for status, urls := range map[int][]string{200: r.OK, 404: r.Missing, 301: r.Moved} {
		for _, url := range urls {
			answer, body := get(t, c, url)
			length := answer.ContentLength
			if answer.StatusCode != status || s.Count(url) != 1 || answer.Header.Get("Content-Type") == "" || int64(len(body)) != length {
				t.Errorf("%s: got %s and %d bytes, counted %d times, want %d", url, answer.Status, len(body), s.Count(url), status)
			}
		}
	}
	all := s.Requests()
	if len(all) != len(r.Must()) || s.AtOnce() != 1 || len(s.Counts()) != len(all) {
		t.Errorf("got %d requests, %d at once, want %d and 1", len(all), s.AtOnce(), len(r.Must()))
	}
	for _, one := range all {
		if one.Begun.IsZero() || one.Ended.Before(one.Begun) || one.Status == 0 {
			t.Errorf("logged as %+v", one)
		}
	}
}

// TestRealSites: every file of PostgreSQL's manual is reached from its start, and so is a book of the handbook.
func TestRealSites(t *testing.T) {
	manual, err := os.ReadDir(Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dir, start string
		ok         int // at least
	}{
		{Postgres(t), "/", len(manual) + 1}, // the root is index.html too
		{Handbook(t), "/en-US/index.html", 150},
		{Handbook(t), "/de-DE/", 150},
	} {
		s := Docs(t, c.dir, Options{})
		begun := time.Now()
		r := s.Reachable(c.start)
		t.Logf("%s from %s: %d pages, %d missing, %d moved, %d hops deep, %d strange, in %s", c.dir, c.start, len(r.OK), len(r.Missing),
			len(r.Moved), r.Depth, len(r.Strange), time.Since(begun))
		if len(r.OK) < c.ok || len(r.OK) > 2*c.ok {
			t.Errorf("%s from %s: got %d pages, want %d", c.dir, c.start, len(r.OK), c.ok)
		}
		asServed(t, s, r)
	}
}

// TestWgetAgrees: GNU wget, which finds links by other code, comes to the same URLs, and no others.
func TestWgetAgrees(t *testing.T) {
	wget, err := exec.LookPath("wget")
	if err != nil {
		testenv.Missing(t, "wget", err)
	}
	for dir, start := range map[string]string{Postgres(t): "", Handbook(t): "en-US/index.html"} {
		s := Docs(t, dir, Options{})
		must := s.Reachable("/" + start).Must()
		cmd := exec.CommandContext(t.Context(), wget, "-q", "-r", "-l", "inf", "-p", "-e", "robots=off", "-P", t.TempDir(), s.URL+start)
		err := cmd.Run()
		const someMissing = 8
		if failed, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || failed.ExitCode() != someMissing) {
			t.Fatalf("wget: %v", err)
		}
		if got := slices.Sorted(maps.Keys(s.Counts())); !slices.Equal(got, must) {
			t.Errorf("%s: wget comes to %d URLs, want %d", dir, len(got), len(must))
		}
	}
}

func TestValidators(t *testing.T) {
	s := Docs(t, small(t), Options{Validators: true})
	c := client(t)
	first, _ := get(t, c, s.URL+"sub/a.html")
	tag, date := first.Header.Get("Etag"), first.Header.Get("Last-Modified")
	for _, fields := range [][]string{{"If-None-Match", tag}, {"If-Modified-Since", date}, {"If-None-Match", tag,
		"If-Modified-Since", "no date"}} {
		if answer, body := get(t, c, s.URL+"sub/a.html", fields...); answer.StatusCode != 304 || body != "" {
			t.Errorf("%q: got %s and %q", fields, answer.Status, body)
		}
	}
	for _, fields := range [][]string{nil, {"If-None-Match", `"other"`}, {"If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT"},
		{"If-None-Match", `"other"`, "If-Modified-Since", date}} {
		if answer, body := get(t, c, s.URL+"sub/a.html", fields...); answer.StatusCode != 200 || body == "" {
			t.Errorf("%q: got %s and %q", fields, answer.Status, body)
		}
	}
	plain := Docs(t, small(t), Options{})
	if answer, _ := get(t, c, plain.URL, "If-Modified-Since", date); answer.StatusCode != 200 || answer.Header.Get("Etag") != "" {
		t.Errorf("a site without validators: got %s, %v", answer.Status, answer.Header)
	}
}

func TestOutages(t *testing.T) {
	s := Docs(t, small(t), Options{})
	c := client(t)
	get(t, c, s.URL)
	s.Down()
	if _, err := c.Get(s.URL); err == nil {
		t.Error("answered while down")
	}
	s.Up()
	get(t, c, s.URL)

	s.Freeze()
	var asking sync.WaitGroup
	for range 3 {
		asking.Go(func() {
			if answer, err := c.Get(s.URL); err != nil || answer.StatusCode != 200 {
				t.Errorf("when it has thawed: %v", err)
			} else {
				_ = answer.Body.Close()
			}
		})
	}
	testenv.Until(t, 10*time.Second, "three requests that wait", func() bool { return s.AtOnce() == 3 })
	if all := s.Requests(); !all[len(all)-1].Ended.IsZero() {
		t.Error("answered while frozen")
	}
	s.Thaw()
	asking.Wait()

	s.Latency(30 * time.Millisecond)
	begun := time.Now()
	get(t, c, s.URL)
	get(t, c, s.URL)
	if took := time.Since(begun); took < 60*time.Millisecond {
		t.Errorf("two answers took %s", took)
	}
	all := s.Requests()
	if last := all[len(all)-1]; last.Ended.Sub(last.Begun) < 30*time.Millisecond || s.Count(s.URL) != 7 {
		t.Errorf("logged %+v, %d requests", last, s.Count(s.URL))
	}
	// Requests that still wait when the test ends end with it.
	s.Freeze()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	asking.Go(func() {
		if answer, err := c.Do(r); err == nil {
			_ = answer.Body.Close()
		}
	})
	t.Cleanup(func() { cancel(); asking.Wait() })
	testenv.Until(t, 10*time.Second, "a request that waits", func() bool { return s.Count(s.URL) == 8 })
}

func TestPause(t *testing.T) {
	var l Log
	ask := func(wait time.Duration) {
		over := l.begin("x", nil)
		time.Sleep(time.Millisecond)
		over(200)
		time.Sleep(wait)
	}
	ask(30 * time.Millisecond)
	if l.Pause() != 0 {
		t.Errorf("one request: got %s", l.Pause())
	}
	ask(20 * time.Millisecond)
	ask(0)
	if p := l.Pause(); p < 20*time.Millisecond || p > time.Second {
		t.Errorf("three requests: got %s", p)
	}
	first := l.begin("x", nil)
	ask(0)
	first(200)
	ask(0)
	if l.Pause() != 0 || l.AtOnce() != 2 {
		t.Errorf("two at once: got %s, %d", l.Pause(), l.AtOnce())
	}
}
