package influxdb

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/sinktest"
)

// stand is a server that answers as it is told, and keeps what it got.
type stand struct {
	*httptest.Server
	mu     sync.Mutex // guards what stands below
	got    []string   // METHOD path?query, the token and the lines of each request with lines
	answer func(lines int) (status int, header map[string]string, body string)
}

func newStand(t *testing.T, answer func(lines int) (int, map[string]string, string)) *stand {
	t.Helper()
	s := &stand{answer: answer}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			in, _ = gzip.NewReader(in)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Errorf("read a body: %v", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(text) > 0 {
			s.got = append(s.got, fmt.Sprintf("%s %s %s\n%s", r.Method, r.URL, r.Header.Get("Authorization"), text))
		}
		status, header, body := s.answer(strings.Count(string(text), "\n"))
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s
}

// bucket is a sink of 2.x.
func (s *stand) bucket(t *testing.T, change ...func(*Config)) *Sink {
	t.Helper()
	c := Config{URL: s.URL, Org: "acme", Bucket: "wspr spots", Token: "geheim123", Measurement: "spots",
		Tags: []string{"band"}, Precision: "s", Spread: "id", Timeout: time.Second}
	for _, f := range change {
		f(&c)
	}
	sink, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Close() })
	return sink
}

func always(status int, body string) func(int) (int, map[string]string, string) {
	return func(int) (int, map[string]string, string) { return status, nil, body }
}

// TestWritePathOf2 compares what is sent to 2.x and 3.x with the documented protocol
// (https://docs.influxdata.com/influxdb/v2/api/v2/#operation/PostWrite); no such server is here.
func TestWritePathOf2(t *testing.T) {
	s := newStand(t, func(lines int) (int, map[string]string, string) {
		if lines == 0 {
			return 400, nil, `{"code":"invalid","message":"writing requires points"}`
		}
		return 204, nil, ""
	})
	sink := s.bucket(t, func(c *Config) { c.Spread, c.Unique = "", true })
	if err := sink.Prepare(t.Context(), sinktest.Schema()); err != nil {
		t.Fatal(err)
	}
	if err := sink.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	spots := sinktest.Spots(1, 0, 1)
	v, err := sink.Write(t.Context(), delivery(sinktest.Schema(), sinktest.Batch(spots)))
	if err != nil || len(v.Rejected) > 0 {
		t.Fatalf("got %+v %v", v, err)
	}
	if len(s.got) != 1 {
		t.Fatalf("got %d requests with lines, want 1: %q", len(s.got), s.got)
	}
	head, line, _ := strings.Cut(s.got[0], "\n")
	if want := "POST /api/v2/write?bucket=wspr+spots&org=acme&precision=s Token geheim123"; head != want {
		t.Errorf("got  %s\nwant %s", head, want)
	}
	sp := spots[0]
	want := fmt.Sprintf("spots,band=%d id=%di,rx_sign=%q,", sp.Band, sp.ID, sp.RxSign)
	if !strings.HasPrefix(line, want) || !strings.HasSuffix(line, fmt.Sprintf(" %d\n", sp.Time)) {
		t.Errorf("got line %s\nwant %s... %d", line, want, sp.Time)
	}
	if sink.Reader() != nil || sink.Traits().Exactness != connector.AtLeastOnce {
		t.Errorf("got a reader or %v, want none and at least once: that server was not tried", sink.Traits())
	}
}

// TestAnswers is what each answer means.
func TestAnswers(t *testing.T) {
	header := func(status int, name, value string) func(int) (int, map[string]string, string) {
		return func(int) (int, map[string]string, string) {
			return status, map[string]string{name: value}, "busy"
		}
	}
	for _, c := range []struct {
		name   string
		answer func(int) (int, map[string]string, string)
		kind   fault.Kind
		wait   time.Duration
		says   string
	}{
		{"401", always(401, `{"code":"unauthorized","message":"unauthorized access"}`), fault.Credentials, 0,
			"unauthorized access"},
		{"403", always(403, `{"error":"\"u\" user is not authorized to write to database \"d\""}`), fault.Credentials, 0,
			"not authorized to write"},
		{"bucket", always(404, `{"code":"not found","message":"bucket \"b\" not found"}`), fault.Permanent, 0,
			`bucket "b" not found`},
		{"path", always(404, "404 page not found"), fault.Permanent, 0, "404 page not found"},
		{"429", header(429, "Retry-After", "7"), fault.Throttled, 7 * time.Second, "429"},
		{"503 that says when", header(503, "Retry-After", "9"), fault.Throttled, 9 * time.Second, "503"},
		{"503", always(503, `{"error":"unavailable"}`), fault.Transient, 0, "unavailable"},
		{"500", always(500, `{"error":"engine is closed"}`), fault.Transient, 0, "engine is closed"},
		{"full", always(500, `{"error":"write x.wal: no space left on device"}`), fault.Full, 0, "no space"},
		{"200 to everything", always(200, "<html>Please log in</html>"), fault.Transient, 0,
			"no answer of InfluxDB"},
		{"elsewhere", header(302, "Location", "http://x/"), fault.Permanent, 0, "302"},
		{"garbage", always(418, "\x00\xff"), fault.Permanent, 0, "418"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sink := newStand(t, c.answer).bucket(t)
			d := delivery(sinktest.Schema(), sinktest.Batch(sinktest.Spots(1, 0, 300)))
			_, write := sink.Write(t.Context(), d)
			for what, err := range map[string]error{"write": write, "probe": sink.Probe(t.Context()),
				"prepare": sink.Prepare(t.Context(), sinktest.Schema())} {
				if fault.KindOf(err) != c.kind || fault.WaitOf(err) != c.wait {
					t.Errorf("%s: got %v (kind %v, wait %v), want kind %v, wait %v", what, err, fault.KindOf(err),
						fault.WaitOf(err), c.kind, c.wait)
				} else if !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "geheim") {
					t.Errorf("%s: got %q, want it to say %q and no secret", what, err, c.says)
				}
			}
		})
	}
}

// TestTooLargeIsSplit: a server that takes only small requests gets small ones; what alone is too large is
// refused.
func TestTooLargeIsSplit(t *testing.T) {
	for _, c := range []struct {
		status, most int
		body         string
		refused      int
	}{{413, 100, "too large", 0}, {413, 0, "too large", 30}, {500, 250, `{"error":"timeout"}`, 0}} {
		s := newStand(t, nil)
		s.answer = func(lines int) (int, map[string]string, string) {
			if lines > c.most {
				return c.status, nil, c.body
			}
			return 204, nil, ""
		}
		rows := 1000
		if c.most == 0 {
			rows = 30
		}
		sink := s.bucket(t)
		v, err := sink.Write(t.Context(), delivery(sinktest.Schema(), sinktest.Batch(sinktest.Spots(1, 0, rows))))
		if err != nil || len(v.Rejected) != c.refused {
			t.Errorf("%d for more than %d lines: got %d refused and %v, want %d", c.status, c.most,
				len(v.Rejected), err, c.refused)
		}
	}
}

// TestPartsRefusedBy2: a server of 2.x says 422 of a request with a bad row, and 3.x 400 with its words
// elsewhere.
func TestPartsRefusedBy2(t *testing.T) {
	for _, answer := range []struct {
		status int
		body   string
	}{{422, `{"code":"unprocessable entity","message":"failure writing points to database: partial write: bad band dropped=1"}`},
		{400, `{"error":"partial write of line protocol occurred","data":[{"line_number":1,"error_message":"bad band"}]}`}} {
		s := newStand(t, nil)
		s.answer = func(lines int) (int, map[string]string, string) {
			if lines == 0 || !strings.Contains(s.got[len(s.got)-1], ",band=999 ") {
				return 204, nil, ""
			}
			return answer.status, nil, answer.body
		}
		spots := sinktest.Spots(1, 0, 500)
		spots[7].Band, spots[333].Band = 999, 999
		v, err := s.bucket(t).Write(t.Context(), delivery(sinktest.Schema(), sinktest.Batch(spots)))
		if err != nil || len(v.Rejected) != 2 || v.Rejected[0].Row != 7 || v.Rejected[1].Row != 333 {
			t.Fatalf("%d: got %+v %v, want rows 7 and 333", answer.status, v.Rejected, err)
		}
		if !strings.Contains(v.Rejected[0].Reason, "bad band") {
			t.Errorf("%d: got reason %q, want the server's words", answer.status, v.Rejected[0].Reason)
		}
	}
}

// TestNoRowIsAtFault: a server that refuses every request, also one without rows, makes no dead letters.
func TestNoRowIsAtFault(t *testing.T) {
	s := newStand(t, always(204, ""))
	sink := s.bucket(t, func(c *Config) {
		c.Bucket, c.Org, c.Token, c.Database, c.MeasurementFrom, c.Measurement = "", "", "", "d", "version", ""
	})
	if err := sink.Prepare(t.Context(), sinktest.Schema()); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.answer = always(400, `{"error":"database is required"}`)
	s.mu.Unlock()
	_, err := sink.Write(t.Context(), delivery(sinktest.Schema(), sinktest.Batch(sinktest.Spots(1, 0, 50))))
	if !fault.Is(err, fault.Permanent) || !strings.Contains(err.Error(), "database is required") {
		t.Errorf("got %v (kind %v), want permanent", err, fault.KindOf(err))
	}
}
