package web

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"holdfast/base/fault"
	"holdfast/base/warc"
	"holdfast/connector"
)

// script is a connection that gives bytes in pieces, and then ends.
type script struct {
	net.Conn
	rest  []byte
	piece int   // bytes at a time
	end   error // io.EOF if nil
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, cmp.Or(s.end, io.EOF)
	}
	n := copy(p[:min(len(p), s.piece)], s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (*script) Write(p []byte) (int, error)      { return len(p), nil }
func (*script) SetReadDeadline(time.Time) error  { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }

// readAll reads an answer from bytes that come in pieces. The error is that of the head.
func readAll(s *script) (x *connector.Exchange, kept []byte, left int, err error) {
	w := &wire{conn: s}
	w.begin(clock{ctx: context.Background(), silence: time.Hour, end: time.Now().Add(time.Hour)})
	defer w.free()
	x = &connector.Exchange{}
	a := &answer{w: w, s: &spool{limit: 1 << 20, most: 1 << 20}, x: x}
	defer func() { _ = a.s.Close() }()
	h, err := a.head()
	if err == nil {
		x.Status, x.Header = h.status, h.fields
		_, fatal := a.ended(a.body(h))
		err = fatal
	}
	kept = make([]byte, a.s.Size())
	_, _ = a.s.ReadAt(kept, 0)
	return x, kept, len(w.buffered()) + len(s.rest), err
}

// FuzzAnswer reads any answer: what is kept is what came, however it was cut into pieces, and base/warc finds the same payload in
// it as net/http does, wherever that is content with the form.
func FuzzAnswer(f *testing.F) {
	for _, n := range nasty {
		if len(n.answer) < 10_000 {
			f.Add([]byte(n.answer), 1)
			f.Add([]byte(n.answer), 1000)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, piece int) {
		piece = 1 + (piece&0x7fffffff)%5000
		x, kept, left, err := readAll(&script{rest: text, piece: piece})
		if taken := append(bytes.Clone(x.Interim), kept...); !bytes.HasPrefix(text, taken) {
			t.Fatalf("kept %q of %q", taken, text)
		} else if err == nil && x.Truncated != "length" && len(taken)+left != len(text) {
			t.Fatalf("kept %d, left %d of %d bytes", len(taken), left, len(text))
		}
		y, again, _, err2 := readAll(&script{rest: text, piece: len(text) + 1})
		if !bytes.Equal(kept, again) || (err == nil) != (err2 == nil) || x.Truncated != y.Truncated {
			t.Fatalf("in pieces of %d: %q, %v, %q; at once: %q, %v, %q", piece, kept, err, x.Truncated, again, err2, y.Truncated)
		}
		if err != nil {
			if errors.Is(err, errTime) || fault.Is(err, fault.Full) {
				t.Fatal(err)
			}
			return
		}
		compare(t, x, kept)
	})
}

// compare has net/http read what was kept.
func compare(t *testing.T, x *connector.Exchange, kept []byte) {
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(kept)), nil)
	if err != nil || r.StatusCode < 200 || len(r.TransferEncoding) > 0 && !r.ProtoAtLeast(1, 1) {
		return
	}
	want, err := io.ReadAll(r.Body)
	if err != nil {
		return // whether it is whole is for us to say
	}
	if x.Status != r.StatusCode {
		t.Fatalf("status: got %d, want %d", x.Status, r.StatusCode)
	}
	m, err := warc.SplitHTTP(bytes.NewReader(kept))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(m.Payload())
	if x.Truncated == "" && r.TransferEncoding == nil == !m.Chunked() && (err != nil || !bytes.Equal(got, want)) {
		t.Fatalf("payload: got %q (%v), want %q", got, err, want)
	}
}

// FuzzFrames reads any answer of HTTP/2, cut into pieces or at once: it is the same, and readers of archives find its body.
func FuzzFrames(f *testing.F) {
	seed := func(say func(s *streams)) {
		var b bytes.Buffer
		s := &streams{Framer: http2.NewFramer(&b, nil)}
		s.AllowIllegalWrites = true
		s.fields = hpack.NewEncoder(&s.block)
		_ = s.WriteSettings()
		say(s)
		f.Add(b.Bytes(), 1)
	}
	seed(func(s *streams) { s.head(1, 200, true, "x", "y") })
	seed(func(s *streams) {
		_ = s.WritePing(false, [8]byte{1})
		s.head(1, 103, false, "link", "</x>")
		s.head(1, 200, false, "content-type", "text/html", "transfer-encoding", "chunked")
		_ = s.WriteDataPadded(1, false, []byte("bo"), make([]byte, 9))
		_ = s.WriteData(1, false, []byte("dy"))
		s.head(1, 0, true, "trailer", "1")
	})
	seed(func(s *streams) { _ = s.WriteGoAway(0, http2.ErrCodeNo, nil) })
	seed(func(s *streams) { _ = s.WriteRSTStream(1, http2.ErrCodeHTTP11Required) })
	cfg := Config{UserAgent: "a@b"}.WithDefaults()
	c := &call{f: &Fetcher{cfg: cfg, fields: cfg.fields()}, ctx: context.Background(),
		target: target{origin: "https://h", authority: "h", path: "/"}}
	ask := func(text []byte, piece int) (*connector.Exchange, []byte, error) {
		w := &wire{conn: &script{rest: text, piece: piece}}
		w.frames = newFrames(w)
		w.begin(clock{ctx: c.ctx, silence: time.Hour, end: time.Now().Add(time.Hour)})
		defer w.free()
		a := &answer{w: w, s: &spool{limit: 1 << 20, most: 1 << 20}, x: &connector.Exchange{}}
		defer func() { _ = a.s.Close() }()
		_, err := c.ask2(a)
		kept := make([]byte, a.s.Size())
		_, _ = a.s.ReadAt(kept, 0)
		return a.x, kept, err
	}
	f.Fuzz(func(t *testing.T, text []byte, piece int) {
		x, kept, err := ask(text, 1+(piece&0x7fffffff)%100)
		y, again, err2 := ask(text, len(text)+1)
		if !bytes.Equal(kept, again) || (err == nil) != (err2 == nil) || x.Truncated != y.Truncated {
			t.Fatalf("in pieces: %q, %v, %q; at once: %q, %v, %q", kept, err, x.Truncated, again, err2, y.Truncated)
		}
		if err != nil || x.Truncated == "length" {
			return
		}
		m, err := warc.SplitHTTP(bytes.NewReader(kept))
		if err != nil || m.Status() != x.Status || m.Chunked() || int(m.Head) > len(kept) {
			t.Fatalf("%v in %q, status %d", err, kept, x.Status)
		}
	})
}

// FuzzTarget takes any URL apart: what is sent for it is one request, to the host that is dialled.
func FuzzTarget(f *testing.F) {
	for _, url := range []string{"http://example.org/a?b#c", "https://u:p@[::1]:8443?x", "http://1.2.3.4:80", "http://h/%zz",
		"http://a@b@c/", "http://h:/"} {
		f.Add(url)
	}
	cfg := Config{UserAgent: "a@b"}.WithDefaults()
	fetcher := &Fetcher{cfg: cfg, fields: cfg.fields()}
	f.Fuzz(func(t *testing.T, url string) {
		to, err := parseTarget(url)
		if err != nil {
			if failure, ok := errors.AsType[*connector.FetchError](err); !ok || failure.Status != connector.FetchIllegal {
				t.Fatal(err)
			}
			return
		}
		c := &call{f: fetcher, target: to}
		for _, absolute := range []bool{false, true} {
			sent := c.message(absolute)
			if n := strings.Count(string(sent), "\r\n"); n != strings.Count(string(sent), "\n") || n != len(cfg.fields())+3 {
				t.Fatalf("%q: %q", url, sent)
			}
			r := bufio.NewReader(bytes.NewReader(sent))
			got, err := http.ReadRequest(r)
			if err != nil {
				if strings.Contains(err.Error(), "invalid URL escape") || strings.Contains(err.Error(), "invalid port") {
					continue // net/http is stricter there
				}
				t.Fatalf("%q: %v in %q", url, err, sent)
			}
			if _, err := r.ReadByte(); err == nil || got.Host != to.authority {
				t.Fatalf("%q: to %q, want %q", url, got.Host, to.authority)
			}
		}
		if strings.ContainsAny(to.host, "@/?# \r\n") || to.host == "" || to.port == 0 {
			t.Fatalf("%q: dialled is %q port %d", url, to.host, to.port)
		}
	})
}
