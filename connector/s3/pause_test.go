package s3

import (
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector/desttest"
	"holdfast/tests/testenv"
)

// TestPause has who is told of bytes wait for longer than anything may be silent: before a request, and in the middle of one.
func TestPause(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.hashes(true)
	cfg := s.config()
	cfg.Silence, cfg.Answer = 100*time.Millisecond, 200*time.Millisecond
	pause := func() { <-time.After(2 * (cfg.Silence + cfg.Answer)) }
	data := desttest.Bytes(1, 3*small)
	for name, data := range map[string][]byte{"one request": data[:1000], "parts": data} {
		var told, last int64
		p, err := bucket(t, cfg).Place(t.Context(), name, desttest.Content(data), func(n int64) {
			if told += n; told-n == last { // the first of a request
				pause()
				last += small
			}
		})
		if err != nil || p.Sent != int64(len(data)) || told != p.Sent {
			t.Errorf("%s: placed %+v, %v, and told of %d bytes", name, p, err, told)
		}
	}
	// In the middle of a request: what came of that one is sent again, and counts again.
	var told int64
	held := false
	p, err := bucket(t, cfg).Place(t.Context(), "x", desttest.Content(data), func(n int64) {
		if told += n; told > small+ahead && !held {
			held = true
			pause()
		}
	})
	if err != nil || p.Sent != told || told <= int64(len(data)) || told > int64(len(data))+small {
		t.Errorf("placed %+v, %v, and told of %d bytes; want one part to go twice", p, err, told)
	}
}

// TestOutageBehindAPause: a store that is gone when a pause ends is one.
func TestOutageBehindAPause(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	proxy := testenv.Proxy(t, s.Listener.Addr().String())
	cfg := s.config()
	cfg.Endpoint = "http://" + proxy.Addr()
	cfg.Silence, cfg.Answer = 100*time.Millisecond, 200*time.Millisecond
	var told int64
	down := false
	_, err := bucket(t, cfg).Place(t.Context(), "x", desttest.Content(desttest.Bytes(1, 3*small)), func(n int64) {
		if told += n; told > small+ahead && !down {
			down = true
			proxy.Down()
			<-time.After(2 * (cfg.Silence + cfg.Answer))
		}
	})
	if !fault.Is(err, fault.Transient) {
		t.Errorf("got %v, want an outage", err)
	}
}
