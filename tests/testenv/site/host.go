package site

import (
	"bufio"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base32"
	"fmt"
	"html"
	"io"
	"log"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Host is a server whose answers are written byte by byte: net/http is too well-behaved.
type Host struct {
	Log
	URL string // of its root: http://127.1.2.3:20456/

	t        testing.TB
	listener net.Listener
	conns    atomic.Int64
	exact    map[string]handler // by path, without the query
	prefixes []prefixed
	links    []string // of its front page, as they stand there
	ended    chan struct{}
	serving  sync.WaitGroup

	turnsMu sync.Mutex // guards turns
	turns   map[string]int
}

// handler answers a request, and reports whether the connection is good for another.
type handler func(x *exchange) bool

type prefixed struct {
	prefix string
	handle handler
}

// exchange is a request that is being answered.
type exchange struct {
	net.Conn
	host   *Host
	target string // as it came
	path   string // without the query
	query  string
	header textproto.MIMEHeader
	turn   int // the how manieth request for the target, from 1
	over   func(status int)
}

func newHost(t testing.TB) *Host { return hostOn(t, listen(t)) }

// hostOn is a host behind a listener. It answers when it is started.
func hostOn(t testing.TB, l net.Listener) *Host {
	return &Host{URL: "http://" + l.Addr().String() + "/", t: t, listener: l, exact: map[string]handler{}, turns: map[string]int{},
		ended: make(chan struct{})}
}

// Conns is how many connections it was asked for.
func (h *Host) Conns() int { return int(h.conns.Load()) }

func (h *Host) at(path string, handle handler) { h.exact[path] = handle }

// prefix has all paths that begin so, and have no handler of their own, answered.
func (h *Host) prefix(prefix string, handle handler) {
	h.prefixes = append(h.prefixes, prefixed{prefix, handle})
}

// link has the front page link to a reference.
func (h *Host) link(ref string) { h.links = append(h.links, ref) }

// front is the front page.
func (h *Host) front() string {
	var b strings.Builder
	for _, ref := range h.links {
		fmt.Fprintf(&b, "<a href=\"%s\">x</a>\n", html.EscapeString(ref))
	}
	return b.String()
}

// start serves until the test ends. A host without a listener of ours is served by others.
func (h *Host) start() {
	if h.listener == nil {
		return
	}
	var mu sync.Mutex // guards open and over
	open, over := map[net.Conn]bool{}, false
	h.serving.Go(func() {
		for {
			conn, err := h.listener.Accept()
			if err != nil {
				return
			}
			h.conns.Add(1)
			mu.Lock()
			open[conn] = true
			if over {
				_ = conn.Close()
			}
			mu.Unlock()
			h.serving.Go(func() {
				h.serve(conn)
				_ = conn.Close()
				mu.Lock()
				delete(open, conn)
				mu.Unlock()
			})
		}
	})
	h.t.Cleanup(func() {
		close(h.ended)
		_ = h.listener.Close()
		mu.Lock()
		over = true
		for conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		h.serving.Wait()
	})
}

// serve answers the requests of a connection. Like any server it puts up with one that is no HTTP.
func (h *Host) serve(conn net.Conn) {
	in := bufio.NewReader(conn)
	for {
		text := textproto.NewReader(in)
		line, err := text.ReadLine()
		if err != nil {
			return
		}
		header, err := text.ReadMIMEHeader()
		fields := strings.Split(line, " ")
		if err != nil || len(fields) != 3 || !strings.HasPrefix(fields[1], "/") {
			_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			return
		}
		x := &exchange{Conn: conn, host: h, target: fields[1], header: header}
		x.path, x.query, _ = strings.Cut(x.target, "?")
		x.turn = h.turnOf(x.target)
		x.over = h.begin(h.URL+x.target[1:], http.Header(header))
		keep := h.handler(x.path)(x)
		x.over(0)
		if !keep {
			return
		}
	}
}

func (h *Host) turnOf(target string) int {
	h.turnsMu.Lock()
	defer h.turnsMu.Unlock()
	h.turns[target]++
	return h.turns[target]
}

func (h *Host) handler(path string) handler {
	if handle, ok := h.exact[path]; ok {
		return handle
	}
	for _, p := range h.prefixes {
		if strings.HasPrefix(path, p.prefix) {
			return p.handle
		}
	}
	return func(x *exchange) bool { return x.answer(404, "Content-Type: text/html\r\n", "<p>Nothing here.") }
}

// raw sends bytes, and reports whether the client took them. The exchange is over in the log before the last one is sent, if
// status says that it is, as it is not 0 then.
func (x *exchange) raw(text string, status int) bool {
	last := len(text)
	if status != 0 && last > 0 {
		last--
	}
	if _, err := io.WriteString(x, text[:last]); err != nil {
		return false
	}
	if status != 0 {
		x.over(status)
	}
	_, err := io.WriteString(x, text[last:])
	return err == nil
}

// answer sends an answer as it should be. fields are lines with their ends.
func (x *exchange) answer(status int, fields, body string) bool {
	return x.raw(fmt.Sprintf("HTTP/1.1 %03d %s\r\n%sContent-Length: %d\r\n\r\n%s", status, http.StatusText(status), fields,
		len(body), body),
		status)
}

// page sends a page as it should be.
func (x *exchange) page(body string) bool {
	return x.answer(200, "Content-Type: text/html; charset=utf-8\r\n", "<!DOCTYPE html><title>A page</title>\n"+body)
}

// gone sends text, closes the connection, and so ends the answer.
func (x *exchange) gone(text string, status int) bool {
	x.raw(text, status)
	return false
}

// pause waits, and reports whether the test still goes on.
func (x *exchange) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-x.host.ended:
		return false
	}
}

// hold waits until the client has gone, or the test has ended.
func (x *exchange) hold() bool {
	_, _ = io.Copy(io.Discard, x.Conn)
	return false
}

// reset ends the connection as a server does that has crashed.
func (x *exchange) reset() bool {
	conn := x.Conn
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it fails when the client has gone
		_ = tcp.Close()
	}
	return false
}

// says is a handler that sends the same always, and keeps the connection.
func says(text string, status int) handler {
	return func(x *exchange) bool { return x.raw(text, status) }
}

// closes is one that closes the connection behind what it sends.
func closes(text string, status int) handler {
	return func(x *exchange) bool { return x.gone(text, status) }
}

// gives is one that answers as it should be.
func gives(status int, fields, body string) handler {
	return func(x *exchange) bool { return x.answer(status, fields, body) }
}

// discard is for servers that complain of clients.
var discard = log.New(io.Discard, "", 0)

// digest is that of a payload as WARC files have it.
func digest(body string) string {
	sum := sha1.Sum([]byte(body))
	return "sha1:" + base32.StdEncoding.EncodeToString(sum[:])
}
