package clickhouse

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// lossy is a TCP proxy that can swallow the answer to an insert: the server has executed it, and the
// connection ends.
type lossy struct {
	addr string
	lose atomic.Bool // the answer to the next insert that ends well
	deaf atomic.Bool // all that says "100 Continue"
	busy atomic.Bool // it answers requests itself, with 503 and a time to stay away
}

func newLossy(t testing.TB, target string) *lossy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &lossy{addr: l.Addr().String()}
	var all sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				s, err := net.Dial("tcp", target)
				if err != nil {
					_ = c.Close()
					return
				}
				mu.Lock()
				open[c], open[s] = true, true
				mu.Unlock()
				p.join(c, s)
				mu.Lock()
				delete(open, c)
				delete(open, s)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return p
}

// fate is what becomes of some bytes.
type fate int

const (
	pass fate = iota
	swallow
	hangUp
)

// join moves bytes both ways until one side ends.
func (p *lossy) join(client, server net.Conn) {
	var inserts atomic.Bool
	var both sync.WaitGroup
	move := func(to, from net.Conn, look func([]byte) fate) {
		defer func() {
			_ = to.Close()
			_ = from.Close()
		}()
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if n > 0 {
				switch look(buf[:n]) {
				case swallow:
					continue
				case hangUp:
					return
				}
				if _, err := to.Write(buf[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
	both.Go(func() {
		move(server, client, func(b []byte) fate {
			if p.busy.Load() && (bytes.HasPrefix(b, []byte("POST ")) || bytes.HasPrefix(b, []byte("GET "))) {
				_, _ = client.Write([]byte("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n" +
					"Connection: close\r\n\r\n"))
				return hangUp
			}
			if bytes.HasPrefix(b, []byte("POST ")) {
				line, _, _ := bytes.Cut(b, []byte("\r\n"))
				// Not the rehearsal, which has no id.
				inserts.Store(bytes.Contains(line, []byte("INSERT+INTO")) &&
					bytes.Contains(line, []byte("query_id=")))
			}
			return pass
		})
	})
	both.Go(func() {
		move(client, server, func(b []byte) fate {
			if p.deaf.Load() && bytes.HasPrefix(b, []byte("HTTP/1.1 100")) {
				return swallow
			}
			ok := bytes.HasPrefix(b, []byte("HTTP/1.1 200"))
			if ok && inserts.Load() && p.lose.CompareAndSwap(true, false) {
				return hangUp
			}
			return pass
		})
	})
	both.Wait()
}
