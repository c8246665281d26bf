package crawl

import (
	"math/rand/v2"
	"testing"
	"time"

	"holdfast/tests/testenv"
)

// TestKills kills crawls with -9 at random moments, and while they start, and lets the same command go on: what each has in the end
// is what one has that was never killed.
func TestKills(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(testenv.Seed(t), 1))
	for kills := testenv.Count(t, 400); kills > 0; {
		r := pairRig(t).plain()
		for over := false; !over; {
			r.start()
			life := time.NewTimer(time.Duration(rnd.Float64() * rnd.Float64() * float64(1500*time.Millisecond)))
			if kills <= 0 {
				life.Stop()
			}
			select {
			case <-life.C:
				r.p.Kill()
				kills--
			case <-r.p.Ended():
				r.ends()
				over = true
			}
			life.Stop()
		}
		r.whole()
	}
}
