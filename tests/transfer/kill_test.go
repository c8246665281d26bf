package transfer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"holdfast/tests/testenv"
	"holdfast/tests/testenv/frames"
)

// TestKills kills Holdfast with -9 at random moments while files of all sizes arrive, and while it starts: each is at its place
// once, whole, and recorded; and nothing else is anywhere.
func TestKills(t *testing.T) {
	t.Parallel()
	seed := testenv.Seed(t)
	kills, files, largest := testenv.Count(t, 200), 300, 100e6
	if !testenv.Torture() {
		files, largest = 30, 10e6
	}
	o := newObservatory(t, testenv.SSHDOptions{})
	const longest = 3 * time.Second // of a life; half of them are shorter than a quarter of that
	pause := time.Duration(kills) * longest / 3 / time.Duration(files)
	var writing sync.WaitGroup
	writing.Go(func() {
		rnd := rand.New(rand.NewPCG(seed, 1))
		for i := range files {
			o.write(arrival(rnd, i, 1e3, largest))
			time.Sleep(rand.N(2 * pause)) // as they come, which is the load and not a wait for anything
		}
	})
	rnd := rand.New(rand.NewPCG(seed, 2))
	for range kills {
		o.start()
		life := time.NewTimer(time.Duration(rnd.Float64() * rnd.Float64() * float64(longest)))
		select {
		case <-life.C:
		case <-o.p.Ended():
			t.Errorf("it ended by itself:\n%s", o.p.Output())
		}
		life.Stop()
		o.p.Kill()
	}
	writing.Wait()
	o.start()
	o.await(files)
	o.noneDead()
	o.stop()
	o.check()
}

// arrival is the name and the content of a file: its size is as likely between 1 and 10 KB as it is between 10 and 100 MB. Every
// third is a frame.
func arrival(rnd *rand.Rand, i int, least, most float64) (name string, content []byte) {
	size := least * math.Pow(most/least, rnd.Float64())
	if i%3 > 0 {
		return fmt.Sprintf("night/f%05d.dat", i), frames.Noise(rnd, int(size))
	}
	side := max(16, int(math.Sqrt(size/2)))
	return fmt.Sprintf("2023-09-%02d/t1_r%07d_ut%d.fits", 1+i%9, i, i%4), frames.New(rnd, "2023-09-19T01:02:03", side)
}
