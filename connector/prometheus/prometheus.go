// Package prometheus is the watcher of values that Prometheus has, and of a metrics endpoint without a Prometheus.
//
//	from: {prometheus: {url: "http://127.0.0.1:9090", query: bitcoin_ibd}, every: 10s}
//	from: {scrape: {url: "http://127.0.0.1:9332/metrics", metrics: [bitcoin_ibd]}, every: 10s}
//
// Each look is an instant query (or one reading of the endpoint): a scalar, a string or a vector, of which each set of
// labels is a series of its own. Whatever keeps an answer from coming (the server is away or slow, the query is wrong,
// there are too many series) is a look that failed, and says nothing of any series. What the server warns of is an
// EventNote, once for as long as it is the same. There is no position: a value is what it is now.
package prometheus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/connector"
)

// server is where values come from, and how it is asked.
type server struct {
	URL             string
	User            string
	Password, Token secret.Text
	Timeout         time.Duration
	StaleAfter      time.Duration
	Series          int
}

func (s server) validate() (faults []error) {
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if u, err := url.Parse(s.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		bad("url: is %q, want http://HOST or https://HOST", s.URL)
	}
	if s.User != "" && s.Token != "" {
		bad("token: means nothing beside user")
	}
	if s.Timeout < 0 {
		bad("timeout: is %v, want a time above 0", s.Timeout)
	}
	if s.StaleAfter < 0 {
		bad("stale_after: is %v, want a time above 0", s.StaleAfter)
	}
	if s.Series < 0 || s.Series > mostSeries {
		bad("series: is %d, want 1 to %d", s.Series, mostSeries)
	}
	return faults
}

const (
	mostSeries     = 1_000_000
	defaultSeries  = 10_000
	defaultTimeout = 10 * time.Second
	mostBytes      = 64 << 20 // of an answer
	defaultEvery   = 10 * time.Second
)

// client asks a server, and reads no more than mostBytes of an answer.
type client struct {
	server
	http http.RoundTripper
}

// RoundTrip adds who we are, and a limit.
func (c *client) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	switch own, err := url.Parse(c.URL); {
	case err != nil || r.URL.Host != own.Host: // a redirect leads elsewhere: they have no business with our secrets
	case c.User != "":
		r.SetBasicAuth(c.User, c.Password.Reveal())
	case c.Token != "":
		r.Header.Set("Authorization", "Bearer "+c.Token.Reveal())
	}
	a, err := c.http.RoundTrip(r)
	if err == nil {
		a.Body = &limited{a.Body, mostBytes}
	}
	return a, err
}

// limited fails behind a number of bytes.
type limited struct {
	io.ReadCloser
	left int
}

func (l *limited) Read(b []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("the answer has more than %d bytes", mostBytes)
	}
	n, err := l.ReadCloser.Read(b[:min(len(b), l.left)])
	l.left -= n
	return n, err
}

func newClient(s server) *client {
	s.Timeout = cmp.Or(s.Timeout, defaultTimeout)
	s.Series = cmp.Or(s.Series, defaultSeries)
	return &client{s, &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConns: 2, IdleConnTimeout: time.Minute}}
}

func (c *client) close() { c.http.(*http.Transport).CloseIdleConnections() }

// poll looks again and again. It is how both watchers watch. A look has a limit of its own, and says so.
func (c *client) poll(ctx context.Context, every time.Duration, look func(context.Context) ([]connector.Sample, []string, error),
	tell func(context.Context, connector.Seen) error) error {
	return connector.Poll(ctx, cmp.Or(every, defaultEvery), c.Timeout+time.Second, look, tell)
}

// tooMany is why a look with many series fails.
func (c *client) tooMany(n int) error {
	if n <= c.Series {
		return nil
	}
	return fault.WithHint(fault.New(fault.Invalid, "%s has %d series, and a look may have %d", c.URL, n, c.Series),
		"ask for less, or raise `series`")
}

func refused(faults []error) error {
	if len(faults) == 0 {
		return nil
	}
	return fault.New(fault.Permanent, "watch metrics: %w", errors.Join(faults...))
}
