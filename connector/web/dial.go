package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
)

const (
	// stagger is how long the next address waits for the one before it to take the connection (RFC 8305 has 250 ms).
	stagger = 250 * time.Millisecond
	// maxAddresses is how many of a host's addresses are tried.
	maxAddresses = 8
	// proxyLookup is how long the guard asks for a name that a proxy will ask for again.
	proxyLookup = 2 * time.Second
)

// connect makes a connection to the target's server, or to the proxy on the way there.
func (c *call) connect() (*wire, error) {
	addrs, err := c.addresses()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithDeadline(c.ctx, earliest(time.Now().Add(c.f.cfg.ConnectTimeout), c.began.Add(c.f.cfg.Timeout)))
	defer cancel()
	w := &wire{origin: c.target.origin}
	var conn net.Conn
	if p := c.f.proxy; p != nil {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "tcp", p.address)
	} else {
		conn, err = c.reach(ctx, addrs)
	}
	if err != nil {
		return nil, c.noConnection(err)
	}
	w.conn = conn
	w.socket = conn.(*net.TCPConn)
	if w.raw, err = w.socket.SyscallConn(); err == nil {
		err = c.prepare(ctx, w)
	}
	if err != nil {
		w.drop()
		return nil, c.noConnection(err)
	}
	return w, nil
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// prepare brings a connection to where requests can be sent: through the proxy, into TLS.
func (c *call) prepare(ctx context.Context, w *wire) error {
	if c.f.proxy == nil {
		w.remote = w.socket.RemoteAddr().(*net.TCPAddr).AddrPort()
		w.remote = netip.AddrPortFrom(w.remote.Addr().Unmap(), w.remote.Port())
	} else if c.target.secure {
		if err := c.f.proxy.tunnel(ctx, w, c.target); err != nil {
			return err
		}
	}
	if !c.target.secure {
		return nil
	}
	conn, err := c.f.secure.shake(ctx, w.conn, c.target, c.f.cfg.HTTP2 && !c.onlyOne)
	if err != nil {
		return err
	}
	w.conn = conn
	if conn.ConnectionState().NegotiatedProtocol == "h2" {
		w.frames = newFrames(w)
	}
	return nil
}

// addresses are those of the host that may be dialled, none if a proxy looks for them. It notes the look-up.
func (c *call) addresses() ([]netip.Addr, error) {
	if c.target.literal.IsValid() {
		return []netip.Addr{c.target.literal}, nil
	}
	limit := c.f.cfg.LookupTimeout
	if c.f.proxy != nil {
		limit = min(limit, proxyLookup)
	}
	ctx, cancel := context.WithDeadline(c.ctx, earliest(time.Now().Add(limit), c.began.Add(c.f.cfg.Timeout)))
	defer cancel()
	all, made, err := c.f.names.find(ctx, c.target.host)
	if made != nil {
		c.looked, c.began = made, time.Now()
	}
	if err != nil && c.f.proxy != nil {
		return nil, c.ctx.Err() // the proxy may know more
	}
	if err != nil {
		return nil, &connector.FetchError{Status: connector.FetchNoName, Here: errors.Is(err, errSilent), Err: err}
	}
	addrs := c.f.guard.permitted(all)
	if len(addrs) == 0 {
		return nil, forbidden(c.target.host, all[0])
	}
	return addrs[:min(len(addrs), maxAddresses)], nil
}

// wayOut reports whether this machine has a route to the world, over IPv4 or IPv6: a host that has addresses of the other
// kind alone is not to be reached, and that is nothing which ends. Nothing is sent: a datagram's socket is connected (RFC
// 5737, RFC 3849).
func wayOut() bool {
	for _, a := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		if conn, err := net.Dial("udp", a); err == nil {
			_ = conn.Close()
			return true
		}
	}
	return false
}

// noConnection says why there is none.
func (c *call) noConnection(err error) error {
	if _, ok := errors.AsType[*connector.FetchError](err); ok {
		return err
	}
	kind := fault.Transient
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		kind = fault.Permanent
	} else if _, ok := errors.AsType[x509.HostnameError](err); ok {
		kind = fault.Permanent
	}
	c.f.names.drop(c.target.host) // it may have moved
	e := failed(connector.FetchNoConnect, kind, "connect to %s: %w", c.target.authority, err)
	e.Here = (errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.ENETDOWN)) && !wayOut()
	return e
}

// reach dials addresses in their order. Each has a short time before the next one is tried beside it; the first connection is
// taken and the others are given up.
func (c *call) reach(ctx context.Context, addrs []netip.Addr) (net.Conn, error) {
	if len(addrs) == 1 {
		return c.dial(ctx, addrs[0])
	}
	type result struct {
		conn net.Conn
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result, len(addrs))
	var first error
	var winner net.Conn
	begun, ended := 0, 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ended < begun || winner == nil && begun < len(addrs) {
		next := timer.C
		if winner != nil || begun == len(addrs) {
			next = nil
		}
		select {
		case <-next:
			addr := addrs[begun]
			begun++
			go func() { // ended below, whatever becomes of it
				conn, err := c.dial(ctx, addr)
				results <- result{conn, err}
			}()
			timer.Reset(stagger)
		case r := <-results:
			ended++
			switch {
			case r.err != nil && first == nil:
				first = r.err
			case r.err == nil && winner == nil:
				winner = r.conn
				cancel()
			case r.err == nil:
				_ = r.conn.Close()
			}
			timer.Reset(0)
		}
	}
	if winner != nil {
		return winner, nil
	}
	return nil, first
}

// dial connects to one address. The guard looks at what the system is about to dial, so that nothing can come in between.
func (c *call) dial(ctx context.Context, addr netip.Addr) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if !c.f.guard.permits(at.Addr(), c.literal() && at.Addr().Unmap() == c.target.literal) {
			return forbidden(c.target.host, at.Addr())
		}
		return nil
	}}
	return d.DialContext(ctx, "tcp", netip.AddrPortFrom(addr, c.target.port).String())
}

// handshakes begin TLS.
type handshakes struct{ cfg *tls.Config }

func newHandshakes(cfg Config) *handshakes {
	c := &tls.Config{ClientSessionCache: tls.NewLRUClientSessionCache(cfg.IdleConnections)}
	if !cfg.CheckCertificates {
		// Old servers are a part of what is archived. Nothing secret is sent to any.
		c.InsecureSkipVerify = true
		c.MinVersion = tls.VersionTLS10
		for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
			c.CipherSuites = append(c.CipherSuites, s.ID)
		}
	}
	return &handshakes{cfg: c}
}

// shake makes a connection one of TLS.
func (h *handshakes) shake(ctx context.Context, conn net.Conn, t target, http2 bool) (*tls.Conn, error) {
	cfg := h.cfg.Clone()
	cfg.ServerName = t.host
	cfg.NextProtos = []string{"http/1.1"}
	if http2 {
		cfg.NextProtos = []string{"h2", "http/1.1"}
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return secure, nil
}
