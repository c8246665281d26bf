// Package httpcheck watches a web server: the status of an answer, its body, and how long its certificate is good for.
//
//	from: {http: {url: "https://node.example.org/health", timeout: 5s}, every: 30s}
//
// The series are those of Prometheus's blackbox exporter: probe_http_status_code, with the body as its text, 0 if there
// was no answer, with the reason as its text; and probe_ssl_earliest_cert_expiry, a time in seconds of Unix. No answer is
// something that is known of a server, so such a look has not failed.
package httpcheck

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/connector"
)

// Config is a URL that is asked again and again: the status of the answer is a value, 0 without one, and of https the time at
// which the certificate ends is another.
type Config struct {
	// URL that is asked, of http or https.
	URL string `yaml:"url"`
	// Headers are further fields of the request.
	Headers map[string]secret.Text `yaml:"headers"`
	// Timeout is how long the whole answer may take; default 10s.
	Timeout time.Duration `yaml:"timeout"`
	// CAFile has the authorities that are trusted, in PEM, instead of the system's.
	CAFile string `yaml:"ca_file"`
	// Redirects has redirects followed, with the headers only while scheme, host and port stay the same: they may be
	// secrets; default false, by which a redirect's status is the answer.
	Redirects bool `yaml:"redirects"`
}

// The names of the series.
const (
	statusSeries = "probe_http_status_code"
	expirySeries = "probe_ssl_earliest_cert_expiry"
)

// mostRedirects is how many redirects are followed.
const mostRedirects = 10

// mostBody is how much of a body is the text of a value.
const mostBody = 64 << 10

// Watcher asks a server again and again.
type Watcher struct {
	cfg    Config
	every  time.Duration
	client *http.Client
}

var _ connector.Watcher = (*Watcher)(nil)

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	return c
}

// Open returns a watcher that asks every so often. It asks nothing yet.
func Open(cfg Config, every time.Duration) (*Watcher, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fault.New(fault.Permanent, "url: want http://... or https://..., got %q", cfg.URL)
	}
	cfg = cfg.WithDefaults()
	trust := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fault.New(fault.Permanent, "ca_file: %w", err)
		}
		if trust.RootCAs = x509.NewCertPool(); !trust.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fault.New(fault.Permanent, "ca_file: %s has no certificate in PEM", cfg.CAFile)
		}
	}
	// Each look makes its own connection: that one can be made is what is looked at.
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, TLSClientConfig: trust}}
	client.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		switch {
		case !cfg.Redirects:
			return http.ErrUseLastResponse
		case len(via) >= mostRedirects:
			return fmt.Errorf("it redirects more than %d times", mostRedirects)
		case next.URL.Scheme != u.Scheme || next.URL.Host != u.Host:
			for name := range cfg.Headers { // net/http drops only those that it knows to be secret
				next.Header.Del(name)
			}
		}
		return nil
	}
	return &Watcher{cfg, every, client}, nil
}

// Watch tells each look's status and certificate. A position means nothing to it.
func (w *Watcher) Watch(ctx context.Context, _ []byte, tell func(context.Context, connector.Seen) error) error {
	return connector.Poll(ctx, w.every, w.cfg.Timeout+time.Second, w.look, tell)
}

func (w *Watcher) look(ctx context.Context) ([]connector.Sample, []string, error) {
	limited, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
	defer cancel()
	status := connector.Sample{Labels: map[string]string{"": statusSeries}}
	req, err := http.NewRequestWithContext(limited, http.MethodGet, w.cfg.URL, nil)
	if err != nil {
		return nil, nil, fault.New(fault.Permanent, "%w", err)
	}
	req.Header.Set("User-Agent", "holdfast")
	for k, v := range w.cfg.Headers {
		req.Header.Set(k, v.Reveal())
	}
	resp, err := w.client.Do(req)
	var body []byte
	if err == nil {
		defer resp.Body.Close()
		body, err = io.ReadAll(io.LimitReader(resp.Body, mostBody))
	}
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	if err != nil {
		status.Text = err.Error()
		return []connector.Sample{status}, nil, nil
	}
	status.Value, status.Text = float64(resp.StatusCode), strings.ToValidUTF8(string(body), "\uFFFD")
	all := []connector.Sample{status}
	if resp.TLS != nil {
		earliest := resp.TLS.PeerCertificates[0].NotAfter
		for _, c := range resp.TLS.PeerCertificates {
			if c.NotAfter.Before(earliest) {
				earliest = c.NotAfter
			}
		}
		all = append(all, connector.Sample{Labels: map[string]string{"": expirySeries}, Value: float64(earliest.Unix())})
	}
	return all, nil, nil
}
