package nats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast/base/secret"
	"holdfast/base/web"
)

// server is where the servers are, and who we are to them.
type server struct {
	url         string
	user        string
	password    secret.Text
	token       secret.Text
	credentials string
	timeout     time.Duration
	embedded    *Embedded // in the place of url
}

func (v server) validate() (errs []error) {
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if v.url == "" {
		add("url: missing; give nats://host:4222")
	}
	for one := range strings.SplitSeq(v.url, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		switch {
		case v.url == "":
		case err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls":
			add("url: want nats://host:4222 or tls://host:4222, or several with commas between them")
		case u.User != nil:
			add("url: holds a user name; put it into user and password")
		case web.BadPort(u) != "":
			add("url: %s", web.BadPort(u))
		}
	}
	ways := 0
	for _, set := range []bool{v.user != "", v.token != "", v.credentials != ""} {
		if set {
			ways++
		}
	}
	if ways > 1 {
		add("user: want one of user, token and credentials")
	}
	if v.password != "" && v.user == "" {
		add("user: is missing, and there is a password")
	}
	if v.timeout < time.Millisecond {
		add("timeout: got %v, want 1ms or more", v.timeout)
	}
	return errs
}

// session is one connection. It does not come back by itself: what was on its way when it broke must
// be known as unknown.
type session struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	closed chan struct{} // is closed with the connection

	mu    sync.Mutex // guards fault
	fault error      // what the server said beside its answers
	told  chan struct{}
}

func (v server) connect(ctx context.Context) (*session, error) {
	s := &session{closed: make(chan struct{}), told: make(chan struct{})}
	d := &dialer{ctx: ctx, Dialer: net.Dialer{Timeout: v.timeout}}
	opts := append(v.identity(), nats.Name("holdfast"), nats.Timeout(v.timeout), nats.NoReconnect(),
		nats.PingInterval(v.timeout), nats.MaxPingsOutstanding(1), nats.SetCustomDialer(d),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { s.tell(err) }),
		nats.ClosedHandler(func(*nats.Conn) { close(s.closed) }))
	if v.embedded != nil {
		opts = append(opts, nats.InProcessServer(v.embedded.server))
	}
	nc, err := nats.Connect(v.url, opts...)
	d.release()
	if err != nil {
		return nil, errors.Join(ctx.Err(), err)
	}
	s.nc = nc
	if s.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(v.timeout)); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (v server) identity() []nats.Option {
	switch {
	case v.user != "":
		return []nats.Option{nats.UserInfo(v.user, v.password.Reveal())}
	case v.token != "":
		return []nats.Option{nats.Token(v.token.Reveal())}
	case v.credentials != "":
		return []nats.Option{nats.UserCredentials(v.credentials)}
	}
	return nil
}

// tell keeps the first thing that the server says beside its answers: a publish that it does not
// allow has no other.
func (s *session) tell(err error) {
	if errors.Is(err, nats.ErrSlowConsumer) {
		return // the subscription counts what it dropped
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault == nil {
		s.fault = err
		close(s.told)
	}
}

// why returns what ended the connection, or was said beside the answers.
func (s *session) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault != nil {
		return s.fault
	}
	if err := s.nc.LastError(); err != nil {
		return err
	}
	return nats.ErrConnectionClosed
}

func (s *session) alive() bool { return s.nc.IsConnected() }

// close ends the connection and waits until its callbacks are done.
func (s *session) close() {
	s.nc.Close()
	<-s.closed
}

// dialer makes connections that end with a context while they are being made.
type dialer struct {
	net.Dialer
	ctx   context.Context // nats.Connect takes none, and makes several connections
	stops []func() bool
}

// Dial is called by nats.Connect, one at a time.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	c, err := d.DialContext(d.ctx, network, address)
	if err == nil {
		d.stops = append(d.stops, context.AfterFunc(d.ctx, func() { _ = c.Close() }))
	}
	return c, err
}

// release lets the connections outlive the context.
func (d *dialer) release() {
	for _, stop := range d.stops {
		stop()
	}
}
