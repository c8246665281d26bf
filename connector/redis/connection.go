package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"holdfast/base/fault"
)

// connection is a client whose connections can be cut: a blocking command of the library does not end
// with a context that is cancelled.
type connection struct {
	rueidis.Client
	timeout time.Duration

	mu   sync.Mutex // guards the below
	open []net.Conn
	gone bool
}

func dial(ctx context.Context, v server) (*connection, error) {
	opt, err := rueidis.ParseURL(v.url)
	if err != nil {
		return nil, fault.New(fault.Permanent, "read url: %w", err)
	}
	c := &connection{timeout: v.timeout}
	opt.Username, opt.Password, opt.ClientName = v.user, v.password.Reveal(), "holdfast"
	opt.DisableRetry, opt.DisableCache, opt.ForceSingleClient = true, true, true
	opt.Dialer.Timeout, opt.ConnWriteTimeout = v.timeout, v.timeout
	// One connection, which answers one command after the other.
	opt.DisableAutoPipelining, opt.BlockingPoolSize = true, 1
	opt.DialCtxFn = func(_ context.Context, addr string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
		return c.connect(ctx, addr, d, t)
	}
	stop := context.AfterFunc(ctx, c.cut)
	defer stop()
	if c.Client, err = rueidis.NewClient(opt); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *connection) connect(ctx context.Context, addr string, d *net.Dialer, t *tls.Config) (net.Conn,
	error) {
	var conn net.Conn
	var err error
	if t != nil {
		conn, err = (&tls.Dialer{NetDialer: d, Config: t}).DialContext(ctx, "tcp", addr)
	} else {
		conn, err = d.DialContext(ctx, "tcp", addr)
	}
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	c.open = append(c.open, conn)
	return conn, nil
}

// cut ends all connections at once, and whatever waits for an answer on them.
func (c *connection) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	for _, conn := range c.open {
		_ = conn.Close()
	}
	c.open = nil
}

func (c *connection) close() {
	c.cut()
	c.Client.Close()
}

// classify gives err its kind; what says what was tried. What the server did not say is an outage.
func classify(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
	}
	kind, hint := fault.Transient, ""
	if e, ok := errors.AsType[*rueidis.RedisError](err); ok {
		kind, hint = kindOf(e.Error())
	}
	out := error(fault.New(kind, "%s: %w", what, err))
	if hint != "" {
		out = fault.WithHint(out, "%s", hint)
	}
	return out
}

// kindOf is what an answer means for us: its first word is its kind.
func kindOf(answer string) (fault.Kind, string) {
	word, _, _ := strings.Cut(answer, " ")
	switch word {
	case "WRONGPASS", "NOAUTH":
		return fault.Credentials, "check user and password"
	case "NOPERM":
		return fault.Permanent, "the user needs XREAD and XINFO on the stream, or SUBSCRIBE (PSUBSCRIBE) on the channel; a broker PUBLISH " +
			"and PSUBSCRIBE, or XADD, XGROUP, XREADGROUP, XACK and XDEL"
	case "OOM":
		return fault.Full, "the server is at its maxmemory"
	case "NOGROUP": // the stream was deleted: the next connection makes it anew
		return fault.Transient, ""
	case "WRONGTYPE":
		return fault.Permanent, "the key holds something that is no stream"
	case "LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "UNKILLABLE", "UNBLOCKED":
		return fault.Transient, ""
	}
	return fault.Permanent, ""
}
