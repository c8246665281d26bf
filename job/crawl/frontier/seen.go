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
	mu    sync.Mutex
	sums  [1 << 16]sum // 1 MiB
	round uint64       // how often one was forgotten
}

func (s *seen) has(k sum) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sums[k.Lo%uint64(len(s.sums))] == k
}

// now is the round of a transaction that begins.
func (s *seen) now() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.round
}

// put remembers keys that are durable by a transaction of a round. If one was forgotten since, it may be one of these.
func (s *seen) put(all []sum, round uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.round != round {
		return
	}
	for _, k := range all {
		s.sums[k.Lo%uint64(len(s.sums))] = k
	}
}

// drop has a key not be remembered.
func (s *seen) drop(k sum) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.round++
	if at := &s.sums[k.Lo%uint64(len(s.sums))]; *at == k {
		*at = sum{}
	}
}
