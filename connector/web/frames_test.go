package web

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"holdfast/connector"
)

// TestHTTP2 asks Go's own server.
func TestHTTP2(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 5<<16)
	var got string
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/big":
			_, _ = io.WriteString(w, big)
		case "/hints":
			w.Header().Set("Link", "</x>")
			w.WriteHeader(http.StatusEarlyHints)
			_, _ = io.WriteString(w, "hinted")
		case "/trailer":
			w.Header().Set("Trailer", "X")
			_, _ = io.WriteString(w, "body")
			w.Header().Set("X", "y")
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header()["X-A"] = []string{"1", "2"}
			w.Header()["Date"] = nil
			w.WriteHeader(http.StatusNotFound)
			got = r.Proto + " " + r.Host + " " + r.RequestURI + " " + r.Header.Get("From") + " " + r.Header.Get("Referer")
			_, _ = io.WriteString(w, "body")
		}
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	f := fetcher(t, Config{HTTP2: true})
	x, err := f.Fetch(t.Context(), connector.FetchRequest{URL: s.URL + "/a?b", Header: http.Header{"Referer": {"http://r/"}}})
	if err != nil {
		t.Fatal(err)
	}
	host := s.Listener.Addr().String()
	equal(t, "the server got", got, "HTTP/2.0 "+host+" /a?b archivist@example.org http://r/")
	equal(t, "received", received(t, x), "HTTP/1.1 404 Not Found\r\nx-a: 1\r\nx-a: 2\r\n"+
		"content-type: text/plain; charset=utf-8\r\ncontent-length: 4\r\n\r\nbody")
	equal(t, "protocol", x.Protocol, "HTTP/2")
	want := "GET /a?b HTTP/1.1\r\nHost: " + host + "\r\n"
	if !strings.HasPrefix(string(x.Sent), want) || x.Status != http.StatusNotFound || len(x.Header["X-A"]) != 2 {
		t.Errorf("sent %q, status %d, fields %v", x.Sent, x.Status, x.Header)
	}
	_ = x.Close()
	for range 3 { // more than what may be under way
		x = get(t, f, s.URL+"/big")
		if head, body, _ := strings.Cut(received(t, x), "\r\n\r\n"); body != big || x.Truncated != "" {
			t.Errorf("%q and %d bytes, truncated %q", head, len(body), x.Truncated)
		}
	}
	x = get(t, f, s.URL+"/hints")
	if !strings.HasPrefix(string(x.Interim), "HTTP/1.1 103 Early Hints\r\n") ||
		!strings.HasSuffix(received(t, x), "\r\n\r\nhinted") {
		t.Errorf("interim %q, received %q", x.Interim, received(t, x))
	}
	if got := received(t, get(t, f, s.URL+"/trailer")); !strings.HasSuffix(got, "\r\n\r\nbody") {
		t.Errorf("behind a trailer: %q", got)
	}
	if x := get(t, f, s.URL+"/none"); x.Status != http.StatusNoContent || x.Truncated != "" {
		t.Errorf("without a body: %d %q", x.Status, x.Truncated)
	}
	cut := fetcher(t, Config{HTTP2: true, MaxBytes: 100_000})
	if x := get(t, cut, s.URL+"/big"); x.Truncated != "length" || x.Received.Size() != 100_000 {
		t.Errorf("truncated %q at %d", x.Truncated, x.Received.Size())
	}
	if x := get(t, fetcher(t, Config{}), s.URL+"/"); x.Protocol != "HTTP/1.1" {
		t.Errorf("not asked for, and spoken: %s", x.Protocol)
	}
}

// streams is a server of HTTP/2 that says what a test says.
type streams struct {
	*http2.Framer
	*peer
	block  bytes.Buffer
	fields *hpack.Encoder
}

// asked waits for the next request and gives its stream, 0 at the end.
func (s *streams) asked() uint32 {
	for {
		frame, err := s.ReadFrame()
		if err != nil {
			return 0
		}
		if h, ok := frame.(*http2.MetaHeadersFrame); ok {
			return h.StreamID
		}
	}
}

func (s *streams) head(stream uint32, status int, end bool, fields ...string) {
	s.block.Reset()
	if status > 0 {
		_ = s.fields.WriteField(hpack.HeaderField{Name: ":status", Value: strconv.Itoa(status)})
	}
	for i := 0; i < len(fields); i += 2 {
		_ = s.fields.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	_ = s.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: s.block.Bytes(), EndStream: end, EndHeaders: true})
}

func serveHTTP2(t *testing.T, handle func(s *streams)) *server {
	return serveTLS(t, "h2", func(p *peer) { speak(p, handle) })
}

// fewFields is how much a server remembers of the fields of requests, in bytes: less than what is usual.
const fewFields = 100

// speak does what handle says on a connection of HTTP/2.
func speak(p *peer, handle func(s *streams)) {
	defer func() { _ = p.Conn.Close() }()
	if _, err := io.ReadFull(p, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	s := &streams{Framer: http2.NewFramer(p.Conn, p), peer: p}
	s.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	s.AllowIllegalWrites = true
	s.fields = hpack.NewEncoder(&s.block)
	_ = s.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: fewFields})
	handle(s)
}

// TestNastyHTTP2 has a server do with a stream what it should not.
func TestNastyHTTP2(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nx: y\r\n\r\n"
	cases := map[string]struct {
		do        func(s *streams, id uint32)
		want      string
		truncated string
		status    int // below 0 that of the error
		reused    bool
	}{
		"a part of no stream": {do: func(s *streams, id uint32) {
			_ = s.WritePing(false, [8]byte{1})
			_ = s.WriteData(id-1, false, nil)
		}, status: -3},
		"frames around": {do: func(s *streams, id uint32) {
			_ = s.WritePing(false, [8]byte{1})
			s.head(id, 200, false, "x", "y", "connection", "close", "transfer-encoding", "chunked")
			_ = s.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 20})
			_ = s.WriteDataPadded(id, false, []byte("bo"), make([]byte, 10))
			_ = s.WriteRawFrame(0xbb, 0, id, []byte("unknown"))
			_ = s.WriteWindowUpdate(0, 5)
			_ = s.WriteData(id, true, []byte("dy"))
			_ = s.WriteRSTStream(id, http2.ErrCodeNo)
			_ = s.WritePing(false, [8]byte{2})
			s.ReadMetaHeaders.SetMaxDynamicTableSize(fewFields)
		}, want: head + "body", reused: true},
		"a body that is cut": {do: func(s *streams, id uint32) {
			s.head(id, 200, false, "x", "y")
			_ = s.WriteData(id, false, []byte("bo"))
			_ = s.Conn.Close()
		}, want: head + "bo", truncated: "disconnect"},
		"a body that is reset": {do: func(s *streams, id uint32) {
			s.head(id, 200, false, "x", "y")
			_ = s.WriteData(id, false, []byte("bo"))
			_ = s.WriteRSTStream(id, http2.ErrCodeInternal)
		}, want: head + "bo", truncated: "disconnect"},
		"a body that hangs": {do: func(s *streams, id uint32) {
			s.head(id, 200, false, "x", "y")
			_ = s.WriteData(id, false, []byte("bo"))
			s.hang()
		}, want: head + "bo", truncated: "time"},
		"going away": {do: func(s *streams, id uint32) {
			s.head(id, 200, false, "x", "y")
			_ = s.WriteGoAway(id, http2.ErrCodeNo, nil)
			_ = s.WriteData(id, true, []byte("body"))
		}, want: head + "body"},
		"gone away":       {do: func(s *streams, _ uint32) { _ = s.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, nil) }, status: -3},
		"refused":         {do: func(s *streams, id uint32) { _ = s.WriteRSTStream(id, http2.ErrCodeRefusedStream) }, status: -3},
		"no status":       {do: func(s *streams, id uint32) { s.head(id, 0, true, "x", "y") }, status: -3},
		"a strange one":   {do: func(s *streams, id uint32) { s.head(id, 20, true, "x", "y") }, status: -3},
		"a body at first": {do: func(s *streams, id uint32) { _ = s.WriteData(id, true, []byte("body")) }, status: -3},
		"1xx alone":       {do: func(s *streams, id uint32) { s.head(id, 103, true) }, status: -3},
		"a long head":     {do: func(s *streams, id uint32) { s.long(id) }, status: -3},
		"a line end":      {do: func(s *streams, id uint32) { s.head(id, 200, true, "x", "y\r\nz: 1") }, status: -3},
		"another stream":  {do: func(s *streams, id uint32) { s.head(id+2, 200, true, "x", "y") }, status: -3},
		"no frames": {do: func(s *streams, _ uint32) {
			s.say("HTTP/1.1 400 Bad Request\r\n\r\n" + strings.Repeat("x", 2<<20))
		}, status: -3},
		"no end of pings": {do: func(s *streams, _ uint32) {
			for range maxControl + 1 {
				if s.WriteSettingsAck() != nil {
					return
				}
			}
		}, status: -3},
		"nothing":      {do: func(s *streams, _ uint32) { _ = s.Conn.Close() }, status: -3},
		"only silence": {do: func(s *streams, _ uint32) { s.hang() }, status: -4},
		"two trailers": {do: func(s *streams, id uint32) {
			s.head(id, 200, false, "x", "y")
			s.head(id, 0, false, "a", "b")
		}, want: head, truncated: "unspecified"},
		"HTTP/1.1 only, and has none": {do: func(s *streams, id uint32) {
			_ = s.WriteRSTStream(id, http2.ErrCodeHTTP11Required)
		}, status: -3},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serveHTTP2(t, func(s *streams) {
				c.do(s, s.asked())
				if id := s.asked(); id != 0 {
					s.head(id, 200, true, "x", "z")
					s.asked()
				}
			})
			f := fetcher(t, patience(c.status, c.truncated))
			if c.status < 0 {
				failing(t, f, page(s.url), c.status)
				return
			}
			x := get(t, f, s.url)
			equal(t, "received", received(t, x), c.want)
			equal(t, "truncated", x.Truncated, c.truncated)
			if c.reused {
				equal(t, "the second", received(t, get(t, f, s.url)), "HTTP/1.1 200 OK\r\nx: z\r\n\r\n")
			}
			if kept := f.idle.byUse.Len() == 1; kept != c.reused {
				t.Errorf("the connection is kept: got %t, want %t", kept, c.reused)
			}
		})
	}
}

// long is a head of more than is taken, in frames.
func (s *streams) long(id uint32) {
	s.block.Reset()
	_ = s.fields.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	for i := range 40 {
		_ = s.fields.WriteField(hpack.HeaderField{Name: "x" + strconv.Itoa(i), Value: strings.Repeat("q", 10_000)})
	}
	_ = s.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: s.block.Next(maxFrame), EndStream: true})
	for s.block.Len() > 0 {
		part := s.block.Next(maxFrame)
		_ = s.WriteContinuation(id, s.block.Len() == 0, part)
	}
}

// TestGoneHTTP2: a stream that was refused, or that a server never saw, is asked for once more on a new connection.
func TestGoneHTTP2(t *testing.T) {
	for name, leave := range map[string]func(s *streams, id uint32){
		"refused":   func(s *streams, id uint32) { _ = s.WriteRSTStream(id, http2.ErrCodeRefusedStream) },
		"gone away": func(s *streams, id uint32) { _ = s.WriteGoAway(id-2, http2.ErrCodeNo, nil) },
		"closed":    func(*streams, uint32) {},
	} {
		s := serveHTTP2(t, func(s *streams) {
			s.head(s.asked(), 200, true, "x", "y")
			if id := s.asked(); id != 0 {
				leave(s, id)
			}
		})
		f := fetcher(t, Config{HTTP2: true})
		for i := range 3 {
			if x := get(t, f, s.url); x.Status != http.StatusOK {
				t.Errorf("%s: got %d", name, x.Status)
			}
			if got := int(s.conns.Load()); got != i+1 {
				t.Errorf("%s: fetch %d: %d connections", name, i, got)
			}
		}
	}
}

// TestOnlyOne asks by HTTP/1.1 a server that speaks HTTP/2 and then wants the other.
func TestOnlyOne(t *testing.T) {
	for _, end := range []func(s *streams, id uint32){
		func(s *streams, id uint32) { _ = s.WriteRSTStream(id, http2.ErrCodeHTTP11Required) },
		func(s *streams, _ uint32) { _ = s.WriteGoAway(0, http2.ErrCodeHTTP11Required, nil) },
	} {
		s := serveTLS(t, "h2 http/1.1", func(p *peer) {
			if p.Conn.(*tls.Conn).ConnectionState().NegotiatedProtocol == "h2" {
				speak(p, func(s *streams) { end(s, s.asked()); s.asked() })
				return
			}
			p.request()
			p.say(okAnswer)
			p.hang()
		})
		x := get(t, fetcher(t, Config{HTTP2: true}), s.url)
		equal(t, "received", received(t, x), okAnswer)
		equal(t, "protocol", x.Protocol, "HTTP/1.1")
	}
}
