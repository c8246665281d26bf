package transfer

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"holdfast/tests/testenv"
)

// TestKills kills Holdfast at random moments while files arrive: each is at its place once, whole, and recorded.
func TestKills(t *testing.T) {
	t.Parallel()
	seed := testenv.Seed(t)
	kills := testenv.Count(t, 200)
	files, most := 60, 300_000
	if testenv.Torture() {
		files, most = 300, 100_000_000
	}
	o := newObservatory(t, testenv.SSHDOptions{})
	var writing sync.WaitGroup
	writing.Go(func() {
		rnd := rand.New(rand.NewPCG(seed, 1))
		for i := range files {
			if i%3 == 0 {
				o.write(fmt.Sprintf("2023-09-%02d/t1_r%07d_ut%d.fits", 1+i%9, i, i%4), frame(rnd, "2023-09-19", 100+rnd.IntN(200)))
			} else {
				o.write(fmt.Sprintf("night/f%05d.dat", i), noise(rnd, 1000+rnd.IntN(most)/(1+rnd.IntN(100))))
			}
			time.Sleep(time.Duration(rnd.IntN(100)) * time.Millisecond)
		}
	})
	rnd := rand.New(rand.NewPCG(seed, 2))
	for range kills {
		o.start()
		select {
		case <-time.After(time.Duration(rnd.IntN(1500)) * time.Millisecond):
		case <-o.p.Ended():
			t.Fatalf("it ended:\n%s", o.p.Output())
		}
		o.p.Kill()
	}
	writing.Wait()
	o.start()
	o.await(files)
	o.p.Term()
	if code := o.p.Wait(t, soon); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	o.check()
}
