package record

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/klauspost/compress/s2"

	"holdfast/base/fault"
)

// MaxBatchBytes is the largest uncompressed batch that Decode accepts: a bound for damaged or
// hostile bytes, far above any block that we write.
const MaxBatchBytes = 256 << 20

// Hash is the content hash of a batch: the first 16 bytes of the SHA-256 of its bytes.
type Hash [16]byte

// scratch is what one encoding needs: the plain Arrow stream, and room for the worst case of it packed.
// A decoding needs the room alone.
type scratch struct {
	plain bytes.Buffer
	room  []byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func hash(data []byte) Hash {
	sum := sha256.Sum256(data)
	return Hash(sum[:16])
}

// Encode appends the bytes of b to dst and returns them with the content hash.
func Encode(dst []byte, b arrow.RecordBatch) ([]byte, Hash, error) {
	t := scratches.Get().(*scratch)
	defer scratches.Put(t)
	t.plain.Reset()
	w := ipc.NewWriter(&t.plain, ipc.WithSchema(b.Schema()))
	if err := w.Write(b); err != nil {
		return nil, Hash{}, fmt.Errorf("write arrow batch: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, Hash{}, fmt.Errorf("close arrow stream: %w", err)
	}
	if t.plain.Len() > MaxBatchBytes {
		return nil, Hash{}, fault.New(fault.Invalid, "batch has %d bytes, want at most %d", t.plain.Len(),
			MaxBatchBytes)
	}
	t.room = slices.Grow(t.room[:0], s2.MaxEncodedLen(t.plain.Len()))
	packed := s2.EncodeSnappy(t.room[:cap(t.room)], t.plain.Bytes())
	return append(dst, packed...), hash(packed), nil
}

// Decode reads back a batch whose content hash is want. Bytes with another hash are a Corrupt fault
// before anything reads them: one flipped bit in a length can make the Arrow reader ask for more memory
// than there is, which ends the process.
func Decode(data []byte, want Hash) (arrow.RecordBatch, error) {
	if sum := hash(data); sum != want {
		return nil, fault.New(fault.Corrupt, "batch has content hash %x, want %x", sum[:], want[:])
	}
	n, err := s2.DecodedLen(data)
	if err == nil && n > MaxBatchBytes {
		err = fmt.Errorf("it claims %d bytes, at most %d are read", n, MaxBatchBytes)
	}
	t := scratches.Get().(*scratch)
	defer scratches.Put(t) // the Arrow reader copies what it takes
	if err == nil {
		t.room = slices.Grow(t.room[:0], n)
		t.room, err = s2.Decode(t.room[:n], data)
	}
	if err != nil {
		return nil, fault.New(fault.Corrupt, "decompress batch: %w", err)
	}
	r, err := ipc.NewReader(bytes.NewReader(t.room))
	if err != nil {
		return nil, fmt.Errorf("read arrow schema: %w", err)
	}
	b, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("read arrow batch: %w", err)
	}
	b.Retain() // the reader releases its batch at the next Read
	return b, nil
}
