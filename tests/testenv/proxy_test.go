package testenv

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// through is one request through a proxy.
func through(ctx context.Context, p *FaultyProxy, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.Addr(),
		strings.NewReader(body))
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

func echo(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestProxyDownAndUp(t *testing.T) {
	p := Proxy(t, echo(t))
	addr := p.Addr()
	for range 3 {
		if got, err := through(t.Context(), p, "hello"); err != nil || got != "hello" {
			t.Fatalf("up: %q, %v", got, err)
		}
		open, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		p.Down()
		_ = open.SetReadDeadline(time.Now().Add(startWithin))
		_, err = open.Read(make([]byte, 1))
		if timeout := net.Error(nil); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("an open connection outlived the proxy: %v", err)
		}
		_ = open.Close()
		if _, err := through(t.Context(), p, "hello"); err == nil {
			t.Error("down: got an answer")
		}
		p.Up()
		if p.Addr() != addr {
			t.Errorf("up again: address %s, was %s", p.Addr(), addr)
		}
	}
}

func TestProxyToxics(t *testing.T) {
	p := Proxy(t, echo(t))
	long := strings.Repeat("x", 64<<10)
	for _, c := range []struct {
		kind, stream string
		attrs        map[string]any
		body         string
		fails        bool
		atLeast      time.Duration
	}{
		{"latency", "downstream", map[string]any{"latency": 200}, "a", false, 200 * time.Millisecond},
		{"latency", "upstream", map[string]any{"latency": 200}, "a", false, 200 * time.Millisecond},
		{"bandwidth", "upstream", map[string]any{"rate": 128}, long, false, 300 * time.Millisecond},
		{"reset_peer", "downstream", map[string]any{"timeout": 0}, "a", true, 0},
		{"limit_data", "upstream", map[string]any{"bytes": 50}, long, true, 0},
		{"timeout", "upstream", map[string]any{"timeout": 0}, "a", true, time.Second},
	} {
		t.Run(c.kind+" "+c.stream, func(t *testing.T) {
			p.Toxic(t, "fault", c.kind, c.stream, c.attrs)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			begun := time.Now()
			got, err := through(ctx, p, c.body)
			if took := time.Since(begun); took < c.atLeast {
				t.Errorf("took %v, want %v at least", took, c.atLeast)
			}
			if c.fails != (err != nil || got != c.body) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			p.Remove(t, "fault")
			if got, err := through(t.Context(), p, c.body); err != nil || got != c.body {
				t.Errorf("after remove: got %d bytes, %v", len(got), err)
			}
		})
	}
	said := refusal(t, func(t testing.TB) { p.Toxic(t, "x", "plague", "upstream", nil) })
	if !strings.Contains(said, "x") {
		t.Errorf("unknown kind: said %q", said)
	}
}

// A server behind a proxy may come, go and come again; the proxy stays.
func TestProxyInFrontOfClickHouse(t *testing.T) {
	s := ClickHouse(t)
	s.Stop()
	p := Proxy(t, s.Addr())
	if _, err := through(t.Context(), p, "select 1"); err == nil {
		t.Error("got an answer from a stopped server")
	}
	s.Restart()
	if got, err := through(t.Context(), p, "select 1"); err != nil || got != "1\n" {
		t.Errorf("after the start: %q, %v", got, err)
	}
	p.Toxic(t, "hole", "timeout", "upstream", map[string]any{"timeout": 0})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := through(ctx, p, "select 1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("black hole: got %v", err)
	}
	p.Remove(t, "hole")
	if got, err := through(t.Context(), p, "select 1"); err != nil || got != "1\n" {
		t.Errorf("after the hole: %q, %v", got, err)
	}
}
