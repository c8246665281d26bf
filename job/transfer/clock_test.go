package transfer

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/queue"
)

// TestClockSetBack: a clock that is two hours behind where it was in the life before keeps nothing waiting, and has nothing done
// twice: neither what is done, nor what waits for its next try, nor what nobody came to.
func TestClockSetBack(t *testing.T) {
	r := newRig(t, 1)
	u := newUnreliable(t, r.to[0])
	const good, spoilt, late = 5, 3, 4
	var mended atomic.Bool
	u.place = func(_ context.Context, name string) error {
		if name := filepath.Base(name); name[0] == 's' && !mended.Load() {
			return fault.New(fault.Corrupt, "%s came spoilt", name)
		}
		return nil
	}
	r.change = func(c *Config) { c.Destinations[0].To, c.Attempts = u, 100 }
	life := func(ahead time.Duration, meanwhile func()) {
		synctest.Test(t, func(t *testing.T) { // each begins at the same time
			was := r.t
			r.t = t
			defer func() { r.t = was }()
			time.Sleep(ahead)
			r.run(meanwhile)
		})
	}
	for i := range good {
		r.write(fmt.Sprint("g", i), []byte(fmt.Sprint("good", i)))
	}
	for i := range spoilt {
		r.write(fmt.Sprint("s", i), []byte(fmt.Sprint("spoilt", i)))
	}
	life(2*time.Hour, func() {
		until(r.t, "the good ones are there", func() bool { return len(tree(r.t, r.to[0])) == good })
		until(r.t, "the others were tried some times", func() bool { return u.tried.Load() >= good+4*spoilt })
	})
	if c := r.counts("ship-a"); c.Waiting != spoilt {
		t.Fatalf("%+v, want %d to wait for their next try", c, spoilt)
	}
	for i := range late {
		r.write(fmt.Sprint("l", i), []byte(fmt.Sprint("late", i)))
	}
	mended.Store(true)
	tried := u.tried.Load()
	life(0, nil) // within a minute, or it fails
	const all = good + spoilt + late
	if got := len(tree(t, r.to[0])); got != all {
		t.Errorf("%d files are there, want %d", got, all)
	}
	if again := u.tried.Load() - tried; again != spoilt+late {
		t.Errorf("%d files were brought, want %d", again, spoilt+late)
	}
	for _, name := range []string{"prepare", "ship-a"} {
		if c := r.counts(name); c != (queue.Counts{Put: all, Done: all}) {
			t.Errorf("%s: %+v", name, c)
		}
	}
}
