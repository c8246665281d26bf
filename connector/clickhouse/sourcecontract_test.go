package clickhouse

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/sourcetest"
	"holdfast/tests/testenv"
)

// front is a door before a real server, whose answers it can spoil.
type front struct {
	url string

	mu     sync.Mutex // guards the below
	broken map[sourcetest.Fault]bool
	asked  []string // the queries
	spoil  func(query string, body []byte) []byte
	done   chan struct{}
}

func newFront(t *testing.T, ch *testenv.ClickHouseServer) *front {
	t.Helper()
	base, err := url.Parse(ch.URL())
	if err != nil {
		t.Fatal(err)
	}
	f := &front{broken: map[sourcetest.Fault]bool{}, done: make(chan struct{})}
	transport := &http.Transport{DisableKeepAlives: true}
	pass := &httputil.ReverseProxy{Transport: testenv.ReadFirst{To: transport},
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(base) }, ModifyResponse: f.modify}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.asked = append(f.asked, r.FormValue("query"))
		has := func(x sourcetest.Fault) bool { return f.broken[x] }
		reset, bad, garbage, silence := has(sourcetest.Reset), has(sourcetest.ServerError),
			has(sourcetest.Garbage), has(sourcetest.Silence)
		throttle := has(sourcetest.Throttle)
		f.mu.Unlock()
		switch {
		case reset:
			panic(http.ErrAbortHandler)
		case bad:
			w.WriteHeader(http.StatusBadGateway)
		case garbage:
			_, _ = w.Write([]byte("<html>\x00 maintenance"))
		case throttle:
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
		case silence:
			select {
			case <-r.Context().Done():
			case <-f.done:
			}
		default:
			pass.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(f.done) })
	f.url = srv.URL
	return f
}

// modify spoils an answer. A half of one ends as if it were whole: nothing but its rows can tell.
func (f *front) modify(res *http.Response) error {
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		return err
	}
	f.mu.Lock()
	if f.broken[sourcetest.Cut] && !strings.Contains(res.Request.URL.Query().Get("query"), "LIMIT 0") {
		body = body[:len(body)/2]
	}
	if f.spoil != nil {
		body = f.spoil(res.Request.URL.Query().Get("query"), body)
	}
	f.mu.Unlock()
	res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(body)), -1
	res.Header.Del("Content-Length")
	return nil
}

func (f *front) set(x sourcetest.Fault) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken[x] = true
	return x != sourcetest.Reverse && x != sourcetest.CutReverse && x != sourcetest.Refuse && x != sourcetest.Expire
}

func (f *front) mend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.broken)
}

// feedTable is a table of numbered rows, every 97th of them bytes that are no text. A time is had by
// up to 25 rows.
type feedTable struct {
	t   *testing.T
	ch  *testenv.ClickHouseServer
	ids []uint64
}

func newFeedTable(t *testing.T, ch *testenv.ClickHouseServer) *feedTable {
	ch.Query(t, "CREATE TABLE default.feed (id UInt64, at DateTime, v String, w Float32) ENGINE = MergeTree "+
		"PARTITION BY toYYYYMM(at) ORDER BY (at, id)")
	return &feedTable{t: t, ch: ch}
}

func (f *feedTable) publish(n int) {
	first := uint64(len(f.ids) + 1)
	for i := range n {
		f.ids = append(f.ids, (first+uint64(i))*3)
	}
	f.ch.Query(f.t, fmt.Sprintf("INSERT INTO default.feed SELECT (number + %d) * 3 AS id, toDateTime(%d + "+
		"intDiv(number + %[1]d, 25)) AS at, if(id %% 97 = 0, unhex('ff'), concat('a\\t', toString(id))), "+
		"toFloat32(id / 7) FROM system.numbers LIMIT %[3]d", first, noon-1_000_000_000, n))
}

func (f *feedTable) some(bad bool) (out []uint64) {
	for _, id := range f.ids {
		if (id%97 == 0) == bad {
			out = append(out, id)
		}
	}
	return out
}

func openSource(t testing.TB, cfg SourceConfig, opts SourceOptions) *Source {
	t.Helper()
	s, err := OpenSource(cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func feedConfig(address string, change ...func(*SourceConfig)) SourceConfig {
	c := SourceConfig{URL: address, Table: "feed", Key: "id", Page: 333, Timeout: 2 * time.Second}
	for _, f := range change {
		f(&c)
	}
	return c
}

// followTime follows the table by a column that many rows have the same value of.
func followTime(c *SourceConfig) { c.Cursor, c.Time, c.Overlap = "at", "at", "0s" }

func TestSourceContract(t *testing.T) {
	for name, change := range map[string]func(*SourceConfig){"by key": func(*SourceConfig) {}, "by time": followTime} {
		t.Run(name, func(t *testing.T) {
			engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
				sourcetest.Run(t, func(t *testing.T) sourcetest.Feed {
					ch.Query(t, "DROP TABLE IF EXISTS default.feed")
					f, tab := newFront(t, ch), newFeedTable(t, ch)
					return sourcetest.Feed{
						Open: func(t *testing.T) connector.Source {
							s, err := OpenSource(feedConfig(f.url, change), SourceOptions{})
							if err != nil {
								t.Fatal(err)
							}
							return s
						},
						Publish: tab.publish, Keys: func() []uint64 { return tab.some(false) },
						Bad: func() []uint64 { return tab.some(true) }, Break: f.set, Mend: f.mend,
						StartsOver: name == "by time",
					}
				})
			})
		})
	}
}

// all drains a source from a cursor on and counts its rows by key.
func all(t testing.TB, s *Source, cursor []byte) (got map[uint64]int, bad []connector.Reject, end []byte) {
	t.Helper()
	got = map[uint64]int{}
	for more := true; more; {
		p, err := s.Fetch(soon(t), connector.Request{Cursor: cursor})
		if err != nil {
			t.Fatalf("fetch from %s: %v", cursor, err)
		}
		for _, k := range keysOf(t, p) {
			got[k]++
		}
		bad = append(bad, p.Rejected...)
		cursor, more = p.Cursor, p.More
	}
	return got, bad, cursor
}

func keysOf(t testing.TB, p connector.Page) []uint64 {
	t.Helper()
	if p.Rows == nil {
		return nil
	}
	sch, err := record.SchemaOf(p.Rows.Schema())
	if err != nil {
		t.Fatal(err)
	}
	keys, _ := record.Keys(sch, p.Rows)
	return keys
}
