package site

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// secure are hosts that speak TLS, and one whose address is of IPv6.
func (n *Nasty) secure() {
	n.http2()
	old := func(why string, days int, change func(*tls.Config)) (*Host, *Case) {
		l := listen(n.t)
		cert, _ := certificate(n.t, l.Addr(), days)
		cfg := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}
		change(cfg)
		h := hostOn(n.t, tls.NewListener(l, cfg))
		h.URL = "https" + strings.TrimPrefix(h.URL, "http")
		n.adopt(h)
		front := n.cases[len(n.cases)-1]
		front.Why = why
		return h, front
	}
	h, _ := old("TLS by HTTP/1.1, with a certificate that is out of date: an archive takes it", -1, func(*tls.Config) {})
	n.on(h, "/tls/cut", "TLS that is cut in the midst of a body", func(x *exchange) bool {
		return x.raw(textHead+"Content-Length: 100\r\n\r\nhalf of it", 0) && x.reset()
	}).cut("disconnect").Most = 1 + Retries
	n.on(h, "/tls/no-notice", "TLS whose end is not announced, behind a body without a length: it may be cut, and may not",
		func(x *exchange) bool {
			return x.raw(textHead+"\r\nuntil the end", 0) && x.unannounced()
		}).cut("", "disconnect")
	_, front := old("TLS 1.0 and nothing newer: taken, or refused", 1, func(c *tls.Config) {
		c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10
	})
	front.may()
	plain := n.host()
	mixed := "https" + strings.TrimPrefix(plain.URL, "http") + "no-tls"
	plain.link(mixed)
	n.add(&Case{URL: mixed, Why: "TLS is asked for where none is spoken", Status: []int{-2, -3}, Archived: Never})
	n.six()
}

// http2 is a host that speaks HTTP/2, by net/http.
func (n *Nasty) http2() {
	l := listen(n.t)
	cert, root := certificate(n.t, l.Addr(), 1)
	n.Certificate = root
	h := &Host{URL: "https://" + l.Addr().String() + "/", t: n.t, exact: map[string]handler{}}
	large := noise(n, 1<<20)
	mux := map[string]http.HandlerFunc{
		"/":         func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, h.front()) },
		"/h2/large": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, large) },
		"/h2/cut": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half of it")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"/h2/trailer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Trailer")
			_, _ = io.WriteString(w, "with a trailer")
			w.Header().Set("X-Trailer", "1")
		},
		"/h2/204": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
	}
	server := &http.Server{TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}},
		ErrorLog: discard, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			over := h.begin(h.URL+r.RequestURI[1:], r.Header)
			status := http.StatusNotFound
			if _, ok := mux[r.URL.Path]; ok {
				status = http.StatusOK
			}
			over(status) // what follows may reach the client at once
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			if serve, ok := mux[r.URL.Path]; ok {
				serve(w, r)
				return
			}
			w.WriteHeader(status)
		})}
	h.serving.Go(func() { _ = server.ServeTLS(l, "", "") })
	n.t.Cleanup(func() {
		_ = server.Close()
		h.serving.Wait()
	})
	n.adopt(h)
	n.on(h, "/h2/large", "a megabyte by HTTP/2", nil).pays(large)
	n.on(h, "/h2/cut", "a stream of HTTP/2 that is reset in the midst of a body", nil).cut("disconnect").Most = 1 + Retries
	n.on(h, "/h2/trailer", "a trailer by HTTP/2", nil).pays("with a trailer")
	n.on(h, "/h2/204", "no content by HTTP/2", nil).ends(204)
	n.on(h, "/h2/none", "nothing there by HTTP/2", nil).ends(404)
	clear := "http" + strings.TrimPrefix(h.URL, "https") + "clear"
	h.link(clear)
	n.add(&Case{URL: clear, Why: "a port of TLS is spoken to without: Go says 400", Status: []int{400, -3}, Archived: May})
}

// six is a host at ::1, where this machine has that address.
func (n *Nasty) six() {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		n.t.Logf("no host with an address of IPv6: %v", err)
		return
	}
	h := hostOn(n.t, l)
	n.adopt(h)
	n.target(h, "/six", "a relative link at an address of IPv6")
	long := strings.Replace(h.URL, "[::1]", "[0:0:0:0:0:0:0:1]", 1) + "long"
	h.link("/six")
	h.link(long)
	n.target(h, "/long", "an address of IPv6 that is written out")
}

// unannounced closes the connection below TLS, without its closing notice.
func (x *exchange) unannounced() bool {
	if secure, ok := x.Conn.(*tls.Conn); ok {
		_ = secure.NetConn().Close()
	}
	return false
}

// certificate is one that nobody signed but itself, good for some days from now, or until some days ago, and its PEM.
func certificate(t testing.TB, at net.Addr, days int) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	host, _, err := net.SplitHostPort(at.String())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()),
		Subject:   pkix.Name{CommonName: fmt.Sprintf("Nasty at %s", host)},
		NotBefore: now.AddDate(0, 0, -10), NotAfter: now.AddDate(0, 0, days), IPAddresses: []net.IP{net.ParseIP(host)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE",
		Bytes: der})
}
