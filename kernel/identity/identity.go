// Package identity remembers which rows have been seen, so that a row that comes twice is taken in
// once. What it remembers changes in the transaction that takes the rows in: a set is never ahead
// of the data and never behind it.
//
// A Set holds integer keys, for ever: chunks of 65,536 ids as roaring bitmaps, so that a hundred
// million ids with holes take some 20 MB on disk and nothing in memory. It also answers which ids
// are missing, which is how a source that numbers its rows is known to have gaps. A Hashed set
// holds the hashes of any other keys within a horizon; behind it, it says that it does not know.
//
// Nothing is cached here: every answer is that of the Reader it is asked through, a transaction's
// own writes included. Every value carries a version and a checksum over its key and bytes, so that
// damage is a Corrupt fault that names the ids in question and never a wrong answer.
//
// Keys and values (numbers big-endian; sum is CRC-32C over the key and all bytes before it):
//
//	i set(4)                  version(1)=1 total(8) sum(4)
//	i set(4) id>>16(6)        version(1)=1 kind(1) ids-1(2) container(..) sum(4)
//	j set(4)                  version(1)=1 total(8) believed(8) jumped(8) last(8) floor(4) sum(4)
//	j set(4) hash(16)         version(1)=1 day(4) sum(4)
//	k set(4) day(4) hash(16)  nothing
//
// A container holds the ids' low 16 bits as one of the three of a roaring bitmap, whichever is the
// smallest: kind 1, the ids(2) ascending; kind 2, runs as first(2) last(2), ascending and never
// touching; kind 3, 8,192 bytes of a bit an id, lowest bit first. A chunk without ids has no key. A
// day is a number of days since 1970; the times of j are Unix seconds.
package identity

import (
	"cmp"
	"fmt"
	"slices"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// KeyRange is a closed range of integer keys.
type KeyRange struct{ From, To uint64 }

// maxRange is the most ids that AddRange and RemoveRange take at once: more would be a mistake in
// the caller, and a transaction of more than a few megabytes.
const maxRange = 1 << 32

// Set is a set of integer keys. Its methods may be called from any goroutine; what they say and do
// is ordered by the transactions they are given.
type Set struct {
	id   uint32
	name string
}

// Open returns the set of this name, which is empty if there was none.
func Open(st *store.Store, name string) (*Set, error) {
	id, err := idOf(st, name)
	if err != nil {
		return nil, fmt.Errorf("open identity set %q: %w", name, err)
	}
	return &Set{id: id, name: name}, nil
}

func idOf(st *store.Store, name string) (id uint32, err error) {
	err = st.Update(func(tx *store.Tx) error {
		id, _, err = tx.ID(store.SetName, name)
		return err
	})
	return id, err
}

// Name is the name the set was opened by.
func (s *Set) Name() string { return s.name }

// Has reports whether the set holds key.
func (s *Set) Has(r store.Reader, key uint64) (bool, error) {
	n := key >> chunkBits
	v, ok, err := r.Get(s.chunkKey(n))
	if err != nil || !ok {
		return false, s.damaged(n, err)
	}
	c, err := openChunk(s.chunkKey(n), v)
	if err != nil {
		return false, s.damaged(n, err)
	}
	return c.has(low(key)), nil
}

// New says of each key whether it is new: not in the set, and not earlier among keys.
func (s *Set) New(r store.Reader, keys []uint64) (isNew []bool, err error) {
	isNew = make([]bool, len(keys))
	err = s.eachChunk(r, keys, func(_ uint64, c *chunk, at []int) error {
		for _, i := range at {
			isNew[i] = c.add(low(keys[i]))
		}
		return nil
	})
	return isNew, err
}

// Add puts keys into the set and returns how many of them it did not hold. A caller that asked New
// through another Reader compares that with New's answer: another transaction may have added some meanwhile.
func (s *Set) Add(tx *store.Tx, keys []uint64) (added int, err error) {
	return s.change(tx, keys, (*chunk).add, +1)
}

// Remove takes keys out of the set and returns how many of them it held.
func (s *Set) Remove(tx *store.Tx, keys []uint64) (removed int, err error) {
	return s.change(tx, keys, (*chunk).remove, -1)
}

func (s *Set) change(tx *store.Tx, keys []uint64, f func(*chunk, uint32) bool, sign int64) (int,
	error) {
	total, err := s.Total(tx)
	if err != nil {
		return 0, err
	}
	changed := 0
	err = s.eachChunk(tx, keys, func(n uint64, c *chunk, at []int) error {
		before := changed
		for _, i := range at {
			if f(c, low(keys[i])) {
				changed++
			}
		}
		if changed > before {
			s.write(tx, n, c)
		}
		return nil
	})
	if err == nil && changed > 0 {
		s.writeTotal(tx, total+uint64(sign*int64(changed)))
	}
	return changed, err
}

// AddRange puts all ids of a range of at most 2^32 into the set and returns how many were new.
func (s *Set) AddRange(tx *store.Tx, r KeyRange) (added uint64, err error) {
	return s.changeRange(tx, r, (*chunk).addRange)
}

// RemoveRange takes all ids of a range of at most 2^32 out of the set and returns how many it held.
func (s *Set) RemoveRange(tx *store.Tx, r KeyRange) (removed uint64, err error) {
	return s.changeRange(tx, r, (*chunk).removeRange)
}

func (s *Set) changeRange(tx *store.Tx, r KeyRange, f func(c *chunk, from, to uint32)) (uint64,
	error) {
	if r.From > r.To || r.To-r.From >= maxRange {
		return 0, fault.New(fault.Invalid, "change identity set %q: bad range %d to %d", s.name,
			r.From, r.To)
	}
	total, err := s.Total(tx)
	if err != nil {
		return 0, err
	}
	changed, c := uint64(0), new(chunk)
	for n := r.From >> chunkBits; ; n++ {
		before, err := s.load(tx, n, c)
		if err != nil {
			return 0, err
		}
		in := clip(n, r)
		f(c, low(in.From), low(in.To))
		if after, _ := c.shape(); after != before {
			s.write(tx, n, c)
			total += uint64(after - before)
			changed += uint64(max(after, before) - min(after, before))
		}
		if n == r.To>>chunkBits {
			break
		}
	}
	if changed > 0 {
		s.writeTotal(tx, total)
	}
	return changed, nil
}

// Total is the number of ids in the set.
func (s *Set) Total(r store.Reader) (uint64, error) {
	v, ok, err := r.Get(s.totalKey())
	if err != nil {
		return 0, fmt.Errorf("read total of identity set %q: %w", s.name, err)
	}
	if !ok {
		// A new set, or one that lost its total to damage and a salvage.
		return s.count(r)
	}
	n, err := decodeTotal(s.totalKey(), v)
	if err != nil {
		return 0, fmt.Errorf("read total of identity set %q: %w", s.name, err)
	}
	return n, nil
}

func (s *Set) count(r store.Reader) (total uint64, err error) {
	chunks, fail := s.Chunks(r)
	for c := range chunks {
		if c.Err != nil {
			return 0, c.Err
		}
		total += uint64(c.Ids)
	}
	return total, fail()
}

// eachChunk loads, one after the other, the chunks that keys fall into, each with the places of its
// keys in their order. c is valid until f returns: a page of far-flung ids needs no more memory
// than one of neighbours.
func (s *Set) eachChunk(r store.Reader, keys []uint64,
	f func(n uint64, c *chunk, at []int) error) error {
	at := make([]int, len(keys))
	sorted := true
	for i := range keys {
		at[i] = i
		sorted = sorted && (i == 0 || keys[i-1]>>chunkBits <= keys[i]>>chunkBits)
	}
	if !sorted {
		slices.SortStableFunc(at, func(a, b int) int {
			return cmp.Compare(keys[a]>>chunkBits, keys[b]>>chunkBits)
		})
	}
	c := new(chunk)
	for len(at) > 0 {
		n, end := keys[at[0]]>>chunkBits, 1
		for end < len(at) && keys[at[end]]>>chunkBits == n {
			end++
		}
		if _, err := s.load(r, n, c); err != nil {
			return err
		}
		if err := f(n, c, at[:end]); err != nil {
			return err
		}
		at = at[end:]
	}
	return nil
}

func (s *Set) totalKey() store.Key         { return store.Identities.K().U32(s.id) }
func (s *Set) chunkKey(n uint64) store.Key { return s.totalKey().U48(n) }

// load fills c with chunk n and returns how many ids it has.
func (s *Set) load(r store.Reader, n uint64, c *chunk) (ids int, err error) {
	key := s.chunkKey(n)
	v, ok, err := r.Get(key)
	if err == nil && ok {
		ids, err = c.decode(key, v)
	} else {
		clear(c[:])
	}
	return ids, s.damaged(n, err)
}

func (s *Set) write(tx *store.Tx, n uint64, c *chunk) {
	key := s.chunkKey(n)
	if v := c.encode(key); v != nil {
		tx.Set(key, v)
	} else {
		tx.Delete(key)
	}
}

func (s *Set) writeTotal(tx *store.Tx, n uint64) {
	tx.Set(s.totalKey(), encodeTotal(s.totalKey(), n))
}

// damaged names the ids that an unreadable chunk leaves in doubt; nil stays nil.
func (s *Set) damaged(n uint64, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read identity set %q, ids %d to %d: %w", s.name, n<<chunkBits,
		n<<chunkBits|lowMask, err)
}
