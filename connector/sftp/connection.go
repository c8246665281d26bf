package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/singleflight"

	"holdfast/base/fault"
)

// connection is an SSH connection, over as many hops as it takes, and what is open on it.
type connection struct {
	cfg     Config
	silence time.Duration
	stall   time.Duration  // that a server may take for one request
	wire    *wire          // to the first hop: all bytes pass here
	hops    []*ssh.Client  // the last one is the destination's
	root    string         // of the destination, absolute
	spawn   func(f func()) // runs f until Close of the destination waits for it
	dead    chan struct{}  // closed when it broke; cause is set before
	once    sync.Once
	cause   error

	packet int // how many bytes of a file go into one request; set by the first lane
	lanes  lanes
	copier copier
	shells shells
	small  atomic.Int64 // small files in flight: they are hashed, and their directories synced, together
	noSync atomic.Bool  // directories can't be synced there

	making   singleflight.Group // of directories, by their path
	folders  folders
	hashings *batcher[struct{}, *hashing]
	syncings *batcher[*folder, *syncing]
}

// wire is the TCP connection, and knows when something was last received.
type wire struct {
	net.Conn
	heard moment
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if n > 0 {
		w.heard.set()
	}
	return n, err
}

// drop closes the connection at once, and discards what was not sent yet (linger 0): it could arrive in the middle of what the
// next connection does with the same file.
func (w *wire) drop() {
	if tcp, ok := w.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = w.Conn.Close()
}

// open makes a connection, and finds out what the server can do.
func open(ctx context.Context, cfg Config, stall time.Duration, spawn func(func())) (*connection, error) {
	s, err := readSettings(cfg)
	if err != nil {
		return nil, err
	}
	route, err := s.route(cfg)
	if err != nil {
		return nil, err
	}
	last := route[len(route)-1]
	c := &connection{cfg: cfg, silence: last.silence, stall: stall, spawn: spawn, dead: make(chan struct{})}
	c.lanes.opened = sync.NewCond(&c.lanes.mu)
	c.hashings, c.syncings = newBatcher(c.hashTogether), newBatcher(c.syncTogether)
	for i, h := range route {
		if err := c.connectHop(ctx, h, i == 0); err != nil {
			c.close(err)
			return nil, err
		}
	}
	// watch, which will notice a silent link, does not run yet: until then a time-out does.
	alive, cancel := context.WithTimeout(ctx, c.silence+last.connect)
	defer cancel()
	stop := context.AfterFunc(alive, c.wire.drop)
	defer stop()
	if err := c.explore(); err != nil {
		c.close(err)
		return nil, err
	}
	return c, nil
}

// connectHop adds a hop.
func (c *connection) connectHop(ctx context.Context, h hop, first bool) error {
	ctx, cancel := context.WithTimeout(ctx, h.connect)
	defer cancel()
	g, err := guardOf(h, first)
	if err != nil {
		return err
	}
	l, err := loginTo(h)
	if err != nil {
		return err
	}
	defer l.close()
	var conn net.Conn
	if first {
		var d net.Dialer
		if conn, err = d.DialContext(ctx, "tcp", address(h.host, h.port)); err == nil {
			c.wire = &wire{Conn: conn}
			c.wire.heard.set()
			conn = c.wire
		}
	} else {
		conn, err = c.hops[len(c.hops)-1].DialContext(ctx, "tcp", address(h.host, h.port))
	}
	if err != nil {
		return fault.New(fault.Transient, "connect to %s: %w", h, err)
	}
	// A handshake takes no context, so a time-out closes the whole connection.
	stop := context.AfterFunc(ctx, c.wire.drop)
	defer stop()
	inner, channels, requests, err := ssh.NewClientConn(conn, g.address(), &ssh.ClientConfig{
		User: h.user, Auth: []ssh.AuthMethod{ssh.PublicKeys(l.signers...)}, HostKeyCallback: g.callback,
		HostKeyAlgorithms: g.types, ClientVersion: "SSH-2.0-Holdfast"})
	if err != nil {
		_ = conn.Close()
		return handshakeError(ctx, h, l, err)
	}
	c.hops = append(c.hops, ssh.NewClient(inner, channels, requests))
	return nil
}

// handshakeError gives an error of a handshake its kind.
func handshakeError(ctx context.Context, h hop, l *login, err error) error {
	what := "connect to " + h.String()
	switch {
	case fault.KindOf(err) != fault.Unknown:
		return fmt.Errorf("%s: %w", what, err) // of the host's key
	case ctx.Err() != nil:
		return fault.New(fault.Transient, "%s: no answer within %v", what, h.connect)
	case strings.Contains(err.Error(), "unable to authenticate"),
		strings.Contains(err.Error(), "uthentication failures"):
		return l.refused(fault.New(fault.Credentials, "%s: the host refuses all %d keys", what, len(l.signers)))
	}
	if e, ok := errors.AsType[*ssh.AlgorithmNegotiationError](err); ok {
		return fault.New(fault.Permanent, "%s: %w", what, e)
	}
	return fault.New(fault.Transient, "%s: %w", what, err)
}

// explore opens the first lane, and finds out where the root is and what the server can do.
func (c *connection) explore() error {
	l, err := c.lane(lightly)
	if err != nil {
		return err
	}
	defer c.leave(l, lightly)
	directory := c.cfg.Directory
	if directory == "~" || strings.HasPrefix(directory, "~/") {
		directory = strings.TrimPrefix(directory[1:], "/")
	}
	if !path.IsAbs(directory) {
		home, err := l.client.RealPath(".")
		if err != nil {
			return c.classify("find home directory", err)
		}
		directory = path.Join(home, directory)
	}
	c.root = path.Clean(directory)
	if err := c.checkRoot(l); err != nil {
		return err
	}
	if err := c.findShell(); err != nil {
		return err
	}
	if _, copies := l.client.HasExtension("copy-data"); !copies || c.hasShell() {
		return nil
	}
	c.copier.mu.Lock()
	defer c.copier.mu.Unlock()
	if err := c.openCopier(); err != nil && !refused(err) { // without it files are sent
		return c.classify("open a channel for copies", err)
	}
	return nil
}

// checkRoot returns an error if the root does not exist.
func (c *connection) checkRoot(l *lane) error {
	info, err := l.client.Stat(c.root)
	switch {
	case isNotExist(err):
		return fault.WithHint(fault.New(fault.Permanent, "there is no directory %s on %s", c.root, c.cfg.Host),
			"mount its disk, or make it: ssh %s %s", quote(c.cfg.Host), quote("mkdir "+quote(c.root)))
	case err != nil:
		return c.classify("look at "+c.root, err)
	case !info.IsDir():
		return fault.New(fault.Permanent, "%s on %s is no directory", c.root, c.cfg.Host)
	}
	return nil
}

// client is the connection to the destination itself.
func (c *connection) client() *ssh.Client { return c.hops[len(c.hops)-1] }

func (c *connection) alive() bool {
	select {
	case <-c.dead:
		return false
	default:
		return true
	}
}

// fail closes the connection, so that all who wait for an answer get an error.
func (c *connection) fail(err error) {
	c.once.Do(func() {
		c.cause = err
		close(c.dead)
		if c.wire != nil {
			c.wire.drop()
		}
	})
}

// close closes the connection and waits until it has ended.
func (c *connection) close(err error) {
	c.fail(err)
	for _, h := range c.hops {
		_ = h.Wait()
	}
}

// watch sends keepalives while the server is quiet, and closes the connection if it stays silent. It ends with the
// connection.
func (c *connection) watch() {
	every := c.silence / 3
	tick := time.NewTicker(every)
	defer tick.Stop()
	ended := make(chan error, 1)
	c.spawn(func() { ended <- c.client().Wait() })
	asking := make(chan struct{}, 1) // holds one while an answer is awaited
	for {
		select {
		case err := <-ended:
			if err == nil {
				err = io.EOF
			}
			c.close(fault.New(fault.Transient, "the connection to %s broke: %w", c.cfg.Host, err))
			return
		case <-tick.C:
		}
		switch quiet := c.wire.heard.age(); {
		case quiet >= c.silence:
			c.fail(fault.New(fault.Transient, "%s was silent for %v", c.cfg.Host, quiet.Round(100*time.Millisecond)))
		case c.stalled():
			c.fail(fault.New(fault.Transient, "%s did not answer a request for %v", c.cfg.Host, c.stall))
		case quiet >= every/2:
			select {
			case asking <- struct{}{}:
				c.spawn(func() {
					_, _, _ = c.client().SendRequest("keepalive@openssh.com", true, nil)
					<-asking
				})
			default:
			}
		}
	}
}

// why returns the cause if the connection is broken, else err.
func (c *connection) why(err error) error {
	select {
	case <-c.dead:
		return c.cause
	default:
		return err
	}
}
