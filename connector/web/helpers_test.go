package web

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/connector"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is one of our own: it does with each connection what a test says.
type server struct {
	net.Listener
	url   string
	conns atomic.Int32
	wg    sync.WaitGroup
	mu    sync.Mutex // guards open
	open  []net.Conn
}

// peer is a connection to a server, as that has it.
type peer struct {
	net.Conn
	*bufio.Reader
	number int // of the connection, from 1 on
}

func (p *peer) Read(b []byte) (int, error) { return p.Reader.Read(b) }

// request reads the head of a request, "" if none comes.
func (p *peer) request() string {
	var b strings.Builder
	for {
		line, err := p.ReadString('\n')
		if err != nil {
			return ""
		}
		b.WriteString(line)
		if line == "\r\n" {
			return b.String()
		}
	}
}

func (p *peer) say(text string) { _, _ = io.WriteString(p.Conn, text) }

// dribble says it byte by byte.
func (p *peer) dribble(text string) {
	for i := range len(text) {
		if _, err := io.WriteString(p.Conn, text[i:i+1]); err != nil {
			return
		}
	}
}

// reset ends the connection as a broken one.
func (p *peer) reset() {
	_ = p.Conn.(*net.TCPConn).SetLinger(0)
	_ = p.Conn.Close()
}

// hang waits until the other side closes.
func (p *peer) hang() { _, _ = io.Copy(io.Discard, p.Reader) }

// serve runs a server on 127.0.0.1 until the test ends.
func serve(t testing.TB, handle func(p *peer)) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Listener: l, url: "http://" + l.Addr().String()}
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.open = append(s.open, c)
			s.mu.Unlock()
			p := &peer{Conn: c, Reader: bufio.NewReader(c), number: int(s.conns.Add(1))}
			s.wg.Go(func() {
				defer func() { _ = c.Close() }()
				handle(p)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		s.mu.Lock()
		for _, c := range s.open {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.wg.Wait()
	})
	return s
}

// answering is a server that gives the same answer to each request, on connections that stay open.
func answering(t testing.TB, text string) *server {
	return serve(t, func(p *peer) {
		for p.request() != "" {
			p.say(text)
		}
	})
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// fetcher is one that may ask this machine.
func fetcher(t testing.TB, cfg Config) *Fetcher {
	t.Helper()
	if cfg.AllowAddresses == nil {
		cfg.AllowAddresses = loopback
	}
	return strict(t, cfg)
}

// strict is one that may ask what the Config says.
func strict(t testing.TB, cfg Config) *Fetcher {
	t.Helper()
	cfg.UserAgent, cfg.From = "holdfast-test/1", "archivist@example.org"
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Nameservers == nil {
		cfg.Nameservers = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")} // nobody
	}
	f, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f.names.hosts.path = "testdata/hosts"
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// page is what to ask for, and nothing else.
func page(url string) connector.FetchRequest { return connector.FetchRequest{URL: url} }

// get fetches, and closes with the test.
func get(t testing.TB, f *Fetcher, url string) *connector.Exchange {
	t.Helper()
	x, err := f.Fetch(t.Context(), page(url))
	if err != nil {
		t.Fatalf("fetch %s: %v", url, err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return x
}

// failing fetches what has to fail.
func failing(t testing.TB, f *Fetcher, r connector.FetchRequest, status int) *connector.FetchError {
	t.Helper()
	x, err := f.Fetch(t.Context(), r)
	if err == nil {
		t.Fatalf("fetch %s: got %q", r.URL, received(t, x))
	}
	failure, ok := errors.AsType[*connector.FetchError](err)
	if !ok || failure.Status != status {
		t.Fatalf("fetch %s: got %v, want the status %d", r.URL, err, status)
	}
	if failure.Begun.IsZero() || failure.Took < 0 || time.Since(failure.Begun) > time.Minute {
		t.Errorf("begun %s, took %s", failure.Begun, failure.Took)
	}
	return failure
}

func received(t testing.TB, x *connector.Exchange) string {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(x.Received, 0, x.Received.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func equal(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %.300q, want %.300q", what, got, want)
	}
}
