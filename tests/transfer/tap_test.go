package transfer

import (
	"net"
	"sync"
	"testing"

	"holdfast/tests/testenv"
)

// tap stands between Holdfast and a proxy, and reads along.
type tap struct {
	addr, upstream string
	listener       net.Listener
	serving        sync.WaitGroup

	mu   sync.Mutex // guards all below
	see  watcher
	open map[net.Conn]bool
}

// watcher sees each part of what Holdfast sends (up) or gets, before it goes on; keep is false for one that is to be lost.
type watcher func(up bool, part []byte) (keep bool)

// newTap starts a tap through which all goes on to upstream.
func newTap(t testing.TB, upstream string) *tap {
	t.Helper()
	c := &tap{addr: testenv.Address(t), upstream: upstream, open: map[net.Conn]bool{}}
	var err error
	if c.listener, err = net.Listen("tcp", c.addr); err != nil {
		t.Fatal(err)
	}
	c.serving.Go(func() {
		for {
			client, err := c.listener.Accept()
			if err != nil {
				return
			}
			c.serving.Go(func() { c.serve(client) })
		}
	})
	t.Cleanup(func() {
		_ = c.listener.Close()
		c.mu.Lock()
		for conn := range c.open {
			abort(conn)
		}
		c.open = nil
		c.mu.Unlock()
		c.serving.Wait()
	})
	return c
}

// watch sets who reads along; nil for nobody.
func (c *tap) watch(w watcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.see = w
}

func (c *tap) serve(client net.Conn) {
	defer abort(client)
	server, err := net.Dial("tcp", c.upstream)
	if err != nil {
		return
	}
	defer abort(server)
	c.mu.Lock()
	ended := c.open == nil
	if !ended {
		c.open[client], c.open[server] = true, true
	}
	c.mu.Unlock()
	if ended {
		return
	}
	var ways sync.WaitGroup
	ways.Go(func() { c.pass(server, client, true); abort(server) })
	c.pass(client, server, false)
	abort(client)
	ways.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, client)
	delete(c.open, server)
}

// pass copies one way of a connection until it ends.
func (c *tap) pass(to, from net.Conn, up bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		c.mu.Lock()
		see := c.see
		c.mu.Unlock()
		if n > 0 && (see == nil || see(up, buf[:n])) {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// abort ends a connection so that the other side sees it broken, and not ended.
func abort(c net.Conn) {
	if c, ok := c.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	_ = c.Close()
}
