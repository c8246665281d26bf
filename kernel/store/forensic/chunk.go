package forensic

import (
	"encoding/binary"
	"hash/crc32"
)

// The wire format of Pebble's logs: 32 KiB blocks of chunks, each with its own checksum. There are
// three headers (legacy for a MANIFEST; recyclable and sync-offset for a WAL), four positions each.
const (
	blockSize        = 32 << 10
	legacyHeader     = 7
	recyclableHeader = 11
	syncHeader       = 19
	trailerChunk     = 5 // a recyclable full chunk that carries the next log's number ends a log
	maxChunkType     = 12
)

const (
	posFull = iota
	posFirst
	posMiddle
	posLast
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal is the checksum as Pebble stores it, unseal the raw CRC within a stored one.
func seal(c uint32) uint32   { return (c>>15 | c<<17) + 0xa282ead8 }
func unseal(s uint32) uint32 { s -= 0xa282ead8; return s<<15 | s>>17 }

// framing says which chunks belong to a file: a MANIFEST holds legacy chunks, a WAL the others,
// marked with the low 32 bits of its own number.
type framing struct {
	wal bool
	num uint32
}

// header gives a chunk type's header size and position; size 0 means that it can't be in this file.
func (f framing) header(typ byte) (size, pos int) {
	if typ == 0 || typ > maxChunkType {
		return 0, 0
	}
	size = [...]int{legacyHeader, recyclableHeader, syncHeader}[(typ-1)/4]
	if f.wal != (size != legacyHeader) {
		return 0, 0
	}
	return size, int(typ-1) % 4
}

// outcome is what stands at one offset of a log.
type outcome int

const (
	chunkGood    outcome = iota
	chunkPad             // the unused end of a block: go to the next one
	chunkEnd             // the end of the file, on a chunk's boundary
	chunkTrailer         // the mark of a log that was closed
	chunkZero            // nothing was written here
	chunkStale           // a sound chunk, or the closing mark, of the log that this file was before
	chunkBad             // anything else
)

// chunk is one sound chunk.
type chunk struct {
	off, end   int // header's first byte; first byte behind the payload
	pos        int
	payload    []byte
	syncOffset uint64 // the writer's promise that the log was durable up to here
	sync       bool
}

// chunkAt says what stands at off. It trusts nothing: no length leads out of the block.
func chunkAt(data []byte, off int, f framing) (chunk, outcome) {
	blockEnd := (off/blockSize + 1) * blockSize
	full := blockEnd <= len(data)
	blockEnd = min(blockEnd, len(data))
	if o := blank(data[off:blockEnd], full); o != chunkGood {
		return chunk{}, o
	}
	left := blockEnd - off
	sum := binary.LittleEndian.Uint32(data[off:])
	length := int(binary.LittleEndian.Uint16(data[off+4:]))
	typ := data[off+6]
	size, pos := f.header(typ)
	if size == 0 || size > left {
		return chunk{}, chunkBad
	}
	if f.wal && typ == trailerChunk && sum == 0 && length == 0 {
		if binary.LittleEndian.Uint32(data[off+7:]) == f.num+1 {
			return chunk{off: off, end: off + size}, chunkTrailer
		}
		return chunk{}, chunkStale
	}
	end := off + size + length
	if end > blockEnd || seal(crc32.Checksum(data[off+6:end], castagnoli)) != sum {
		return chunk{}, chunkBad
	}
	if f.wal && binary.LittleEndian.Uint32(data[off+7:]) != f.num {
		return chunk{}, chunkStale
	}
	c := chunk{off: off, end: end, pos: pos, payload: data[off+size : end]}
	if size == syncHeader {
		c.sync, c.syncOffset = true, binary.LittleEndian.Uint64(data[off+11:])
	}
	return c, chunkGood
}

// blank looks at the rest of a block before any header is read: it may be too short for one, or
// hold none. chunkGood means that there is one to read. full is false for a block that the file's
// end cuts short.
func blank(rest []byte, full bool) outcome {
	switch zero := allZero(rest); {
	case len(rest) == 0:
		return chunkEnd
	case len(rest) < legacyHeader && full:
		return chunkPad
	case len(rest) < legacyHeader && zero:
		return chunkZero
	case len(rest) < legacyHeader:
		return chunkBad
	case !allZero(rest[:legacyHeader]):
		return chunkGood
	case full && (len(rest) < recyclableHeader || len(rest) < syncHeader && zero):
		return chunkPad
	case full && len(rest) < syncHeader:
		return chunkBad
	}
	return chunkZero
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// ofThisLog reports whether b begins with a chunk's header that carries the log's number.
func ofThisLog(b []byte, f framing) bool {
	if len(b) < recyclableHeader {
		return false
	}
	size, _ := f.header(b[6])
	return f.wal && size > 0 && binary.LittleEndian.Uint32(b[7:]) == f.num
}

// nextGood finds the first sound chunk at or behind off; with none it returns the size. Within
// off's block any byte may be its first (the length that would lead to it may be what is damaged);
// later blocks begin with one.
func nextGood(data []byte, off int, f framing) (int, bool) {
	for off < len(data) {
		blockEnd := min((off/blockSize+1)*blockSize, len(data))
		for ; off+legacyHeader <= blockEnd; off++ {
			if size, _ := f.header(data[off+6]); size == 0 || size > blockEnd-off ||
				f.wal && binary.LittleEndian.Uint32(data[off+7:]) != f.num {
				continue
			}
			if _, o := chunkAt(data, off, f); o == chunkGood {
				return off, true
			}
		}
		off = blockEnd
	}
	return len(data), false
}
