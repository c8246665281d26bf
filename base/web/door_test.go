package web_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"holdfast/base/web"
)

func TestListen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		addr  string
		token bool
		want  string
	}{
		{"127.0.0.1:0", false, ""},
		{"localhost:8420", false, ""},
		{"[::1]:8420", false, ""},
		{"127.1.2.3:1", false, ""},
		{"0.0.0.0:8420", false, "a token is needed"},
		{":8420", false, "a token is needed"},
		{"example.org:8420", false, "a token is needed"},
		{"localhost.example.org:8420", false, "a token is needed"},
		{":8420", true, ""},
		{"nowhere", true, "want host:port"},
		{"", true, "want host:port"},
		{"127.0.0.1:99999", true, "want a port"},
		{"127.0.0.1:http", true, "want a port"},
		{"127.0.0.1:-1", true, "want a port"},
	} {
		got := web.BadListen(c.addr, c.token)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("BadListen(%q, %v) = %q, want %q in it", c.addr, c.token, got, c.want)
		}
	}
}

func TestLoopback(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{"127.0.0.1": true, "127.0.0.1:1": true, "localhost": true, "localhost:1": true,
		"[::1]": true, "[::1]:1": true, "::1": true, "": false, "evil.example": false, "10.0.0.1:1": false,
		"127.0.0.1.evil.example": false, "localhost.evil.example:1": false} {
		if got := web.Loopback(host); got != want {
			t.Errorf("Loopback(%q) = %v, want %v", host, got, want)
		}
	}
}

func TestBears(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		header, token string
		want          bool
	}{
		{"Bearer sesame", "sesame", true},
		{"Bearer sesam", "sesame", false},
		{"Bearer sesamesesame", "sesame", false},
		{"sesame", "sesame", false},
		{"Basic sesame", "sesame", false},
		{"", "sesame", false},
		{"", "", false},
		{"Bearer ", "", false},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		if c.header != "" {
			r.Header.Set("Authorization", c.header)
		}
		if got := web.Bears(r, c.token); got != c.want {
			t.Errorf("Bears(%q, %q) = %v, want %v", c.header, c.token, got, c.want)
		}
	}
}

func TestForeign(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		site, mode string
		want       bool
	}{
		{"", "", false}, // no browser
		{"none", "navigate", false},
		{"same-origin", "cors", false},
		{"cross-site", "navigate", false},
		{"cross-site", "no-cors", true},
		{"cross-site", "cors", true},
		{"cross-site", "", true},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Sec-Fetch-Site", c.site)
		r.Header.Set("Sec-Fetch-Mode", c.mode)
		if got := web.Foreign(r); got != c.want {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

func TestLimited(t *testing.T) {
	t.Parallel()
	var read int64
	var err error
	h := web.Limited(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		read, err = io.Copy(io.Discard, r.Body)
	}), 10, time.Minute)
	for body, want := range map[string]bool{"": true, "0123456789": true, "0123456789a": false} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/", strings.NewReader(body)))
		_, big := errors.AsType[*http.MaxBytesError](err)
		if (err == nil) != want || big == want || read > 10 {
			t.Errorf("a body of %d bytes: read %d, %v", len(body), read, err)
		}
	}
}

func TestRouted(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /here/{$}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	h := web.Routed(mux, func(w http.ResponseWriter, _ *http.Request, status int) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "ours")
	})
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/here/", http.StatusTeapot, ""},
		{"HEAD", "/here/", http.StatusTeapot, ""},
		{"GET", "/here/x", http.StatusNotFound, ""},
		{"GET", "/", http.StatusNotFound, ""},
		{"GET", "//nowhere/../x", http.StatusNotFound, ""},
		{"POST", "/here/", http.StatusMethodNotAllowed, "GET, HEAD"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		ours := c.status != http.StatusTeapot
		if w.Code != c.status || (w.Body.String() == "ours") != ours || w.Header().Get("Allow") != c.allow {
			t.Errorf("%s %s: got %d %q, allowed %q", c.method, c.path, w.Code, w.Body, w.Header().Get("Allow"))
		}
		if w.Header().Get("Location") != "" {
			t.Errorf("%s %s: sent on to %s", c.method, c.path, w.Header().Get("Location"))
		}
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	headers := http.Header{}
	got := web.Status(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Said", "yes")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "nobody reads it")
	}), headers, httptest.NewRequest("GET", "/", nil))
	if got != http.StatusTeapot || headers.Get("X-Said") != "yes" {
		t.Errorf("got %d %v", got, headers)
	}
	got = web.Status(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), headers,
		httptest.NewRequest("GET", "/", nil))
	if got != http.StatusOK {
		t.Errorf("a handler that says nothing: got %d", got)
	}
}

// TestOwn: a page of another site orders nothing here, by a form, a script or a name of its own.
func TestOwn(t *testing.T) {
	h := web.Own(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, c := range []struct {
		name, method, host string
		headers            map[string]string
		want               int
	}{
		{"a link", "GET", "127.0.0.1:80", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200},
		{"a button", "POST", "localhost:80", map[string]string{"Sec-Fetch-Site": "same-origin"}, 200},
		{"a program", "POST", "[::1]:80", nil, 200},
		{"a form elsewhere", "POST", "127.0.0.1:80", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403},
		{"an old browser's form", "POST", "127.0.0.1:80", map[string]string{"Origin": "http://evil.example"}, 403},
		{"another name", "POST", "evil.example", map[string]string{"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}, 403},
		{"another name asks", "GET", "evil.example", map[string]string{"Sec-Fetch-Site": "same-origin"}, 403},
	} {
		r := httptest.NewRequest(c.method, "http://"+c.host+"/", nil)
		for k, v := range c.headers {
			r.Header.Set(k, v)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: got %d, want %d", c.name, w.Code, c.want)
		}
	}
}
