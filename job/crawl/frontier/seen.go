package frontier

import (
	"sync"

	"github.com/zeebo/xxh3"
)

// sum stands for the key of a URL: a hash of 128 bits. Two of a trillion keys share one with a chance of 1 in 10^14.
type sum = xxh3.Uint128

func sumOf(key string) sum { return xxh3.HashString128(key) }

// seen remembers some keys that the store is known to have, the last one for each of its places: most links of a page lead
// where the links of others led. A key that it does not have is looked up.
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

// now returns the round for a transaction that begins.
func (s *seen) now() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.round
}

// put remembers keys that became durable in a transaction of a round. It does nothing if a key was forgotten since then,
// because that may be one of these.
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

// drop forgets a key.
func (s *seen) drop(k sum) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.round++
	if at := &s.sums[k.Lo%uint64(len(s.sums))]; *at == k {
		*at = sum{}
	}
}
