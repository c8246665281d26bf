package checkpoint_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/kernel/checkpoint"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
	"holdfast/tests/testenv"
)

// sample is one commit of a writer.
type sample struct {
	at   time.Time
	took time.Duration
}

// span is the time that a checkpoint took.
type span struct{ begin, end time.Time }

// latencies are quantiles of how long commits took.
type latencies struct {
	n                   int
	p50, p99, p999, max time.Duration
}

func (l latencies) String() string {
	return fmt.Sprintf("%d commits: p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms, max %.2f ms", l.n,
		ms(l.p50), ms(l.p99), ms(l.p999), ms(l.max))
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

func quantiles(all []time.Duration) (l latencies) {
	if l.n = len(all); l.n == 0 {
		return l
	}
	slices.Sort(all)
	at := func(q float64) time.Duration { return all[int(q*float64(l.n-1))] }
	return latencies{l.n, at(0.5), at(0.99), at(0.999), all[l.n-1]}
}

// split sorts commits into those that ran while a checkpoint was made, and the others.
func split(samples []sample, spans []span) (during, beside latencies) {
	var in, out []time.Duration
	for _, s := range samples {
		if slices.ContainsFunc(spans, func(p span) bool {
			return s.at.Before(p.end) && s.at.Add(s.took).After(p.begin)
		}) {
			in = append(in, s.took)
		} else {
			out = append(out, s.took)
		}
	}
	return quantiles(in), quantiles(out)
}

// measured is what a run under load gave.
type measured struct {
	took           []time.Duration // of each checkpoint, from the request to the manifest's fsync
	tables, bytes  int64           // of the last checkpoint
	during, beside latencies       // of commits
}

// underLoad fills a store with keys and makes checkpoints of it while writers overwrite keys at
// random, ten in a commit, as fast as they can.
func underLoad(t testing.TB, keys uint64, writers, checkpoints int) measured {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "job")
	s, err := store.Open(dir, storetest.Options(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, s)
	begin := time.Now()
	for n := uint64(0); n < keys; {
		err := s.UpdateLazy(func(tx *store.Tx) error {
			for end := min(n+5000, keys); n < end; n++ {
				tx.Set(key(n), value(n, 1)[:80])
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d keys written in %v", keys, time.Since(begin).Round(time.Second))

	var stop atomic.Bool
	var wg sync.WaitGroup
	samples := make([][]sample, writers)
	for w := range writers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for gen := uint64(2); !stop.Load(); gen++ {
				begin := time.Now()
				err := s.Update(func(tx *store.Tx) error {
					for range 10 {
						n := rng.Uint64N(keys)
						tx.Set(key(n), value(n, gen)[:80])
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				samples[w] = append(samples[w], sample{begin, time.Since(begin)})
			}
		})
	}
	m := checkpointsOf(t, s, checkpoints)
	stop.Store(true)
	wg.Wait()
	m.during, m.beside = split(slices.Concat(samples...), m.spans)
	return m.measured
}

type measuring struct {
	measured
	spans []span
}

// checkpointsOf makes checkpoints, some time apart, each sealed behind its making, the oldest
// removed.
func checkpointsOf(t testing.TB, s *store.Store, checkpoints int) (m measuring) {
	for range checkpoints {
		time.Sleep(300 * time.Millisecond)
		begin := time.Now()
		c, err := checkpoint.Create(t.Context(), s, checkpoint.Options{Config: "jobs: {}"})
		if err != nil {
			t.Error(err)
			return m
		}
		m.spans = append(m.spans, span{begin, time.Now()})
		m.took = append(m.took, c.Took)
		m.tables, m.bytes = 0, c.Bytes()
		for _, f := range c.Files {
			if store.IsTable(f.Path) {
				m.tables++
			}
		}
		gently := checkpoint.Work{Rate: 64 << 20}
		if err := checkpoint.Seal(t.Context(), s, c.Name, gently); err != nil {
			t.Error(err)
		}
		retain(t, s.Dir(), checkpoint.Policy{Keep: 2}, onDisk)
	}
	return m
}

// The goals, for a job of 10 million keys under load; asserted by make torture, on the plain
// binary.
const (
	goalTook   = 250 * time.Millisecond
	goalWriter = 50 * time.Millisecond
)

func TestCheckpointUnderLoad(t *testing.T) {
	keys, checkpoints := uint64(100_000), 5
	if testenv.Torture() {
		keys, checkpoints = 10_000_000, 20
	}
	m := underLoad(t, keys, 4, checkpoints)
	took := quantiles(m.took)
	t.Logf("%d keys, %d tables, %d MB: checkpoints p50 %.1f ms, max %.1f ms", keys, m.tables,
		m.bytes>>20, ms(took.p50), ms(took.max))
	t.Logf("while one was made: %v", m.during)
	t.Logf("else:               %v", m.beside)
	if !testenv.Torture() {
		return
	}
	if took.max > goalTook {
		t.Errorf("a checkpoint took %v, want under %v", took.max, goalTook)
	}
	if m.during.p999 > goalWriter {
		t.Errorf("p99.9 of the writers meanwhile was %v, want under %v", m.during.p999, goalWriter)
	}
}

func BenchmarkCheckpointUnderLoad(b *testing.B) {
	m := underLoad(b, 1_000_000, 4, 20)
	took := quantiles(m.took)
	b.ReportMetric(ms(took.p50), "p50-ms/checkpoint")
	b.ReportMetric(ms(took.max), "max-ms/checkpoint")
	b.ReportMetric(ms(m.during.p999), "writer-p999-ms/during")
	b.ReportMetric(ms(m.beside.p999), "writer-p999-ms/else")
	b.ReportMetric(ms(m.during.max), "writer-max-ms/during")
}
