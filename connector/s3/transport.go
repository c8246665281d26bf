package s3

import (
	"context"
	"net"
	"net/http"
	"time"

	"holdfast/base/download"
	"holdfast/base/fault"
)

// newTransport is one whose calls end when nothing moves any more.
func newTransport(cfg Config) *http.Transport {
	dialer := &net.Dialer{Timeout: cfg.ConnectTimeout}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		TLSHandshakeTimeout:   cfg.ConnectTimeout,
		ResponseHeaderTimeout: cfg.Answer,
		IdleConnTimeout:       time.Minute,
		MaxIdleConnsPerHost:   16,
		DisableCompression:    true, // an object that is gzip is read as it is
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &watched{c, cfg.Silence, cfg.Answer}, nil
		},
	}
}

// watched is a connection that breaks when the other side takes or gives nothing for too long.
type watched struct {
	net.Conn
	silence, answer time.Duration
}

func (w *watched) Write(b []byte) (int, error) {
	// Who reads meanwhile waits for the answer to what is written.
	_ = w.SetReadDeadline(time.Now().Add(w.silence + w.answer))
	_ = w.SetWriteDeadline(time.Now().Add(w.silence))
	return w.Conn.Write(b)
}

func (w *watched) Read(b []byte) (int, error) {
	_ = w.SetReadDeadline(time.Now().Add(w.answer))
	return w.Conn.Read(b)
}

// throttle tells how long a store wants to be left alone, which the library does not hand on.
type throttle struct{ http.RoundTripper }

func (t throttle) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return resp, err
	}
	wait, asked := download.RetryAfter(resp.Header.Get("Retry-After"), time.Now())
	if !asked || wait <= 0 {
		return resp, nil
	}
	_ = resp.Body.Close()
	wait = min(wait, time.Hour)
	return nil, fault.WithWait(fault.New(fault.Throttled, "the store asks for %v: %s", wait, resp.Status), wait)
}
