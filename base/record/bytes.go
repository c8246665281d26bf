package record

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/klauspost/compress/zstd"

	"holdfast/base/fault"
)

// MaxBatchBytes is the largest uncompressed batch that Decode accepts: a bound for damaged or
// hostile bytes, far above any block that we write.
const MaxBatchBytes = 256 << 20

// Hash is the content hash of a batch: the first 16 bytes of the SHA-256 of its uncompressed bytes.
type Hash [16]byte

var (
	encoders = sync.Pool{New: func() any {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest),
			zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithWindowSize(1<<20))
		if err != nil {
			panic(err)
		}
		return e
	}}
	decoders = sync.Pool{New: func() any {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxMemory(MaxBatchBytes))
		if err != nil {
			panic(err)
		}
		return d
	}}
	scratch = sync.Pool{New: func() any { return new(bytes.Buffer) }}
)

// Encode appends the bytes of b to dst and returns them with the content hash.
func Encode(dst []byte, b arrow.RecordBatch) ([]byte, Hash, error) {
	buf := scratch.Get().(*bytes.Buffer)
	defer scratch.Put(buf)
	buf.Reset()
	w := ipc.NewWriter(buf, ipc.WithSchema(b.Schema()))
	if err := w.Write(b); err != nil {
		return nil, Hash{}, fmt.Errorf("write arrow batch: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, Hash{}, fmt.Errorf("close arrow stream: %w", err)
	}
	sum := sha256.Sum256(buf.Bytes())
	enc := encoders.Get().(*zstd.Encoder)
	defer encoders.Put(enc)
	return enc.EncodeAll(buf.Bytes(), dst), Hash(sum[:16]), nil
}

// Decode reads back a batch whose content hash is want. Bytes with another hash are a Corrupt fault
// before the Arrow reader sees them: one flipped bit in a length can make that reader ask for more
// memory than there is, which ends the process.
func Decode(data []byte, want Hash) (arrow.RecordBatch, error) {
	dec := decoders.Get().(*zstd.Decoder)
	raw, err := dec.DecodeAll(data, nil)
	decoders.Put(dec)
	if err != nil {
		return nil, fault.New(fault.Corrupt, "decompress batch: %w", err)
	}
	if sum := sha256.Sum256(raw); Hash(sum[:16]) != want {
		return nil, fault.New(fault.Corrupt, "batch has content hash %x, want %x", sum[:16], want)
	}
	r, err := ipc.NewReader(bytes.NewReader(raw))
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
