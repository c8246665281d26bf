// Package web is the Fetcher of the job crawl: it asks web servers over HTTP/1.1 and HTTP/2, and keeps what was sent and what
// came, byte for byte, as an archive wants it.
//
// What it promises: Received is what the server sent, neither decoded nor tidied up, whole or with the reason why it is not; no
// exchange gets bytes of another; memory is bounded whatever comes (MemoryPerAnswer, then a file without a name); every wait has
// an end; and no address is dialled that the guard does not permit, whatever the name system says from one moment to the next.
//
// What it does not do: follow redirects, keep cookies, read robots.txt, wait out of politeness, decode contents. A connection
// carries one exchange at a time, in HTTP/2 too, since politeness asks for no more. Certificates are not checked unless asked
// for: an archive keeps what a site shows, and loses no page because a date passed by.
//
// Formats: RFC 9112 (HTTP/1.1, read as leniently as browsers read it), RFC 9113 (HTTP/2), RFC 1035 (DNS). Why HTTP/1.1 is read by
// own code: docs/decisions/0042.
package web

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"holdfast/base/fault"
	"holdfast/connector"
)

// Fetcher is a connector.Fetcher.
type Fetcher struct {
	cfg    Config
	fields []field // that every request has
	proxy  *proxy  // nil without one
	guard  guard
	names  *resolver
	idle   *pool
	pace   *rate.Limiter // of all; nil without a limit
	paces  paces         // of servers
	secure *handshakes
	closed atomic.Bool
}

var _ connector.Fetcher = (*Fetcher)(nil)

// New returns a Fetcher. An error says what is wrong with the Config, and is Permanent.
func New(cfg Config) (*Fetcher, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p, err := newProxy(cfg.Proxy.Reveal())
	if err != nil {
		return nil, err
	}
	f := &Fetcher{cfg: cfg, fields: cfg.fields(), proxy: p, guard: guard{allowed: cfg.AllowAddresses},
		names: newResolver(cfg.Nameservers), idle: newPool(cfg.IdleConnections, cfg.IdleTimeout), secure: newHandshakes(cfg),
		paces: paces{all: map[string]*rate.Limiter{}}}
	if cfg.Bandwidth > 0 {
		f.pace = rate.NewLimiter(rate.Limit(cfg.Bandwidth), burst(cfg.Bandwidth))
	}
	return f, nil
}

// burst is how much may come at once, in bytes: a tenth of a second's worth, and no less than is worth a call of the system.
func burst(bandwidth int64) int { return int(min(max(bandwidth/10, 4<<10), bufferSize)) }

// Close gives up the connections that are kept. Fetches under way go on and end as they would; theirs are closed then.
func (f *Fetcher) Close() error {
	f.closed.Store(true)
	f.idle.close()
	return nil
}

// Fetch implements connector.Fetcher.
func (f *Fetcher) Fetch(ctx context.Context, r connector.FetchRequest) (*connector.Exchange, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := &call{f: f, ctx: ctx, request: r, began: time.Now()}
	x, err := c.fetch()
	if err == nil {
		return x, nil
	}
	if cause := ctx.Err(); cause != nil {
		return nil, cause
	}
	failure, ok := errors.AsType[*connector.FetchError](err)
	if !ok {
		failure = failed(connector.FetchRuntime, fault.KindOf(err), "fetch %s: %w", r.URL, err)
	}
	failure.Begun, failure.Took, failure.Looked = c.began, time.Since(c.began), c.looked
	return nil, failure
}

// failed is a request that gets no answer.
func failed(status int, kind fault.Kind, format string, args ...any) *connector.FetchError {
	return &connector.FetchError{Status: status, Err: fault.New(kind, format, args...)}
}

// call is one request on its way.
type call struct {
	f       *Fetcher
	ctx     context.Context
	request connector.FetchRequest
	target  target
	began   time.Time // behind the look-up, if there is one
	looked  *connector.Lookup
	onlyOne bool // HTTP/1.1 alone is offered
}

// fetch asks, and asks once more on a new connection if one that was kept had ended: its server could not know that we would.
func (c *call) fetch() (*connector.Exchange, error) {
	if c.f.closed.Load() {
		return nil, failed(connector.FetchRuntime, fault.Permanent, "fetch %s: the fetcher is closed", c.request.URL)
	}
	var err error
	if c.target, err = parseTarget(c.request.URL); err != nil {
		return nil, err
	}
	if err := checkFields(c.request.Header); err != nil {
		return nil, err
	}
	if err := c.permitted(); err != nil {
		return nil, err
	}
	w := c.f.idle.take(c.target.origin)
	if w != nil {
		x, err := c.exchange(w)
		if !errors.Is(err, errGone) && !errors.Is(err, errOnlyOne) {
			return x, err
		}
		c.onlyOne = errors.Is(err, errOnlyOne)
	}
	x, err := c.anew()
	if errors.Is(err, errOnlyOne) && !c.onlyOne {
		c.onlyOne = true
		x, err = c.anew()
	}
	return x, err
}

// anew asks on a new connection.
func (c *call) anew() (*connector.Exchange, error) {
	w, err := c.connect()
	if err != nil {
		return nil, err
	}
	return c.exchange(w)
}

// permitted reports what the guard has against an address that stands in the URL, where no one needs to be dialled to tell.
func (c *call) permitted() error {
	at := c.target.literal
	if !at.IsValid() || c.f.guard.permits(at, c.literal()) {
		return nil
	}
	return forbidden(c.target.host, at)
}

// literal reports whether the address in the URL was named by a person.
func (c *call) literal() bool { return c.request.Literal && c.target.literal.IsValid() }

// exchange sends the request over w and reads the answer. w is kept for the next one, or closed.
func (c *call) exchange(w *wire) (*connector.Exchange, error) {
	f := c.f
	x := &connector.Exchange{Begun: c.began, Remote: w.remote, Looked: c.looked}
	s := &spool{limit: f.cfg.MemoryPerAnswer, dir: f.cfg.Dir, most: f.cfg.MaxBytes}
	if c.request.MaxBytes > 0 {
		s.most = c.request.MaxBytes
	}
	x.Sent = c.message(c.throughProxy())
	w.begin(clock{ctx: c.ctx, paces: [2]*rate.Limiter{f.pace, f.paces.of(c.target.origin, c.request.Bandwidth)}, end: c.began.Add(f.cfg.Timeout), head: time.Now().Add(f.cfg.HeaderTimeout),
		silence: f.cfg.Silence, rate: f.cfg.MinRate, grace: f.cfg.RateGrace})
	stop := context.AfterFunc(c.ctx, w.interrupt)
	a := &answer{w: w, s: s, x: x, wants: c.request.Wants}
	var keep bool
	var err error
	if w.frames != nil {
		keep, err = c.ask2(a)
	} else {
		keep, err = c.ask1(a)
	}
	x.Took = time.Since(c.began)
	if !stop() {
		keep = false // its deadline may be gone by at any moment
		if err == nil {
			err = c.ctx.Err()
		}
	}
	w.used = true
	if keep && w.err == nil {
		f.idle.put(w)
	} else {
		w.drop()
	}
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	x.Received = s
	return x, nil
}

// throughProxy reports whether a proxy reads the request: it does unless TLS hides it.
func (c *call) throughProxy() bool { return c.f.proxy != nil && !c.target.secure }

// ask1 is an exchange by HTTP/1.1. It reports whether the connection is good for another.
func (c *call) ask1(a *answer) (bool, error) {
	sent := a.x.Sent
	if c.throughProxy() {
		sent = c.f.proxy.sign(sent)
	}
	werr := a.w.write(sent) // a server may have answered before it read all: what it said is looked at first
	h, err := a.head()
	if err != nil && !errors.Is(err, errLong) {
		if werr != nil && !errors.Is(err, errTime) && a.w.none() {
			err = werr
		}
		return false, c.noAnswer(a.w, err)
	}
	if h.status == http.StatusProxyAuthRequired && c.throughProxy() {
		return false, c.f.proxy.refused(h.status)
	}
	a.x.Status, a.x.Header, a.x.Protocol = h.status, h.fields, h.protocol()
	if err == nil {
		a.w.clock.atBody()
		if err = a.wanted(h.empty()); err == nil {
			err = a.body(h)
		}
	}
	whole, err := a.ended(err)
	return whole && err == nil && werr == nil && h.persists && !a.unframed && a.w.buffered() == nil, err
}

// noAnswer says why no head of an answer came.
func (c *call) noAnswer(w *wire, err error) error {
	var full *spoolError
	switch {
	case errors.As(err, &full), errors.Is(err, errOnlyOne):
		return err
	case c.ctx.Err() != nil:
		return c.ctx.Err()
	case errors.Is(err, errTime):
		return failed(connector.FetchTimeout, fault.Transient, "fetch %s: no answer within %s", c.request.URL, c.f.cfg.HeaderTimeout)
	case w.used && (w.none() || errors.Is(err, errForm)):
		// Nothing came, or what was left over from before: on a new connection it will be told apart.
		return errGone
	}
	return failed(connector.FetchBroken, fault.Transient, "fetch %s: read the head of the answer: %w", c.request.URL, err)
}
