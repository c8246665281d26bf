package s3

import (
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector/desttest"
)

// TestPause has who is told of bytes wait for longer than anything may be silent. Before a request that hurts nobody; in the
// middle of one it is an outage, and what came stays.
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
	var told int64
	_, err := bucket(t, cfg).Place(t.Context(), "x", desttest.Content(data), func(n int64) {
		if told += n; told > small+ahead {
			pause()
		}
	})
	if !fault.Is(err, fault.Transient) {
		t.Errorf("got %v, want an outage", err)
	}
	if p, err := bucket(t, cfg).Place(t.Context(), "x", desttest.Content(data), nil); err != nil || p.Sent > 2*small {
		t.Errorf("placed %+v, %v; want it to go on", p, err)
	}
}
