package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/app/datadir"
	"holdfast/app/desk"
	"holdfast/base/fault"
	"holdfast/base/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ok answers every request.
var ok = http.HandlerFunc(func(w http.ResponseWriter,
	_ *http.Request) {
	w.WriteHeader(http.StatusNoContent)
})

func TestOpenDoor(t *testing.T) {
	const token = secret.Text("open sesame")
	for _, c := range []struct {
		name, method, host, origin, given string
		token                             secret.Text
		want                              int
	}{
		{"a question", "GET", "127.0.0.1:8420", "", "", "", 204},
		{"a question by name", "GET", "localhost:8420", "", "", "", 204},
		{"a question by IPv6", "GET", "[::1]:8420", "", "", "", 204},
		{"an order without a token", "POST", "127.0.0.1:8420", "", "", "", 403},
		{"a foreign name", "GET", "evil.example", "", "", "", 403},
		{"a name that looks like loopback", "GET", "127.0.0.1.evil.example", "", "", "", 403},
		{"no token", "GET", "10.0.0.1:8420", "", "", token, 401},
		{"a wrong token", "GET", "10.0.0.1:8420", "", "Bearer open", token, 401},
		{"the token", "POST", "10.0.0.1:8420", "", "Bearer open sesame", token, 204},
		{"no token, in the place of a token", "GET", "10.0.0.1:8420", "", "Bearer ", token, 401},
		{"a question with the token for reading", "GET", "10.0.0.1:8420", "", "Bearer just looking", token, 204},
		{"an order with the token for reading", "POST", "10.0.0.1:8420", "", "Bearer just looking", token, 403},
		{"another site's page", "POST", "127.0.0.1:8420", "http://evil.example", "Bearer open sesame",
			token, 403},
	} {
		r := httptest.NewRequest(c.method, "http://"+c.host+"/api/v1/jobs", nil)
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		if c.given != "" {
			r.Header.Set("Authorization", c.given)
		}
		w := httptest.NewRecorder()
		Open(ok, Keys{Token: c.token, Read: "just looking"}).ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: got %d, want %d", c.name, w.Code, c.want)
		}
	}
}

// Where all may ask, as in the tour, the token is needed for orders, and none for questions by a name of this machine.
func TestPublicDoor(t *testing.T) {
	for _, c := range []struct {
		method, host, given string
		want                int
	}{
		{"GET", "127.0.0.1:8420", "", 204},
		{"GET", "127.0.0.1:8420", "Bearer wrong", 204},
		{"GET", "evil.example", "", 403},
		{"GET", "evil.example", "Bearer open sesame", 204},
		{"POST", "127.0.0.1:8420", "", 403},
		{"POST", "127.0.0.1:8420", "Bearer ", 403},
		{"POST", "127.0.0.1:8420", "Bearer open sesame", 204},
	} {
		r := httptest.NewRequest(c.method, "http://"+c.host+"/api/v1/jobs", nil)
		r.Header.Set("Authorization", c.given)
		w := httptest.NewRecorder()
		Open(ok, Keys{Token: "open sesame", Public: true}).ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s %s %q: got %d, want %d", c.method, c.host, c.given, w.Code, c.want)
		}
	}
}

// A page of another site in a browser on this machine can neither order nor hold our places; a link to us works.
func TestForeignPages(t *testing.T) {
	for _, c := range []struct {
		method, site, mode string
		want               int
	}{
		{"GET", "same-origin", "cors", 204},
		{"GET", "none", "navigate", 204},
		{"GET", "cross-site", "navigate", 204},
		{"GET", "cross-site", "no-cors", 403},
		{"POST", "cross-site", "navigate", 403},
		{"POST", "same-site", "cors", 403},
	} {
		r := httptest.NewRequest(c.method, "http://10.0.0.1/api/v1/jobs", nil)
		r.Header.Set("Sec-Fetch-Site", c.site)
		r.Header.Set("Sec-Fetch-Mode", c.mode)
		r.Header.Set("Authorization", "Bearer x")
		w := httptest.NewRecorder()
		Open(ok, Keys{Token: "x"}).ServeHTTP(w, r)
		var f Failure
		if err := json.Unmarshal(w.Body.Bytes(), &f); w.Code != c.want || (err == nil) != (c.want == 403) {
			t.Errorf("%+v: got %d %s", c, w.Code, w.Body)
		}
	}
}

// What is too large or never comes is given up.
func TestLimits(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, Handler(openDesk(t)))
	send := func(text string) string {
		t.Helper()
		conn, err := dialSocket(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = conn.Write([]byte(text)) // the server may have had enough
		b, _ := io.ReadAll(conn)
		status, _, _ := strings.Cut(string(b), "\r\n")
		return status
	}
	long := strings.Repeat("x", 2*maxBody)
	head := "POST /api/v1/jobs/spots/spool/import HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
	if got := send(fmt.Sprintf("%sContent-Length: %d\r\n\r\n{\"dir\": \"%s\"}", head, len(long)+11,
		long)); got != "HTTP/1.1 413 Request Entity Too Large" {
		t.Errorf("a long body: got %q", got)
	}
	if got := send(head + "Much: " + long + "\r\n\r\n"); got != "HTTP/1.1 431 Request Header Fields Too Large" {
		t.Errorf("a long header: got %q", got)
	}
}

// serve answers on the socket of dir until the test ends.
func serve(t *testing.T, dir string, h http.Handler) {
	t.Helper()
	ln, err := ListenSocket(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, ln, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestSocketIsOursAlone(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, ok)
	info, err := os.Stat(filepath.Join(dir, SocketFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v, want mode 0600", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".sock*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A socket that a killed process left is replaced, and a long path is no obstacle.
func TestStaleSocketAndLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, SocketFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(dir); err == nil {
		t.Fatal("a dead socket answers")
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", lines)
		_ = json.NewEncoder(w).Encode(line{Result: Said{"here"}})
	})
	serve(t, dir, h)
	c, err := Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	var s Said
	if err := c.Do(t.Context(), Request{Method: "GET", Path: "/", Result: &s}); err != nil ||
		s.Text != "here" {
		t.Errorf("got %q, %v, want here", s.Text, err)
	}
}

func openDesk(t *testing.T) *desk.Desk {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "jobs", "spots"), 0o755); err != nil {
		t.Fatal(err)
	}
	d, err := desk.Open(datadir.Place{Dir: dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// An error comes out of the client as it went into the handler: message, hint and kind.
func TestErrorsKeepTheirKind(t *testing.T) {
	c := Local(Handler(openDesk(t)))
	err := c.Do(t.Context(), Request{Method: "GET", Path: "/api/v1/jobs/nosuch/spool"})
	if !fault.Is(err, fault.NotFound) || fault.HintOf(err) != "jobs are: [spots]" ||
		!strings.Contains(err.Error(), "there is no job nosuch") {
		t.Errorf("got %v (%v, %q)", err, fault.KindOf(err), fault.HintOf(err))
	}
	err = c.Do(t.Context(), Request{Method: "POST", Path: "/api/v1/jobs/spots/spool/import",
		Body: Order{Dir: "relative"}})
	if !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v, want a relative path to be refused", err)
	}
	err = c.Do(t.Context(), Request{Method: "GET", Path: "/nowhere"})
	if err == nil {
		t.Error("got no error for a path that does not exist")
	}
}

// TestAMistypedKeyIsNoOrder: an order whose bound is mistyped would be one without a bound.
func TestAMistypedKeyIsNoOrder(t *testing.T) {
	w := httptest.NewRecorder()
	Handler(openDesk(t)).ServeHTTP(w, httptest.NewRequest("POST", "/api/v1/jobs/spots/spool/replay",
		strings.NewReader(`{"sink": "main", "form": "2026-01-01T00:00:00Z"}`)))
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "form") {
		t.Errorf("got %d, %s, want 400 and the key", w.Code, w.Body)
	}
}

func TestAnOrderWithoutItsPath(t *testing.T) {
	h := Handler(openDesk(t))
	for _, path := range []string{"spool/export", "spool/import", "checkpoints/import"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", "/api/v1/jobs/spots/"+path, strings.NewReader(`{}`)))
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "is missing") {
			t.Errorf("%s: got %d, %s, want 400 and what is missing", path, w.Code, w.Body)
		}
	}
}

// Who does not ask for lines gets one document, and a status that says what went wrong.
func TestPlainAnswers(t *testing.T) {
	h := Handler(openDesk(t))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/jobs", nil))
	var rep desk.Report
	if err := json.Unmarshal(w.Body.Bytes(), &rep); err != nil || w.Code != 200 || len(rep.Jobs) != 1 {
		t.Errorf("got %d, %s, %v", w.Code, w.Body, err)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/jobs/nosuch/dead", nil))
	if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), `"error"`) {
		t.Errorf("got %d, %s, want 404", w.Code, w.Body)
	}
}

// A client that stops reading in the middle does not leave the handler behind.
func TestLocalClientMayStopEarly(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c := &call{w: w, lines: true}
		for c.item("x") == nil {
		}
	})
	stop := errors.New("enough")
	err := Local(h).Do(t.Context(), Request{Method: "GET", Path: "/",
		Item: func(json.RawMessage) error { return stop }})
	if !errors.Is(err, stop) {
		t.Errorf("got %v, want %v", err, stop)
	}
}

var _ net.Listener = (*socket)(nil)

// An answer has no password of a URL that an error names.
func TestFailureHidesPasswordsOfURLs(t *testing.T) {
	err := fault.WithHint(fault.New(fault.Transient, "ask http://me:geheim@h/: refused"), "is http://me:geheim@h/ right?")
	if f := failure(err); f.Message != "ask http://***@h/: refused" || f.Hint != "is http://***@h/ right?" {
		t.Errorf("got %+v", f)
	}
}

// curl -d says that a body is a form. It is JSON all the same, and nothing of it is lost; nor does what stands behind a question
// mark make the order one about something else.
func TestOrderThatIsSaidToBeAForm(t *testing.T) {
	r := httptest.NewRequest("POST", "/api/v1/jobs/spots/dead/7/discard?id=8", strings.NewReader(`{"reason":"seen"}`))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetPathValue("id", "7")
	c := &call{Request: r, w: httptest.NewRecorder()}
	if q := c.FormValue("id"); q != "8" {
		t.Errorf("behind the question mark stands %q", q)
	}
	id, err := c.number("id", 0)
	if err != nil || id != 7 {
		t.Errorf("got number %d, %v; want that of the path", id, err)
	}
	if o, err := c.order(); err != nil || o.Reason != "seen" {
		t.Errorf("got %+v, %v; want the reason", o, err)
	}
}

// deadlined notes until when an answer may be written.
type deadlined struct {
	*httptest.ResponseRecorder
	until time.Time
}

func (d *deadlined) SetWriteDeadline(t time.Time) error { d.until = t; return nil }

// Who asks for the console, and does not read it, holds no connection for ever.
func TestConsoleIsReadInTime(t *testing.T) {
	w := &deadlined{ResponseRecorder: httptest.NewRecorder()}
	consoled(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != http.StatusOK || w.until.IsZero() || time.Until(w.until) > slowest {
		t.Errorf("got %d, until %v", w.Code, w.until)
	}
}
