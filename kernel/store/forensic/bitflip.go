package forensic

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// A chunk whose checksum becomes right again when one bit of it is turned is not a torn write: its
// bytes had been written whole and rotted later. That tells damage from a power cut without any
// other witness, and the turned bit gives the content back. A torn chunk passes by chance once in
// 2^32 for each of its bits (at most once in 16,000 of the largest chunks).

// flippedBit finds the one bit (counted from the file's start) that makes the chunk at off sound.
func flippedBit(data []byte, off int, f framing) (int64, bool) {
	blockEnd := min((off/blockSize+1)*blockSize, len(data))
	if blockEnd-off < legacyHeader {
		return 0, false
	}
	if blockEnd%blockSize == 0 && blockEnd-off < syncHeader {
		if bit, ok := lonelyBit(data[off:blockEnd]); ok {
			return int64(off)*8 + int64(bit), true
		}
	}
	// Checksum, length and type: each of their 56 bits by trial, because they move the borders.
	for bit := range legacyHeader * 8 {
		if turnsGood(data, off, bit, f) {
			return int64(off)*8 + int64(bit), true
		}
	}
	size, _ := f.header(data[off+6])
	end := off + size + int(binary.LittleEndian.Uint16(data[off+4:]))
	if size == 0 || end > blockEnd {
		return 0, false
	}
	sum := unseal(binary.LittleEndian.Uint32(data[off:]))
	at, ok := syndromeBit(data[off+6:end], sum)
	if !ok {
		return 0, false
	}
	bit := 6*8 + at
	return int64(off)*8 + int64(bit), turnsGood(data, off, bit, f)
}

// turnsGood tries one bit and leaves the data as it was.
func turnsGood(data []byte, off, bit int, f framing) bool {
	i, mask := off+bit/8, byte(1)<<(bit%8)
	data[i] ^= mask
	_, o := chunkAt(data, off, f)
	data[i] ^= mask
	return o == chunkGood || o == chunkTrailer
}

// lonelyBit returns the only bit that is set in b: the unused end of a block is zero.
func lonelyBit(b []byte) (int, bool) {
	at, n := 0, 0
	for i, x := range b {
		if x != 0 {
			at, n = i*8+bits.TrailingZeros8(x), n+bits.OnesCount8(x)
		}
	}
	return at, n == 1
}

// syndromeBit returns the bit of b whose turning gives b the CRC want. A CRC is linear: one turned
// bit changes it by a pattern that depends only on the bit's distance from the end, so one walk
// from the end meets every candidate.
func syndromeBit(b []byte, want uint32) (int, bool) {
	diff := crc32.Checksum(b, castagnoli) ^ want
	if diff == 0 {
		return 0, false
	}
	var pattern [8]uint32
	for i := range pattern {
		pattern[i] = castagnoli[1<<i]
	}
	for i := len(b) - 1; i >= 0; i-- {
		for j, p := range pattern {
			if p == diff {
				return i*8 + j, true
			}
			pattern[j] = castagnoli[byte(p)] ^ p>>8
		}
	}
	return 0, false
}
