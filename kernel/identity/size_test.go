package identity

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
	"holdfast/tests/testenv"
)

// feed yields pages of ids like those of a feed that numbers rows of which it shows a part: long
// dense stretches with single ids missing, now and then a stretch of which half is missing, and
// outages of whole chunks.
type feed struct {
	rng  *rand.Rand
	next uint64
	gaps float64 // share of ids missing in this stretch
	left int     // ids until the next stretch
}

func (f *feed) page(dst []uint64, n int) []uint64 {
	for len(dst) < n {
		if f.left--; f.left < 0 {
			f.left = 1 << 20
			f.gaps = []float64{0.01, 0.2, 0.5}[f.rng.IntN(3)]
			f.next += uint64(f.rng.IntN(100_000))
		}
		f.next++
		if f.rng.Float64() >= f.gaps {
			dst = append(dst, f.next)
		}
	}
	// A page is not sorted.
	f.rng.Shuffle(len(dst), func(i, j int) { dst[i], dst[j] = dst[j], dst[i] })
	return dst
}

func bytesBelow(t testing.TB, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		n += info.Size()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A hundred million ids, a million outside make torture. Bounds on time hold on the plain binary.
func TestSizeAndSpeed(t *testing.T) {
	ids, page := 1_000_000, 5000
	switch {
	case raceEnabled:
		ids = 100_000
	case testenv.Torture():
		ids = 100_000_000
	}
	dir := t.TempDir()
	cache := store.NewCache(32 << 20) // a part of the one that a process's jobs share
	defer cache.Close()
	o := storetest.Options(t, nil)
	o.Cache = cache
	st, err := store.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	s := openSet(t, st, "spots")
	f := &feed{rng: rand.New(rand.NewPCG(1, 2)), next: 1 << 33}
	keys := make([]uint64, 0, page)
	before, added := heap(), time.Duration(0)
	for n := 0; n < ids; n += page {
		keys = f.page(keys[:0], page)
		began := time.Now()
		add(t, st, s, keys...)
		added += time.Since(began)
	}
	grown := int64(heap()) - int64(before)
	rate := float64(ids) / added.Seconds()
	payload := int64(0)
	view(t, st, func(r store.Reader) error {
		entries, fail := r.Scan(s.totalKey(), s.totalKey().End())
		for k, v := range entries {
			payload += int64(len(k) + len(v))
		}
		return fail()
	})
	look, missing := lookUp(t, st, s, f.next)
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d ids of %d: payload %.1f MB, directory %.1f MB, heap +%.1f MB, %.2f M ids/s durable in pages of %d, "+
		"look-up %v, all gaps in %v", ids, f.next-1<<33, mb(payload), mb(bytesBelow(t, dir)), mb(grown), rate/1e6,
		page, look, missing)
	if most := int64(float64(f.next-1<<33)/8*1.01) + 1<<16; payload > most {
		t.Errorf("payload has %d bytes, more than a bit an id (%d)", payload, most)
	}
	if grown > 32<<20 {
		t.Errorf("the heap grew by %.1f MB", mb(grown))
	}
	if testenv.Torture() && !raceEnabled {
		if rate < 1e6 {
			t.Errorf("%.0f ids a second, want a million", rate)
		}
		if look > 10*time.Microsecond {
			t.Errorf("a look-up takes %v, want some 2 us", look)
		}
		if payload > 20e6 {
			t.Errorf("payload has %.1f MB, want at most 20", mb(payload))
		}
	}
}

// lookUp measures random look-ups, and one walk over all gaps. Of the look-ups the best hundredth
// counts: the others say how busy the machine was.
func lookUp(t *testing.T, st *store.Store, s *Set, highest uint64) (each, missing time.Duration) {
	t.Helper()
	const batch = 500
	rng := rand.New(rand.NewPCG(3, 4))
	view(t, st, func(r store.Reader) error {
		var took []time.Duration
		for range 200 {
			began := time.Now()
			for range batch {
				if _, err := s.Has(r, 1<<33+rng.Uint64N(highest-1<<33)); err != nil {
					return err
				}
			}
			took = append(took, time.Since(began)/batch)
		}
		slices.Sort(took)
		each = took[len(took)/100]
		t.Logf("look-ups: best hundredth %v, median %v, worst %v", each, took[len(took)/2], took[len(took)-1])
		began := time.Now()
		gaps, ids := 0, uint64(0)
		seq, fail := s.Missing(r, 0, highest)
		for g := range seq {
			gaps++
			ids += g.To - g.From + 1
		}
		missing = time.Since(began)
		total, err := s.Total(r)
		if err != nil {
			return err
		}
		if ids+total != highest+1 {
			return fmt.Errorf("%d ids missing in %d gaps and %d there make not %d", ids, gaps, total, highest+1)
		}
		return fail()
	})
	return each, missing
}

func mb(n int64) float64 { return float64(n) / 1e6 }
