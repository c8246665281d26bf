package weather

import (
	"math/rand/v2"
	"testing"
	"time"

	"holdfast/tests/testenv"
)

// TestKills kills one role with -9 at random moments while a stream of small windows goes through it: while it starts,
// while it works and while it waits. In the end everything is there once.
func TestKills(t *testing.T) {
	for _, name := range []string{streamer, ingester, processor} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kills := testenv.Count(t, 100)
			// A window is 3 batches and goes out every 60 ms: there is work for all of the kills.
			s := newStation(t, shape{seed: testenv.Seed(t), hours: 8 * kills, zips: 24})
			s.with(streamer, "--interval", "60ms", "--batch", "10")
			s.start()
			r := s.roles[name]
			rnd := rand.New(rand.NewPCG(testenv.Seed(t), 3))
			for i := range kills {
				if i%3 > 0 { // else it is killed as it starts
					r.working()
				}
				time.Sleep(time.Duration(rnd.Int64N(int64(100 * time.Millisecond))))
				if !r.p.Running() {
					t.Fatalf("the %s has done its work after %d kills, want it to be killed %d times:\n%s", name, i, kills,
						r.p.Output())
				}
				r.p.Kill()
				r.again()
			}
			s.finish()
		})
	}
}

// working waits until the role has come to its servers since it was started.
func (r *role) working() {
	r.s.t.Helper()
	began := time.Now()
	testenv.Until(r.s.t, soon, "the "+r.name+" comes to the broker", func() bool {
		return r.broker.attempts(began, time.Now()) > 0 || !r.p.Running()
	})
}
