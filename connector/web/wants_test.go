package web

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"holdfast/connector"
)

// TestWants: of a body that is not wanted nothing is read, however long it is, and no other answer suffers.
func TestWants(t *testing.T) {
	asked := 0
	ask := func(f *Fetcher, url string, want bool) *connector.Exchange {
		t.Helper()
		x, err := f.Fetch(t.Context(), connector.FetchRequest{URL: url, Wants: func(status int, h http.Header) bool {
			asked++
			if status != http.StatusOK || h.Get("Content-Type") == "" {
				t.Errorf("it is asked about %d %v", status, h)
			}
			return want
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = x.Close() })
		return x
	}
	const head = "HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 1000000000\r\n\r\n"
	s := answering(t, head+"the begin of it")
	f := fetcher(t, Config{})
	for range 3 {
		x := ask(f, s.url, false)
		equal(t, "received", received(t, x), head)
		if !x.Unwanted || x.Truncated != "unspecified" {
			t.Errorf("unwanted %v, truncated %q", x.Unwanted, x.Truncated)
		}
	}
	if n := s.conns.Load(); n != 3 {
		t.Errorf("%d connections, want 3: what was left of a body is no answer", n)
	}
	small := answering(t, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
	if x := ask(f, small.url, true); x.Unwanted || x.Truncated != "" || asked != 4 {
		t.Errorf("unwanted %v, truncated %q, asked %d times", x.Unwanted, x.Truncated, asked)
	}
	empty := answering(t, "HTTP/1.1 204 No Content\r\n\r\n")
	if x := ask(f, empty.url, false); x.Unwanted || x.Truncated != "" || asked != 4 {
		t.Errorf("there is nothing to be unwanted: %v %q, asked %d times", x.Unwanted, x.Truncated, asked)
	}

	var sent atomic.Int64
	endless := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "video/mp4")
		for {
			n, err := io.WriteString(w, "and so on and so forth ")
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	}))
	endless.EnableHTTP2 = true
	endless.StartTLS()
	defer endless.Close()
	if x := ask(fetcher(t, Config{HTTP2: true}), endless.URL, false); !x.Unwanted || x.Protocol != "HTTP/2" || x.Received.Size() > 500 {
		t.Errorf("unwanted %v by %s, %d bytes", x.Unwanted, x.Protocol, x.Received.Size())
	}
	endless.Close() // the handler ends, as its connection does
	if n := sent.Load(); n > 8<<20 {
		t.Errorf("the server got rid of %d bytes", n)
	}
}
