package web

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/connector"
)

// certificate is one that no browser would believe.
func certificate() tls.Certificate {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	return s.TLS.Certificates[0]
}

// serveTLS is a server of our own behind TLS, which speaks some protocols.
func serveTLS(t testing.TB, protocols string, handle func(p *peer)) *server {
	t.Helper()
	cfg := &tls.Config{Certificates: []tls.Certificate{certificate()}, NextProtos: strings.Split(protocols, " ")}
	s := serve(t, func(p *peer) {
		conn := tls.Server(p.Conn, cfg)
		if conn.Handshake() == nil {
			handle(&peer{Conn: conn, Reader: bufio.NewReader(conn), number: p.number})
		}
	})
	s.url = "https" + strings.TrimPrefix(s.url, "http")
	return s
}

func TestTLS(t *testing.T) {
	s := serveTLS(t, "http/1.1", func(p *peer) {
		for p.request() != "" {
			p.say(okAnswer)
		}
		_ = p.Close()
	})
	for _, http2 := range []bool{false, true} {
		f := fetcher(t, Config{HTTP2: http2})
		before := s.conns.Load()
		for range 3 {
			x := get(t, f, s.url)
			equal(t, "received", received(t, x), okAnswer)
			equal(t, "protocol", x.Protocol, "HTTP/1.1")
			equal(t, "remote", x.Remote.String(), s.Addr().String())
		}
		if got := s.conns.Load() - before; got != 1 {
			t.Errorf("%d connections, want 1", got)
		}
	}
	failure := failing(t, fetcher(t, Config{CheckCertificates: true}), page(s.url), connector.FetchNoConnect)
	if !fault.Is(failure, fault.Permanent) {
		t.Errorf("got the kind %s, want permanent", fault.KindOf(failure))
	}
	plain := answering(t, okAnswer)
	impatient := fetcher(t, Config{ConnectTimeout: 100 * time.Millisecond})
	failing(t, impatient, page("https"+strings.TrimPrefix(plain.url, "http")), connector.FetchNoConnect)
}

// TestTLSCut ends a body without TLS's goodbye: between its records that is the end, as browsers have it.
func TestTLSCut(t *testing.T) {
	s := serveTLS(t, "http/1.1", func(p *peer) {
		p.request()
		p.say("HTTP/1.1 200 OK\r\n\r\nall of it")
		_ = p.Conn.(*tls.Conn).NetConn().Close()
	})
	equal(t, "truncated", get(t, fetcher(t, Config{}), s.url).Truncated, "")
}

// TestOldTLS speaks to a server of long ago.
func TestOldTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "old")
	}))
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10,
		CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}}
	s.StartTLS()
	defer s.Close()
	if x := get(t, fetcher(t, Config{}), s.URL); x.Status != http.StatusOK {
		t.Errorf("got %d", x.Status)
	}
}

// between is a proxy. It tells what it was asked for, and connects all to one server, if it lets them in.
func between(t *testing.T, to string, asked chan<- string) *server {
	return serve(t, func(p *peer) {
		for {
			r := p.request()
			if r == "" {
				return
			}
			asked <- r
			switch {
			case !strings.Contains(r, "Proxy-Authorization: Basic bWU6c2VjcmV0\r\n"):
				p.say("HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
			case strings.HasPrefix(r, "CONNECT shut.example:"):
				p.say("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
			case strings.HasPrefix(r, "CONNECT hasty.example:"):
				p.say("HTTP/1.1 200 OK\r\n\r\nwhat is this?")
			case strings.HasPrefix(r, "CONNECT mute.example:"):
				return
			case strings.HasPrefix(r, "CONNECT "):
				conn, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				p.say("HTTP/1.1 200 Connected\r\nX: y\r\n\r\n")
				done := make(chan struct{})
				go func() {
					_, _ = io.Copy(p.Conn, conn)
					_ = p.Conn.Close()
					close(done)
				}()
				_, _ = io.Copy(conn, p)
				_ = conn.Close()
				<-done
				return
			default:
				p.say(okAnswer)
			}
		}
	})
}

func TestProxy(t *testing.T) {
	plain := serveTLS(t, "http/1.1", func(p *peer) {
		for p.request() != "" {
			p.say(okAnswer)
		}
		_ = p.Close()
	})
	asked := make(chan string, 1)
	p := between(t, plain.Addr().String(), asked)
	f := strict(t, Config{Proxy: secret.Text("http://me:secret@" + p.Addr().String())})

	x := get(t, f, "http://open.example/a?b")
	want := "GET http://open.example/a?b HTTP/1.1\r\nHost: open.example\r\n"
	if got := <-asked; !strings.HasPrefix(got, want) || !strings.HasPrefix(string(x.Sent), want) {
		t.Errorf("asked %q, told %q", got, x.Sent)
	}
	if strings.Contains(string(x.Sent), "Proxy") || x.Remote.IsValid() {
		t.Errorf("told %q, to %s", x.Sent, x.Remote)
	}
	x = get(t, f, "https://open.example/c")
	equal(t, "asked", <-asked, "CONNECT open.example:443 HTTP/1.1\r\nHost: open.example:443\r\n"+
		"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n\r\n")
	equal(t, "received", received(t, x), okAnswer)
	if !strings.HasPrefix(string(x.Sent), "GET /c HTTP/1.1\r\nHost: open.example\r\nUser-Agent") || x.Remote.IsValid() {
		t.Errorf("told %q, to %s", x.Sent, x.Remote)
	}
	get(t, f, "https://open.example/d") // over the same connection: the proxy is not asked again

	for host, want := range map[string]string{"shut": "502 Bad Gateway", "hasty": errForm.Error(), "mute": "EOF"} {
		failure := failing(t, f, page("https://"+host+".example/"), connector.FetchNoConnect)
		<-asked
		if !strings.Contains(failure.Error(), want) {
			t.Errorf("%s: got %v, want %q", host, failure, want)
		}
	}
	failing(t, f, page("http://127.0.0.1/"), connector.FetchForbidden)
	failing(t, f, page("https://localhost/"), connector.FetchForbidden)
	failing(t, f, page("http://inner.example/"), connector.FetchForbidden)

	stranger := strict(t, Config{Proxy: secret.Text("http://" + p.Addr().String())})
	for _, url := range []string{"http://open.example/", "https://open.example/"} {
		failure := failing(t, stranger, page(url), connector.FetchNoConnect)
		<-asked
		if !fault.Is(failure, fault.Credentials) {
			t.Errorf("%s: got the kind %s", url, fault.KindOf(failure))
		}
	}
	nobody := strict(t, Config{Proxy: "http://me:secret@127.0.0.1:1"})
	if err := failing(t, nobody, page("http://open.example/"), connector.FetchNoConnect); strings.Contains(err.Error(), "secret") {
		t.Error("the password is told")
	}
}
