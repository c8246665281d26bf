package record

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/klauspost/compress/zstd"
)

// MaxBatchBytes is the largest uncompressed batch that Decode accepts: a bound for damaged or
// hostile bytes, far above any block that we write.
const MaxBatchBytes = 1 << 30

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

// Decode reads a batch back. It never panics on garbage, and returns the hash of what it read so
// that the caller can hold it against the one it kept.
func Decode(data []byte) (b arrow.RecordBatch, h Hash, err error) {
	defer func() {
		if p := recover(); p != nil {
			b, err = nil, fmt.Errorf("read arrow batch: %v", p)
		}
	}()
	dec := decoders.Get().(*zstd.Decoder)
	raw, err := dec.DecodeAll(data, nil)
	decoders.Put(dec)
	if err != nil {
		return nil, h, fmt.Errorf("decompress batch: %w", err)
	}
	sum := sha256.Sum256(raw)
	h = Hash(sum[:16])
	r, err := ipc.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, h, fmt.Errorf("read arrow schema: %w", err)
	}
	b, err = r.Read()
	if err != nil {
		return nil, h, fmt.Errorf("read arrow batch: %w", err)
	}
	b.Retain() // the reader releases its batch at the next Read
	if _, err := r.Read(); err != io.EOF {
		return nil, h, fmt.Errorf("arrow stream does not end after one batch: %v", err)
	}
	return b, h, nil
}
