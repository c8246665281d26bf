package identity

import (
	"encoding/binary"
	"hash/crc32"
	"iter"
	"math/bits"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

const (
	version   = 1
	chunkBits = 16
	chunkIds  = 1 << chunkBits
	lowMask   = chunkIds - 1
	words     = chunkIds / 64
	headBytes = 4 // version, kind, ids-1
	sumBytes  = 4
)

// The three containers of a roaring bitmap. The library is not used: its run container counts all
// runs at each insertion and compares all with all to validate, a millisecond a look-up [measured].
const (
	kindArray = 1 // the ids, ascending
	kindRuns  = 2 // pairs of first and last id, ascending, never touching
	kindBits  = 3 // a bit an id, the lowest bit of the first byte first
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chunk is the ids of one key, by their low bits, a bit an id.
type chunk [words]uint64

func low(id uint64) uint32 { return uint32(id & lowMask) }

// clip returns the part of r that lies in chunk n.
func clip(n uint64, r KeyRange) KeyRange {
	return KeyRange{max(r.From, n<<chunkBits), min(r.To, n<<chunkBits|lowMask)}
}

// add and remove report whether they changed anything.
func (c *chunk) add(id uint32) bool {
	w, bit := &c[id>>6], uint64(1)<<(id&63)
	was := *w&bit != 0
	*w |= bit
	return !was
}

func (c *chunk) remove(id uint32) bool {
	w, bit := &c[id>>6], uint64(1)<<(id&63)
	was := *w&bit != 0
	*w &^= bit
	return was
}

// maskOf returns the bits of word w that lie in the closed range.
func maskOf(w, from, to uint32) uint64 {
	m := ^uint64(0)
	if w == from>>6 {
		m &= ^uint64(0) << (from & 63)
	}
	if w == to>>6 {
		m &= ^uint64(0) >> (63 - to&63)
	}
	return m
}

func (c *chunk) addRange(from, to uint32) {
	for w := from >> 6; w <= to>>6; w++ {
		c[w] |= maskOf(w, from, to)
	}
}

func (c *chunk) removeRange(from, to uint32) {
	for w := from >> 6; w <= to>>6; w++ {
		c[w] &^= maskOf(w, from, to)
	}
}

// count returns the number of ids in the closed range.
func (c *chunk) count(from, to uint32) (n int) {
	for w := from >> 6; w <= to>>6; w++ {
		n += bits.OnesCount64(c[w] & maskOf(w, from, to))
	}
	return n
}

// shape returns the number of ids, and of runs that they form.
func (c *chunk) shape() (ids, runs int) {
	carry := uint64(0) // the bit before this word
	for _, w := range c {
		ids += bits.OnesCount64(w)
		runs += bits.OnesCount64(w &^ (w<<1 | carry))
		carry = w >> 63
	}
	return ids, runs
}

// runs yields the first and last id of each run, ascending.
func (c *chunk) runs() iter.Seq2[uint32, uint32] {
	return func(yield func(from, to uint32) bool) {
		for at := uint32(0); ; {
			from, ok := c.next(at, 0)
			if !ok {
				return
			}
			end, ok := c.next(from, ^uint64(0))
			if !ok {
				end = chunkIds
			}
			if !yield(from, end-1) || !ok {
				return
			}
			at = end
		}
	}
}

// next returns the first id at or behind at that is in the chunk, or with flip all ones, that is
// not.
func (c *chunk) next(at uint32, flip uint64) (uint32, bool) {
	if at >= chunkIds {
		return 0, false
	}
	w := at >> 6
	rest := (c[w] ^ flip) & (^uint64(0) << (at & 63))
	for rest == 0 {
		if w++; w == words {
			return 0, false
		}
		rest = c[w] ^ flip
	}
	return w<<6 | uint32(bits.TrailingZeros64(rest)), true
}

// encode returns the value at key in the smallest of the three kinds, nil if the chunk is empty.
func (c *chunk) encode(key store.Key) []byte {
	ids, runs := c.shape()
	if ids == 0 {
		return nil
	}
	size := min(2*ids, 4*runs, 8*words)
	v := make([]byte, headBytes, headBytes+size+sumBytes)
	v[0] = version
	binary.BigEndian.PutUint16(v[2:], uint16(ids-1))
	switch size {
	case 8 * words:
		v[1] = kindBits
		for _, w := range c {
			v = binary.LittleEndian.AppendUint64(v, w)
		}
	case 4 * runs:
		v[1] = kindRuns
		for from, to := range c.runs() {
			v = binary.BigEndian.AppendUint16(v, uint16(from))
			v = binary.BigEndian.AppendUint16(v, uint16(to))
		}
	default:
		v[1] = kindArray
		for from, to := range c.runs() {
			for id := from; id <= to; id++ {
				v = binary.BigEndian.AppendUint16(v, uint16(id))
			}
		}
	}
	return seal(key, v)
}

// stored is the value of a chunk whose sum was right, not unpacked.
type stored struct {
	kind byte
	ids  int
	body []byte
}

// openChunk checks the value at key as far as a look-up or a count needs it.
func openChunk(key store.Key, v []byte) (stored, error) {
	b, err := unseal(key, v, headBytes)
	if err != nil {
		return stored{}, err
	}
	s := stored{b[1], int(binary.BigEndian.Uint16(b[2:])) + 1, b[headBytes:]}
	var ok bool
	switch s.kind {
	case kindArray:
		ok = len(s.body) == 2*s.ids
	case kindRuns:
		ok = len(s.body) > 0 && len(s.body)%4 == 0
	case kindBits:
		ok = len(s.body) == 8*words
	}
	if !ok {
		return stored{}, fault.New(fault.Corrupt, "chunk of kind %d and %d ids has %d bytes",
			s.kind, s.ids, len(s.body))
	}
	return s, nil
}

// has looks for an id in the packed bytes.
func (s stored) has(id uint32) bool {
	if s.kind == kindBits {
		return s.body[id>>3]&(1<<(id&7)) != 0
	}
	width := 2
	if s.kind == kindRuns {
		width = 4
	}
	lo, hi := 0, len(s.body)/width // the first entry behind id lies in [lo, hi]
	for lo < hi {
		mid := (lo + hi) / 2
		if uint32(binary.BigEndian.Uint16(s.body[mid*width:])) <= id {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return false
	}
	// The last number of an entry is its end: of a run, or of the id alone.
	return id <= uint32(binary.BigEndian.Uint16(s.body[lo*width-2:]))
}

// unpack fills c with the ids and checks that they are as encode writes them.
func (s stored) unpack(c *chunk) error {
	clear(c[:])
	next := uint32(0) // the lowest id that may follow
	switch s.kind {
	case kindBits:
		for i := range c {
			c[i] = binary.LittleEndian.Uint64(s.body[8*i:])
		}
	case kindRuns:
		for i := 0; i < len(s.body); i += 4 {
			from := uint32(binary.BigEndian.Uint16(s.body[i:]))
			to := uint32(binary.BigEndian.Uint16(s.body[i+2:]))
			if from < next || to < from {
				return fault.New(fault.Corrupt, "chunk has a run %d to %d, want at least %d", from, to, next)
			}
			c.addRange(from, to)
			next = to + 2
		}
	default:
		for i := 0; i < len(s.body); i += 2 {
			id := uint32(binary.BigEndian.Uint16(s.body[i:]))
			if id < next {
				return fault.New(fault.Corrupt, "chunk has id %d, want at least %d", id, next)
			}
			c.add(id)
			next = id + 1
		}
	}
	if ids, _ := c.shape(); ids != s.ids {
		return fault.New(fault.Corrupt, "chunk says %d ids and holds %d", s.ids, ids)
	}
	return nil
}

// decode fills c from the value at key and returns the number of ids.
func (c *chunk) decode(key store.Key, v []byte) (ids int, err error) {
	s, err := openChunk(key, v)
	if err != nil {
		return 0, err
	}
	return s.ids, s.unpack(c)
}

func encodeTotal(key store.Key, n uint64) []byte {
	return seal(key, binary.BigEndian.AppendUint64([]byte{version}, n))
}

func decodeTotal(key store.Key, v []byte) (uint64, error) {
	b, err := unseal(key, v, 9)
	if err == nil && len(b) != 9 {
		err = fault.New(fault.Corrupt, "total has %d bytes", len(b))
	}
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b[1:]), nil
}

// seal appends the sum. The key is under it too: a value that turns up under another key is damage.
func seal(key store.Key, v []byte) []byte {
	return binary.BigEndian.AppendUint32(v, sum(key, v))
}

// unseal returns v without its sum; it has at least size bytes and the version that we know.
func unseal(key store.Key, v []byte, size int) ([]byte, error) {
	if len(v) < size+sumBytes {
		return nil, fault.New(fault.Corrupt, "value has %d bytes, want at least %d", len(v),
			size+sumBytes)
	}
	b, s := v[:len(v)-sumBytes], binary.BigEndian.Uint32(v[len(v)-sumBytes:])
	if got := sum(key, b); got != s {
		return nil, fault.New(fault.Corrupt, "value has checksum %08x, says %08x", got, s)
	}
	if b[0] != version {
		return nil, fault.New(fault.Permanent, "value has version %d, this program knows %d",
			b[0], version)
	}
	return b, nil
}

func sum(key store.Key, v []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, v)
}
