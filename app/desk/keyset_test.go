package desk

import (
	"math"
	"math/rand/v2"
	"testing"

	"holdfast/connector"
)

// A set of keys is what a map of them would be, and of keys side by side it keeps no more than their ranges.
func TestKeySet(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, far := range []uint64{50, 20_000, 1 << 40} {
		var s keySet
		want := map[uint64]bool{}
		for range 12_000 {
			from := rng.Uint64N(far)
			to := from + rng.Uint64N(3)
			if s.addRange(connector.KeyRange{From: from, To: to}); from == to {
				s.add(from) // twice is once
			}
			for k := from; k <= to; k++ {
				want[k] = true
			}
		}
		if got := s.count(); got != int64(len(want)) {
			t.Errorf("below %d: %d keys, want %d", far, got, len(want))
		}
		for range 20_000 {
			if k := rng.Uint64N(far + 3); s.has(k) != want[k] {
				t.Fatalf("below %d: has(%d) = %v", far, k, !want[k])
			}
		}
		for k := range want {
			if !s.has(k) {
				t.Fatalf("below %d: %d is not there", far, k)
			}
		}
	}
	var s keySet
	for _, k := range rng.Perm(100_000) { // as from blocks of several threads
		s.add(uint64(k))
	}
	if s.count() != 100_000 || len(s.parts) != 1 || cap(s.parts) > 100_000 {
		t.Errorf("%d keys in %d parts, room for %d", s.count(), len(s.parts), cap(s.parts))
	}
	s.add(0, math.MaxUint64)
	if !s.has(math.MaxUint64) || !s.has(0) || s.has(100_000) || s.has(math.MaxUint64-1) {
		t.Error("the ends are not right")
	}
}
