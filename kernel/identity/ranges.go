package identity

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"

	"holdfast/kernel/store"
)

// Ranges yields the ranges of ids that are in the set, within the closed bounds, in ascending
// order; neighbours are one range. An error ends it and is returned by the second function. The set
// must not be changed through the same transaction meanwhile.
func (s *Set) Ranges(r store.Reader, from, to uint64) (iter.Seq[KeyRange], func() error) {
	var failed error
	seq := func(yield func(KeyRange) bool) {
		var open KeyRange // the range that the next chunk may go on with
		isOpen := false
		for part, err := range s.parts(r, KeyRange{from, to}) {
			switch {
			case err != nil:
				failed = err
				return
			case isOpen && open.To+1 == part.From:
				open.To = part.To
			case isOpen && !yield(open):
				return
			default:
				open, isOpen = part, true
			}
		}
		if isOpen {
			yield(open)
		}
	}
	return seq, func() error { return failed }
}

// Missing yields the ranges of ids that are not in the set, within the closed bounds, in ascending
// order. It is like Ranges; its time is that of the chunks that hold ids, however far apart.
func (s *Set) Missing(r store.Reader, from, to uint64) (iter.Seq[KeyRange], func() error) {
	present, fail := s.Ranges(r, from, to)
	seq := func(yield func(KeyRange) bool) {
		next := from // the first id that is not accounted for
		for p := range present {
			if p.From > next && !yield(KeyRange{next, p.From - 1}) {
				return
			}
			if p.To == math.MaxUint64 {
				return
			}
			next = p.To + 1
		}
		if fail() == nil && next <= to {
			yield(KeyRange{next, to})
		}
	}
	return seq, fail
}

// parts yields the ranges of each chunk, which may touch those of the next.
func (s *Set) parts(r store.Reader, within KeyRange) iter.Seq2[KeyRange, error] {
	return func(yield func(KeyRange, error) bool) {
		entries, fail := s.scan(r, within)
		c := new(chunk)
		for n, v := range entries {
			if _, err := c.decode(s.chunkKey(n), v); err != nil {
				yield(KeyRange{}, s.damaged(n, err))
				return
			}
			in := clip(n, within)
			for a, b := range c.runs() {
				p := KeyRange{max(in.From, n<<chunkBits|uint64(a)), min(in.To, n<<chunkBits|uint64(b))}
				if p.From <= p.To && !yield(p, nil) {
					return
				}
			}
		}
		if err := fail(); err != nil {
			yield(KeyRange{}, err)
		}
	}
}

// scan yields the chunks that hold ids of a range: number and value.
func (s *Set) scan(r store.Reader, within KeyRange) (iter.Seq2[uint64, []byte], func() error) {
	if within.From > within.To {
		return func(func(uint64, []byte) bool) {}, func() error { return nil }
	}
	entries, fail := r.Scan(s.chunkKey(within.From>>chunkBits), s.chunkKey(within.To>>chunkBits).End())
	seq := func(yield func(uint64, []byte) bool) {
		for k, v := range entries {
			if !yield(chunkOf(k), v) {
				return
			}
		}
	}
	return seq, s.wrap(fail)
}

func (s *Set) wrap(fail func() error) func() error {
	return func() error {
		if err := fail(); err != nil {
			return fmt.Errorf("scan identity set %q: %w", s.name, err)
		}
		return nil
	}
}

// chunkOf returns the number in a chunk's key.
func chunkOf(key []byte) uint64 {
	b := key[len(key)-6:]
	return uint64(binary.BigEndian.Uint16(b))<<32 | uint64(binary.BigEndian.Uint32(b[2:]))
}

// Count returns how many ids of the closed bounds are in the set. It reads the chunks between them,
// and looks into the first and the last only.
func (s *Set) Count(r store.Reader, from, to uint64) (uint64, error) {
	total, c := uint64(0), new(chunk)
	entries, fail := s.scan(r, KeyRange{from, to})
	for n, v := range entries {
		key, in := s.chunkKey(n), clip(n, KeyRange{from, to})
		part, err := openChunk(key, v)
		ids := part.ids
		if err == nil && in.To-in.From < lowMask {
			if err = part.unpack(c); err == nil {
				ids = c.count(low(in.From), low(in.To))
			}
		}
		if err != nil {
			return 0, s.damaged(n, err)
		}
		total += uint64(ids)
	}
	return total, fail()
}

// Highest returns the highest id in the set; ok is false if there is none.
func (s *Set) Highest(r store.Reader) (id uint64, ok bool, err error) {
	return s.end(r.ScanBack, func(_, b uint32, found *uint32) bool { *found = b; return true })
}

// Lowest returns the lowest id in the set; ok is false if there is none.
func (s *Set) Lowest(r store.Reader) (id uint64, ok bool, err error) {
	return s.end(r.Scan, func(a, _ uint32, found *uint32) bool { *found = a; return false })
}

// end walks the runs of the first chunk that scan yields for as long as pick wants.
func (s *Set) end(scan func(from, to store.Key) (iter.Seq2[[]byte, []byte], func() error),
	pick func(a, b uint32, found *uint32) bool) (id uint64, ok bool, err error) {
	entries, fail := scan(s.chunkKey(0), s.totalKey().End())
	for k, v := range entries {
		n, c, found := chunkOf(k), new(chunk), uint32(0)
		if _, err := c.decode(k, v); err != nil {
			return 0, false, s.damaged(n, err)
		}
		for a, b := range c.runs() {
			if !pick(a, b, &found) {
				break
			}
		}
		return n<<chunkBits | uint64(found), true, nil
	}
	return 0, false, s.wrap(fail)()
}

// Chunk is one key of a set, as an audit sees it.
type Chunk struct {
	Within KeyRange // the ids that the chunk stands for
	Ids    int      // how many of them are in the set
	Err    error    // why that can't be said: a Corrupt fault
}

// Chunks yields all chunks in ascending order and checks each one's sum; damage does not end it.
func (s *Set) Chunks(r store.Reader) (iter.Seq[Chunk], func() error) {
	entries, fail := s.scan(r, KeyRange{0, math.MaxUint64})
	seq := func(yield func(Chunk) bool) {
		for n, v := range entries {
			c := Chunk{Within: KeyRange{n << chunkBits, n<<chunkBits | lowMask}}
			part, err := openChunk(s.chunkKey(n), v)
			c.Ids, c.Err = part.ids, s.damaged(n, err)
			if !yield(c) {
				return
			}
		}
	}
	return seq, fail
}
