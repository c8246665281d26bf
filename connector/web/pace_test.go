package web

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"holdfast/connector"
)

// TestBandwidthOfServer: exchanges with one server share its bandwidth, over connections and over time; another server has
// its own.
func TestBandwidthOfServer(t *testing.T) {
	const size = 100_000
	text := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size))
	slow, fast := answering(t, text), answering(t, text)
	f := fetcher(t, Config{MinRate: 800_000, RateGrace: 10 * time.Millisecond}) // the waiting is not the server's
	ask := func(url string, bandwidth int64) error {
		x, err := f.Fetch(t.Context(), connector.FetchRequest{URL: url, Bandwidth: bandwidth})
		if err == nil && (x.Truncated != "" || x.Received.Size() < size) {
			err = fmt.Errorf("%d bytes, truncated %q", x.Received.Size(), x.Truncated)
		}
		if err != nil {
			return err
		}
		return x.Close()
	}
	begun := time.Now()
	done := make(chan error, 2)
	for range cap(done) {
		go func() { done <- ask(slow.url, 1_000_000) }()
	}
	if err := ask(fast.url, 0); err != nil || time.Since(begun) > 90*time.Millisecond {
		t.Logf("without a limit it took %s: %v", time.Since(begun), err)
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if err := ask(slow.url, 1_000_000); err != nil {
		t.Error(err)
	}
	// 300,000 bytes, of which the last 32,768 need not be waited for, and the first come at once.
	if took := time.Since(begun); took < 200*time.Millisecond {
		t.Errorf("300,000 bytes at a million a second took %s", took)
	}
	begun = time.Now()
	if err := ask(slow.url, 200_000_000); err != nil || time.Since(begun) > 5*time.Second {
		t.Errorf("with another limit it took %s: %v", time.Since(begun), err)
	}
}

// TestPaces: servers that owe nothing are forgotten, the others are not.
func TestPaces(t *testing.T) {
	p := paces{all: map[string]*rate.Limiter{}}
	owes := p.of("http://owes", 100) // it owes for minutes, however slow this machine is
	owes.ReserveN(time.Now(), owes.Burst())
	for i := range 3 * fewPaces {
		p.of(fmt.Sprint("http://", i), 10_000)
	}
	if n := len(p.all); n > fewPaces+1 || p.of("http://owes", 100) != owes {
		t.Errorf("%d are remembered", n)
	}
	if p.of("http://owes", 0) != nil {
		t.Error("there is a pace without a bandwidth")
	}
}
