package tour

import (
	"iter"
	"testing"
	"time"

	"holdfast/connector/wsprnet/simulator"
)

// TestFeedGoesOn: a feed that begins later has the same spots under the same ids, so that a tour that crashed, and a restored
// checkpoint, meet no conflict.
func TestFeedGoesOn(t *testing.T) {
	at := time.Now().Add(-40 * time.Minute)
	early, late := simulator.New(feedAt(at)), simulator.New(feedAt(at.Add(22*time.Minute+13456789*time.Microsecond)))
	from, to := late.Oldest(), early.Newest()
	n := 0
	next, stop := iter.Pull(late.Expected(from, to))
	defer stop()
	for want := range early.Expected(from, to) {
		if got, ok := next(); !ok || got != want {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		n++
	}
	if _, more := next(); more || n < 100_000 {
		t.Errorf("both have %d spots, and the later one others: %v", n, more)
	}
}
