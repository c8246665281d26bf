package spool

import (
	"encoding/binary"
	"hash/crc32"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/cespare/xxhash/v2"

	"holdfast/base/fault"
	"holdfast/base/record"
)

// Head is what is known of a block without reading its rows. It is stamped when the block is appended
// and kept for the block's life.
type Head struct {
	Seq     uint64
	Lineage record.Lineage // of the store that appended it
	Source  uint32
	Schema  uint64 // fingerprint of the Arrow schema
	Rows    uint32
	Bytes   uint32 // size of the payload
	Hash    record.Hash
	Sum     uint64 // xxhash64 of the payload
	KeyLo   uint64 // lowest integer key, with HasKeys
	KeyHi   uint64
	TimeLo  int64 // lowest event time in Unix seconds, with HasTime
	TimeHi  int64
	HasKeys bool
	HasTime bool
	// Ask: rows of the block are older than what is remembered of keys; whether they came before, only a
	// sink can tell.
	Ask bool
	// Only is the one sink that gets the block; 0 is all of them.
	Only uint32
	// Copy: its rows stand in another block too, where they are counted.
	Copy   bool
	At     time.Time // appended, to the millisecond
	Cursor []byte    // what the source reached with this block; empty for a block out of order
}

const (
	headVersion = 1
	headFixed   = 2 + 8 + 16 + 4 + 8 + 4 + 4 + 16 + 8 + 8*4 + 8 + 2
	flagKeys    = 1
	flagTime    = 2
	flagAsk     = 4
	flagOnly    = 8
	flagCopy    = 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// append writes the head: the fields in the order of the struct, big-endian, the cursor behind its
// length, and a CRC-32C of all before it.
func (h *Head) append(b []byte) []byte {
	start := len(b)
	flags := byte(0)
	if h.HasKeys {
		flags |= flagKeys
	}
	if h.HasTime {
		flags |= flagTime
	}
	if h.Ask {
		flags |= flagAsk
	}
	if h.Only != 0 {
		flags |= flagOnly
	}
	if h.Copy {
		flags |= flagCopy
	}
	b = append(b, headVersion, flags)
	b = binary.BigEndian.AppendUint64(b, h.Seq)
	b = append(b, h.Lineage[:]...)
	b = binary.BigEndian.AppendUint32(b, h.Source)
	b = binary.BigEndian.AppendUint64(b, h.Schema)
	b = binary.BigEndian.AppendUint32(b, h.Rows)
	b = binary.BigEndian.AppendUint32(b, h.Bytes)
	b = append(b, h.Hash[:]...)
	for _, v := range []uint64{h.Sum, h.KeyLo, h.KeyHi, uint64(h.TimeLo), uint64(h.TimeHi),
		uint64(h.At.UnixMilli())} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(h.Cursor)))
	b = append(b, h.Cursor...)
	if h.Only != 0 {
		b = binary.BigEndian.AppendUint32(b, h.Only)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// readHead reads a head from the front of b and returns what is behind it.
func readHead(b []byte) (h Head, rest []byte, err error) {
	bad := func(why string) (Head, []byte, error) {
		return Head{}, nil, fault.New(fault.Corrupt, "read block head: %s", why)
	}
	if len(b) < headFixed+4 {
		return bad("it is cut short")
	}
	if b[0] != headVersion {
		return bad("unknown version")
	}
	cursor := headFixed + int(binary.BigEndian.Uint16(b[headFixed-2:]))
	n := cursor
	if b[1]&flagOnly != 0 {
		n += 4
	}
	if len(b) < n+4 {
		return bad("it is cut short")
	}
	if crc32.Checksum(b[:n], castagnoli) != binary.BigEndian.Uint32(b[n:]) {
		return bad("checksum does not match")
	}
	r := b[2:]
	u64 := func() uint64 { v := binary.BigEndian.Uint64(r); r = r[8:]; return v }
	u32 := func() uint32 { v := binary.BigEndian.Uint32(r); r = r[4:]; return v }
	h.HasKeys, h.HasTime, h.Ask = b[1]&flagKeys != 0, b[1]&flagTime != 0, b[1]&flagAsk != 0
	h.Copy = b[1]&flagCopy != 0
	h.Seq = u64()
	r = r[copy(h.Lineage[:], r):]
	h.Source, h.Schema, h.Rows, h.Bytes = u32(), u64(), u32(), u32()
	r = r[copy(h.Hash[:], r):]
	h.Sum, h.KeyLo, h.KeyHi = u64(), u64(), u64()
	h.TimeLo, h.TimeHi, h.At = int64(u64()), int64(u64()), time.UnixMilli(int64(u64())).UTC()
	h.Cursor = append([]byte(nil), b[headFixed:cursor]...)
	if n > cursor {
		h.Only = binary.BigEndian.Uint32(b[cursor:])
	}
	return h, b[n+4:], nil
}

// Block is a batch of rows on its way into the spool: encoded, not yet stamped.
type Block struct {
	head    Head
	payload []byte
}

// AskSinks has the rows compared by key before they are sent: they are older than what is remembered.
func (b *Block) AskSinks() { b.head.Ask = true }

// Copies says that the rows stand in another block too.
func (b *Block) Copies() { b.head.Copy = true }

// Build encodes rows as a block. It is the expensive part of an append, and is done outside of the
// transaction. cursor is what the source reaches with the block, nil for rows out of order.
func Build(source uint32, s record.Schema, rows arrow.RecordBatch, cursor []byte) (*Block, error) {
	if len(cursor) > 1<<15 {
		return nil, fault.New(fault.Invalid, "cursor has %d bytes, want at most %d", len(cursor), 1<<15)
	}
	payload, hash, err := record.Encode(nil, rows)
	if err != nil {
		return nil, err
	}
	if len(payload) > maxPayload {
		return nil, fault.New(fault.Invalid, "block of %d rows has %d bytes, want at most %d",
			rows.NumRows(), len(payload), maxPayload)
	}
	b := &Block{payload: payload, head: Head{
		Source: source, Schema: fingerprint(rows.Schema()), Rows: uint32(rows.NumRows()),
		Bytes: uint32(len(payload)), Hash: hash, Sum: xxhash.Sum64(payload), Cursor: cursor,
	}}
	if keys, ok := record.Keys(s, rows); ok && len(keys) > 0 {
		b.head.HasKeys, b.head.KeyLo, b.head.KeyHi = true, keys[0], keys[0]
		for _, k := range keys {
			b.head.KeyLo, b.head.KeyHi = min(b.head.KeyLo, k), max(b.head.KeyHi, k)
		}
	}
	b.head.TimeLo, b.head.TimeHi, b.head.HasTime = record.TimeRange(s, rows)
	return b, nil
}

// maxPayload keeps a block well below what one commit may hold.
const maxPayload = 32 << 20

// fingerprints remembers those of the schemas in use: finding one costs as much as a hundred rows. A
// source whose schema changes makes new ones, so there is a limit.
var fingerprints struct {
	sync.Mutex
	of map[*arrow.Schema]uint64
}

const maxFingerprints = 64

// fingerprint tells schemas apart: blocks of different ones are not joined into one delivery.
func fingerprint(s *arrow.Schema) uint64 {
	fingerprints.Lock()
	defer fingerprints.Unlock()
	v, ok := fingerprints.of[s]
	if ok {
		return v
	}
	if len(fingerprints.of) >= maxFingerprints || fingerprints.of == nil {
		fingerprints.of = map[*arrow.Schema]uint64{}
	}
	v = xxhash.Sum64String(s.Fingerprint() + s.Metadata().String())
	fingerprints.of[s] = v
	return v
}

// decoding reads a payload that matches its checksum.
type decoding func(payload []byte, want record.Hash) (arrow.RecordBatch, error)

// quickly leaves the content hash alone: the checksum, at a tenth of its cost, has told of any flipped bit.
func quickly(payload []byte, _ record.Hash) (arrow.RecordBatch, error) { return record.Unpack(payload) }

// readBlock reads a block's bytes as they stand in the store: head and rows, each checked against its
// checksum.
func readBlock(value []byte, decode decoding) (Head, arrow.RecordBatch, error) {
	h, payload, err := readHead(value)
	if err != nil {
		return h, nil, err
	}
	if len(payload) != int(h.Bytes) || xxhash.Sum64(payload) != h.Sum {
		return h, nil, fault.New(fault.Corrupt, "block %d: checksum of its %d bytes does not match",
			h.Seq, len(payload))
	}
	rows, err := decode(payload, h.Hash)
	if err != nil {
		return h, nil, fault.As(fault.Corrupt, err)
	}
	if rows.NumRows() != int64(h.Rows) {
		return h, nil, fault.New(fault.Corrupt, "block %d holds %d rows, its head says %d", h.Seq,
			rows.NumRows(), h.Rows)
	}
	return h, rows, nil
}

// Bytes is the size of the block's payload.
func (b *Block) Bytes() int { return len(b.payload) }
