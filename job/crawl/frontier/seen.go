package frontier

import (
	"sync"

	"github.com/zeebo/xxh3"
)

// sum stands for the key of a URL. Of 128 bits, two of a trillion keys share one by a chance of 1 in 10^14.
type sum = xxh3.Uint128

func sumOf(key string) sum { return xxh3.HashString128(key) }

// seen remembers some keys that the store is known to have, the last one of each place: most links of a page lead where those of
// others led. What it does not have is looked up.
type seen struct {
	mu   sync.Mutex
	sums [1 << 16]sum // 1 MiB
}

func (s *seen) has(k sum) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sums[k.Lo%uint64(len(s.sums))] == k
}

func (s *seen) put(k sum) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sums[k.Lo%uint64(len(s.sums))] = k
}
