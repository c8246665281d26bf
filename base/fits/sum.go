package fits

import (
	"encoding/binary"
	"math/bits"
)

// allOnes is what the words of an HDU with a right CHECKSUM add up to: negative zero (4.4.2.7).
const allOnes = 0xffffffff

// sum is a ones' complement sum of big-endian 32-bit words: a carry out of the top comes back at the bottom. It
// holds two such words side by side, for 64 bits at a time come to the same: 2^32 and 1 are one number in it.
type sum uint64

// add adds b. Only the last of several may have a length that is no multiple of 8; the rest of its word counts
// as zero.
func (s sum) add(b []byte) sum {
	a, c := uint64(s), uint64(0)
	for len(b) >= 128 {
		v := (*[128]byte)(b)
		a, c = bits.Add64(a, binary.BigEndian.Uint64(v[0:8]), c)
		a, c = bits.Add64(a, binary.BigEndian.Uint64(v[8:16]), c)
		a, c = bits.Add64(a, binary.BigEndian.Uint64(v[16:24]), c)
		a, c = bits.Add64(a, binary.BigEndian.Uint64(v[24:32]), c)
		a, c = bits.Add64(a, binary.BigEndian.Uint64(v[32:40]), c)
		a, c = bits.Add64(a, binary.BigEndian.Uint64(v[40:48]), c)
		a, c = bits.Add64(a, binary.BigEndian.Uint64(v[48:56]), c)
		a, c = bits.Add64(a, binary.BigEndian.Uint64(v[56:64]), c)
		a, c = bits.Add64(a, binary.BigEndian.Uint64(v[64:72]), c)
		a, c = bits.Add64(a, binary.BigEndian.Uint64(v[72:80]), c)
		a, c = bits.Add64(a, binary.BigEndian.Uint64(v[80:88]), c)
		a, c = bits.Add64(a, binary.BigEndian.Uint64(v[88:96]), c)
		a, c = bits.Add64(a, binary.BigEndian.Uint64(v[96:104]), c)
		a, c = bits.Add64(a, binary.BigEndian.Uint64(v[104:112]), c)
		a, c = bits.Add64(a, binary.BigEndian.Uint64(v[112:120]), c)
		a, c = bits.Add64(a, binary.BigEndian.Uint64(v[120:128]), c)
		b = b[128:]
	}
	for len(b) >= 8 {
		a, c = bits.Add64(a, binary.BigEndian.Uint64(b), c)
		b = b[8:]
	}
	var last [8]byte
	copy(last[:], b)
	a, c = bits.Add64(a, binary.BigEndian.Uint64(last[:]), c)
	return sum(a + c)
}

// plus adds two sums.
func (s sum) plus(o sum) sum {
	a, c := bits.Add64(uint64(s), uint64(o), 0)
	return sum(a + c)
}

// value is the sum as the standard writes it. It is zero only if every byte was.
func (s sum) value() uint32 {
	a, c := bits.Add32(uint32(s), uint32(s>>32), 0)
	return a + c
}
