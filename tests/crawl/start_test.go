package crawl

import (
	"slices"
	"testing"
	"time"

	"holdfast/tests/testenv"
)

// TestStart kills a crawl in its midst: from the start of the same command until its first request it takes less than half a second,
// where nothing else wants the processors.
func TestStart(t *testing.T) {
	r := pairRig(t).plain()
	r.start()
	r.reaches(300)
	r.p.Kill()
	const starts = 5
	var took []time.Duration
	for range starts {
		begun := time.Now()
		r.start()
		var first time.Time
		testenv.Until(t, soon, "it asks", func() bool {
			if !r.p.Running() {
				t.Fatalf("it has ended:\n%s", r.p.Output())
			}
			for _, s := range r.sites {
				for _, q := range slices.Backward(s.Requests()) {
					if q.Begun.Before(begun) {
						break
					}
					first = q.Begun
				}
			}
			return !first.IsZero()
		})
		r.p.Kill()
		took = append(took, first.Sub(begun))
	}
	slices.Sort(took)
	t.Logf("from the start to the first request: %v", took)
	bound := 500 * time.Millisecond
	if testenv.CI() {
		bound *= 4 // other tests run beside it
	}
	if took[0] > bound {
		t.Errorf("the fastest of %d starts took %v, want at most %v", starts, took[0], bound)
	}
}
