package wsprnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/base/download"
	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/wsprnet/simulator"
	"holdfast/connector/wsprnet/spot"
)

// direct answers requests from a handler without a connection, so that time can be virtual.
type direct struct{ h http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	d.h.ServeHTTP(w, r)
	return w.Result(), nil
}

// body makes a page of these ids.
func body(ids ...uint64) string {
	out := []byte{'['}
	for i, id := range ids {
		if i > 0 {
			out = append(out, ',')
		}
		s := spot.Spot{ID: id, Time: time.Now().Unix(), RxSign: "AE2EA", RxLoc: "FN12fr", TxSign: "AA1A", TxLoc: "FN42pb"}
		out = s.AppendObject(out)
	}
	return string(append(out, ']'))
}

// cut takes the end off, from within the last spot.
func cut(page string) string { return page[:len(page)-20] }

func seq(from, to uint64) (ids []uint64) {
	for id := from; id <= to; id++ {
		ids = append(ids, id)
	}
	return ids
}

func down(ids []uint64) (out []uint64) {
	for i := range ids {
		out = append(out, ids[len(ids)-1-i])
	}
	return out
}

// scripted answers one text after the other, the last one for ever.
func scripted(t *testing.T, answers ...string) *Source {
	t.Helper()
	n := 0
	s := open(t, "http://feed.test", nil)
	s.client.Transport = direct{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, answers[min(n, len(answers)-1)])
		n++
	})}
	return s
}

func kr(from, to uint64) *connector.KeyRange { return &connector.KeyRange{From: from, To: to} }

// What cursor, More and Complete say of pages of every shape.
func TestWhatAPageMayClaim(t *testing.T) {
	for name, c := range map[string]struct {
		cursor   string
		fill     *connector.KeyRange
		answer   string
		want     string
		more     bool
		complete *connector.KeyRange
	}{
		"empty":                   {cursor: "100", answer: "[]", want: "100"},
		"whole":                   {cursor: "100", answer: body(103, 104, 107), want: "107", complete: kr(101, 107)},
		"whole, one":              {cursor: "100", answer: body(104), want: "104", complete: kr(101, 104)},
		"whole, reversed":         {cursor: "100", answer: body(107, 104, 103), want: "107", complete: kr(101, 107)},
		"whole, unordered":        {cursor: "100", answer: body(104, 107, 103), want: "107", complete: kr(101, 107)},
		"whole, full":             {cursor: "100", answer: body(seq(101, 1100)...), want: "1100", more: true, complete: kr(101, 1100)},
		"whole, full, reversed":   {cursor: "100", answer: body(down(seq(201, 1200))...), want: "1200", more: true, complete: kr(201, 1200)},
		"nothing new":             {cursor: "100", answer: body(98, 99), want: "100"},
		"cut, ascending":          {cursor: "100", answer: cut(body(103, 104, 107)), want: "104", more: true},
		"cut, clearly ascending":  {cursor: "100", answer: cut(body(seq(103, 300)...)), want: "299", more: true, complete: kr(101, 299)},
		"cut, reversed":           {cursor: "100", answer: cut(body(107, 104, 103)), want: "100", more: true},
		"cut, unordered":          {cursor: "100", answer: cut(body(104, 103, 107, 105)), want: "100", more: true},
		"cut, one":                {cursor: "100", answer: cut(body(107, 104)), want: "100", more: true},
		"fill, nothing there":     {cursor: "900", fill: kr(101, 109), answer: "[]", want: "100", complete: kr(101, 109)},
		"fill, beyond":            {cursor: "900", fill: kr(101, 109), answer: body(110, 120), want: "120", complete: kr(101, 120)},
		"fill, a part":            {cursor: "900", fill: kr(101, 109), answer: body(102, 105), want: "105", more: true, complete: kr(101, 105)},
		"fill, cut":               {cursor: "900", fill: kr(101, 109), answer: cut(body(105, 104)), want: "100", more: true},
		"a spot that is no row":   {cursor: "100", answer: strings.Replace(body(103, 104), `"dB":"0"`, `"dB":"999"`, 2), want: "104", complete: kr(101, 104)},
		"an id out of all bounds": {cursor: "100", answer: body(101, 102, 103, 9_000_000_000_000), want: "103", complete: kr(101, 103)},
		"only one out of bounds":  {cursor: "100", answer: body(9_000_000_000_000), want: "100"},
		"an id far below":         {cursor: "0", answer: body(6_000_000_001, 3, 6_000_000_002), want: "6000000002", complete: kr(1, 6_000_000_002)},
		"all far above":           {cursor: "100", answer: body(6_000_000_001, 6_000_000_002, 6_000_000_003), want: "6000000003", complete: kr(101, 6_000_000_003)},
	} {
		s := scripted(t, c.answer)
		p, err := s.Fetch(t.Context(), connector.Request{Cursor: []byte(c.cursor), Fill: c.fill})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if string(p.Cursor) != c.want || p.More != c.more || !reflect.DeepEqual(p.Complete, c.complete) {
			t.Errorf("%s: got cursor %s, more %v, complete %v; want %s, %v, %v", name, p.Cursor, p.More,
				p.Complete, c.want, c.more, c.complete)
		}
	}
}

func TestFarIdIsRejectedWithItsSpot(t *testing.T) {
	s := scripted(t, body(101, 9_000_000_000_000, 102, 103))
	p, err := s.Fetch(t.Context(), connector.Request{Cursor: []byte("100")})
	if err != nil || len(p.Rejected) != 1 || p.Rows.NumRows() != 3 {
		t.Fatalf("got %v, %d rows, rejected %+v", err, p.Rows.NumRows(), p.Rejected)
	}
	if r := p.Rejected[0]; r.Key != "9000000000000" || !strings.Contains(r.Reason, "out of reach") ||
		!bytes.Contains(r.Raw, []byte(`"CallSign":"AA1A"`)) {
		t.Errorf("got %+v", r)
	}
}

// A page in descending order that is cut at the same place again and again: all that comes is used,
// the cursor moves on at last, and the ids that never came are claimed by no page.
func TestCutAgainstTheOrderTwice(t *testing.T) {
	page := cut(body(down(seq(101, 150))...))
	s := scripted(t, page[:len(page)/2], page[:len(page)/2], "[]")
	for i, want := range []string{"100", "150", "150"} {
		p, err := s.Fetch(t.Context(), connector.Request{Cursor: []byte("100")})
		if i == 2 {
			p, err = s.Fetch(t.Context(), connector.Request{Cursor: []byte("150")})
		}
		if err != nil || string(p.Cursor) != want || p.Complete != nil || p.More != (i < 2) {
			t.Errorf("fetch %d: %v, cursor %s, complete %v, more %v", i, err, p.Cursor, p.Complete, p.More)
		}
		if (i == 1) != (p.Notes["page_cut_twice"] == 1) {
			t.Errorf("fetch %d: notes %v", i, p.Notes)
		}
	}
	// If the second try reaches lower, it is tried on.
	s = scripted(t, page[:len(page)/2], page[:len(page)*3/4], body(down(seq(101, 150))...))
	for i, want := range []string{"100", "100", "150"} {
		p, err := s.Fetch(t.Context(), connector.Request{Cursor: []byte("100")})
		if err != nil || string(p.Cursor) != want {
			t.Errorf("fetch %d: %v, cursor %s, want %s", i, err, p.Cursor, want)
		}
	}
}

func TestAnswersThatAreNoPage(t *testing.T) {
	for name, answer := range map[string]string{
		"nothing": "", "html": "<html><body>maintenance</body></html>", "object": `{"error":"x"}`,
		"cut at once": "[", "cut in the first spot": cut(body(5)), "garbage": "[\x00\x01{{{",
	} {
		s := scripted(t, answer)
		p, err := s.Fetch(t.Context(), connector.Request{Cursor: []byte("4")})
		if !fault.Is(err, fault.Transient) || p.Cursor != nil {
			t.Errorf("%s: got %v of kind %v, want an outage", name, err, fault.KindOf(err))
		}
		if !strings.HasPrefix(fmt.Sprint(err), "fetch spots after 4 from feed.test: ") || fault.HintOf(err) == "" {
			t.Errorf("%s: got %q, hint %q", name, err, fault.HintOf(err))
		}
	}
	s := scripted(t, "[]")
	for _, r := range []connector.Request{{Cursor: []byte("abc")}, {Fill: kr(5, 4)}, {Fill: kr(0, 4)}} {
		if _, err := s.Fetch(t.Context(), r); err == nil {
			t.Errorf("%+v: no error", r)
		}
	}
}

func TestStatusAndRetryAfter(t *testing.T) {
	for _, c := range []struct {
		status int
		after  string
		want   fault.Kind
		wait   time.Duration
	}{
		{429, "30", fault.Throttled, 30 * time.Second},
		{429, "", fault.Throttled, 120 * time.Second},
		{503, "7", fault.Throttled, 7 * time.Second},
		{503, "", fault.Transient, 0},
		{503, "soon", fault.Transient, 0},
		{429, "99999999", fault.Throttled, download.LongestWait},
		{500, "", fault.Transient, 0}, {502, "", fault.Transient, 0}, {404, "", fault.Transient, 0},
		{301, "", fault.Transient, 0}, {204, "", fault.Transient, 0},
	} {
		s := open(t, "http://feed.test", nil)
		s.client.Transport = direct{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", c.after)
			w.WriteHeader(c.status)
		})}
		_, err := s.Fetch(t.Context(), connector.Request{})
		if !fault.Is(err, c.want) || fault.WaitOf(err) != c.wait || fault.HintOf(err) == "" {
			t.Errorf("%d %q: got %v of kind %v, wait %v", c.status, c.after, err, fault.KindOf(err), fault.WaitOf(err))
		}
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if d, ok := download.RetryAfter("Thu, 01 Jan 2026 00:01:00 GMT", now); !ok || d != time.Minute {
		t.Errorf("a date: got %v, %v", d, ok)
	}
	if d, ok := download.RetryAfter("Wed, 31 Dec 2025 00:01:00 GMT", now); !ok || d != 0 {
		t.Errorf("a date gone by: got %v, %v", d, ok)
	}
}

// A feed that falls silent in the middle of a page: what came is used, within the time-out.
func TestSilenceWithinAPage(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page := body(seq(101, 110)...)
		_, _ = io.WriteString(w, page[:len(page)-100])
		_ = http.NewResponseController(w).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer srv.Close()
	defer close(release)
	s := open(t, srv.URL, func(c *Config) { c.RequestTimeout = 200 * time.Millisecond })
	began := time.Now()
	p, err := s.Fetch(t.Context(), connector.Request{Cursor: []byte("100")})
	if err != nil || p.Rows.NumRows() != 9 || string(p.Cursor) != "109" || !p.More {
		t.Fatalf("got %v, cursor %s", err, p.Cursor)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// A feed that drips for ever is cut by page_timeout.
func TestDrippingPage(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, c := range []byte(body(seq(101, 3000)...)) {
			if _, err := w.Write([]byte{c}); err != nil || http.NewResponseController(w).Flush() != nil {
				return
			}
		}
	}))
	defer srv.Close()
	s := open(t, srv.URL, func(c *Config) { c.PageTimeout = 300 * time.Millisecond })
	began := time.Now()
	p, err := s.Fetch(t.Context(), connector.Request{Cursor: []byte("100")})
	if err == nil && !p.More || err != nil && !fault.Is(err, fault.Transient) {
		t.Errorf("got %v, more %v", err, p.More)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestHugePageIsReadInParts(t *testing.T) {
	sim, url := serve(t, simulator.Options{Backlog: 3000, Rate: -1})
	s := open(t, url, func(c *Config) { c.MaxPageBytes = 100_000 })
	rows, _, _ := collect(t, s, nil)
	n := 0
	for want := range sim.Expected(0, 1<<62) {
		if n >= len(rows) || rows[n] != want {
			t.Fatalf("row %d differs", n)
		}
		n++
	}
	if n != len(rows) || sim.Status().Pages < 6 {
		t.Errorf("got %d rows of %d in %d pages", len(rows), n, sim.Status().Pages)
	}
}

func TestSameQueryAtWsprnet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s := open(t, "http://feed.test", nil)
		s.host = "www.wsprnet.org" // the etiquette of the feed, on a stand-in
		s.client.Transport = direct{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked++
			_, _ = io.WriteString(w, "[]")
		})}
		fetch := func() error {
			_, err := s.Fetch(t.Context(), connector.Request{Cursor: []byte("5")})
			return err
		}
		if err := fetch(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Second)
		if err := fetch(); !fault.Is(err, fault.Throttled) || fault.WaitOf(err) != 70*time.Second || asked != 1 {
			t.Errorf("after 50 s: got %v, wait %v, asked %d times", err, fault.WaitOf(err), asked)
		}
		time.Sleep(70 * time.Second)
		if err := fetch(); err != nil || asked != 2 {
			t.Errorf("after 120 s: got %v, asked %d times", err, asked)
		}
	})
}

func TestQuery(t *testing.T) {
	var got *http.Request
	s := open(t, "http://feed.test", func(c *Config) { c.URL += "?keep=1"; c.Band = "14"; c.ExcludeSpecial = 1 })
	s.client.Transport = direct{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		_, _ = io.WriteString(w, "[]")
	})}
	if _, err := s.Fetch(t.Context(), connector.Request{Cursor: s.Start(77)}); err != nil {
		t.Fatal(err)
	}
	if q := got.URL.RawQuery; q != "band=14&exclude_special=1&keep=1&spotnum_start=77" {
		t.Errorf("query is %s", q)
	}
	if got.Header.Get("Cookie") != "" || got.Header.Get("Accept-Encoding") != "gzip" {
		t.Errorf("headers are %v", got.Header)
	}
}

// Broken gzip is a cut page or an outage, never a crash.
func TestBrokenGzip(t *testing.T) {
	sim := simulator.New(simulator.Options{Backlog: 2000, Rate: -1, Gzip: true})
	for _, keep := range []int{0, 5, 12, 3000, 20_000} {
		s := open(t, "http://feed.test", nil)
		s.client.Transport = direct{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			sim.ServeHTTP(rec, r)
			w.Header().Set("Content-Encoding", rec.Header().Get("Content-Encoding"))
			_, _ = w.Write(rec.Body.Bytes()[:keep])
		})}
		p, err := s.Fetch(t.Context(), connector.Request{})
		if keep < 100 && !fault.Is(err, fault.Transient) {
			t.Errorf("cut at %d: got %v", keep, err)
		}
		if keep > 100 && (err != nil || p.Rows.NumRows() == 0 || !p.More) {
			t.Errorf("cut at %d: got %v", keep, err)
		}
	}
}

func TestCancelledWithinAPage(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, cut(body(1, 2, 3)))
		_ = http.NewResponseController(w).Flush()
		cancel()
		<-r.Context().Done()
	}))
	defer srv.Close()
	s := open(t, srv.URL, nil)
	if _, err := s.Fetch(ctx, connector.Request{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's own error", err)
	}
}

// BenchmarkFetch is the whole way from the feed over a connection to rows.
func BenchmarkFetch(b *testing.B) {
	_, url := serve(b, simulator.Options{Backlog: 1 << 20, Rate: -1, PageLimit: 20_000})
	s := open(b, url, nil)
	n := int64(0)
	cursor := s.Start(0)
	for b.Loop() {
		p, err := s.Fetch(b.Context(), connector.Request{Cursor: cursor})
		if err != nil {
			b.Fatal(err)
		}
		n += p.Rows.NumRows()
		if cursor = p.Cursor; p.Rows.NumRows() < 20_000 {
			cursor = s.Start(0)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "spots/s")
}
