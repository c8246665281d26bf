package frontier

import (
	"encoding/binary"
	"slices"

	"github.com/zeebo/xxh3"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// mostPatterns is how many patterns of a host are counted. If a host has more, the rarer half is forgotten, again and again;
// an endless calendar is not rare. So memory is bounded, and a host where every page has a pattern of its own (articles with
// their titles in the URL) is not cut short.
const mostPatterns = 1024

// patternKey is the key of the counter of a pattern. It has 40 bits of its hash: two patterns of a host share a counter with a
// chance of one in a million.
func patternKey(host uint32, pattern string) store.Key {
	h := xxh3.HashString(pattern)
	return patternsKey(host).U8(uint8(h >> 32)).U32(uint32(h))
}

// over counts a new URL, and reports whether its pattern has used up its budget.
func (b *Batch) over(id uint32, h *change, item *Item) (bool, error) {
	if item.Pattern == "" || item.PatternBudget == 0 {
		return false, nil
	}
	k := patternKey(id, item.Pattern)
	n, known := b.patterns[string(k)]
	if !known {
		_, err := b.tx.Look(k, func(v []byte) (err error) {
			n, err = readPattern(k, v)
			return err
		})
		if err != nil {
			return false, err
		}
	}
	if n >= item.PatternBudget {
		b.counts.Refused++
		return true, nil
	}
	b.patterns[string(k)] = n + 1
	if n > 0 {
		return false, nil
	}
	if h.patterns++; h.patterns <= mostPatterns {
		return false, nil
	}
	return false, b.prune(id, h)
}

func readPattern(k, v []byte) (uint64, error) {
	n, size := binary.Uvarint(v)
	if size <= 0 {
		return 0, fault.New(fault.Corrupt, "the counter of pattern %x is %x", k, v)
	}
	return n, nil
}

// prune forgets the rarer half of a host's patterns.
func (b *Batch) prune(id uint32, h *change) error {
	for k, n := range b.patterns {
		b.tx.Set(store.Key(k), binary.AppendUvarint(nil, n))
	}
	clear(b.patterns)
	type pattern struct {
		key string
		n   uint64
	}
	var all []pattern
	entries, failed := b.tx.Scan(patternsKey(id), patternsKey(id).End())
	for k, v := range entries {
		n, err := readPattern(k, v)
		if err != nil {
			return err
		}
		all = append(all, pattern{string(k), n})
	}
	if err := failed(); err != nil {
		return err
	}
	slices.SortFunc(all, func(p, q pattern) int { return int(min(p.n, 1<<31)) - int(min(q.n, 1<<31)) })
	for _, p := range all[:len(all)/2] {
		b.tx.Delete(store.Key(p.key))
	}
	h.patterns = uint64(len(all) - len(all)/2)
	return nil
}
