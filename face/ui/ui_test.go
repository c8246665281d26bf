package ui

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

// console is a console as it is built.
var console = fstest.MapFS{
	"page/without-npm.html":              {Data: []byte("make build")},
	"page/built/index.html":              {Data: []byte("<!doctype html>" + strings.Repeat("front ", 100))},
	"page/built/assets/index-Ab12.js":    {Data: []byte(strings.Repeat("let a = 1\n", 100))},
	"page/built/assets/tiny-Cd34.svg":    {Data: []byte("<svg/>")},
	"page/built/assets/index-Ef56.css":   {Data: []byte(strings.Repeat("a { b: c }\n", 100))},
	"page/built/assets/index-Gh78.woff2": {Data: []byte("x")},
}

func get(t *testing.T, f file, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.serve(w, r)
	return w
}

func TestFilesAreServed(t *testing.T) {
	all, err := read(console)
	if err != nil || len(all) != 5 {
		t.Fatalf("got %d files, %v", len(all), err)
	}
	for path, want := range map[string]struct{ kind, cache string }{
		"":                     {"text/html; charset=utf-8", "no-cache"},
		"assets/index-Ab12.js": {"text/javascript; charset=utf-8", "public, max-age=31536000, immutable"},
		"assets/tiny-Cd34.svg": {"image/svg+xml", "public, max-age=31536000, immutable"},
	} {
		w := get(t, all[path], "/"+path)
		h := w.Header()
		if h.Get("Content-Type") != want.kind || h.Get("Cache-Control") != want.cache || !bytes.Equal(w.Body.Bytes(), all[path].plain) {
			t.Errorf("/%s: got %v", path, h)
		}
		if h.Get("Content-Security-Policy") != policy || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("/%s: not guarded: %v", path, h)
		}
		if w = get(t, all[path], "/"+path, "If-None-Match", h.Get("Etag")); w.Code != http.StatusNotModified || w.Body.Len() > 0 {
			t.Errorf("/%s: known, and got %d with %d bytes", path, w.Code, w.Body.Len())
		}
	}
}

// The policy lets nothing in that could be somebody else's.
func TestThePolicyIsStrict(t *testing.T) {
	for _, never := range []string{"unsafe", "*", "http:", "https:", "data:", "blob:"} {
		if strings.Contains(policy, never) {
			t.Errorf("the policy has %q: %s", never, policy)
		}
	}
	for _, must := range []string{"default-src 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
		if !strings.Contains(policy, must) {
			t.Errorf("the policy lacks %q: %s", must, policy)
		}
	}
}

func TestFilesArePacked(t *testing.T) {
	all, err := read(console)
	if err != nil {
		t.Fatal(err)
	}
	w := get(t, all[""], "/", "Accept-Encoding", "br, gzip")
	in, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(in)
	if err != nil || !bytes.Equal(plain, all[""].plain) || w.Header().Get("Vary") != "Accept-Encoding" {
		t.Errorf("got %d bytes, %v, %v", len(plain), err, w.Header())
	}
	if w = get(t, all["assets/tiny-Cd34.svg"], "/assets/tiny-Cd34.svg", "Accept-Encoding", "gzip"); w.Header().Get("Content-Encoding") != "" {
		t.Error("what gzip makes larger is packed")
	}
}

// A build without npm says how to get the console.
func TestWithoutNpm(t *testing.T) {
	all, err := read(fstest.MapFS{"page/without-npm.html": console["page/without-npm.html"]})
	if err != nil || len(all) != 1 || string(all[""].plain) != "make build" {
		t.Fatalf("got %v, %v", all, err)
	}
	text, err := page.ReadFile("page/" + placeholder)
	if err != nil || !bytes.Contains(text, []byte("<code>make build</code>")) {
		t.Errorf("the page does not say what to do: %v", err)
	}
	for _, inline := range []string{"<style", "<script", "style="} {
		if bytes.Contains(text, []byte(inline)) {
			t.Errorf("the page has %s, which its policy forbids", inline)
		}
	}
}

func TestPathsOfTheConsole(t *testing.T) {
	for path, want := range map[string]bool{"/": true, "/assets/x.js": true, "/assets": false, "/api/v1/jobs": false,
		"/metrics": false, "/index.html": false} {
		if got := Owns(path); got != want {
			t.Errorf("Owns(%q) = %v", path, got)
		}
	}
	for path, want := range map[string]bool{"/": true, "/assets/nosuch.js": false, "/built/index.html": false} {
		w := httptest.NewRecorder()
		if got := Serve(w, httptest.NewRequest("GET", path, nil)); got != want {
			t.Errorf("Serve(%q) = %v", path, got)
		}
	}
}
