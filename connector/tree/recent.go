package tree

import (
	"hash/maphash"
	"sync"
	"time"
)

// recent remembers the identities that were given lately, by hash: the newest half of its room at least. A
// file would be taken for another by a chance of one in 10^13.
type recent struct {
	seed maphash.Seed
	half int

	mu         sync.Mutex // guards what follows
	young, old map[uint64]struct{}
	turned     time.Time // when young was begun
	since      time.Time // all that was given since is remembered
}

func newRecent(room int) *recent {
	now := time.Now()
	return &recent{seed: maphash.MakeSeed(), half: max(room/2, 1), young: map[uint64]struct{}{},
		turned: now, since: now}
}

func (r *recent) has(id Identity) bool {
	h := maphash.Comparable(r.seed, id)
	r.mu.Lock()
	defer r.mu.Unlock()
	_, young := r.young[h]
	_, old := r.old[h]
	return young || old
}

func (r *recent) add(id Identity) {
	h := maphash.Comparable(r.seed, id)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.young) >= r.half {
		now := time.Now()
		r.old, r.young = r.young, make(map[uint64]struct{}, r.half)
		r.since, r.turned = r.turned, now
	}
	r.young[h] = struct{}{}
}

// whole is the moment since which nothing was forgotten.
func (r *recent) whole() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.since
}
