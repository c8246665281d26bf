package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/klauspost/compress/s2"

	"holdfast/base/fault"
)

// maxBatchBytes is the largest uncompressed batch that Decode accepts: a bound for damaged or
// hostile bytes, far above any block that we write.
const maxBatchBytes = 256 << 20

// Hash is the content hash of a batch: the first 16 bytes of the SHA-256 of its bytes.
type Hash [16]byte

// scratch is what one encoding needs: the plain Arrow stream, and room for the worst case of it packed.
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
	if t.plain.Len() > maxBatchBytes {
		return nil, Hash{}, fault.New(fault.Invalid, "batch has %d bytes, want at most %d", t.plain.Len(),
			maxBatchBytes)
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
	return Unpack(data)
}

// Unpack is Decode for who has checked the bytes against another checksum.
func Unpack(data []byte) (arrow.RecordBatch, error) {
	return unpack(data, func(n int) []byte { return make([]byte, n) })
}

func unpack(data []byte, room func(n int) []byte) (arrow.RecordBatch, error) {
	n, err := s2.DecodedLen(data)
	if err == nil && n > maxBatchBytes {
		err = fmt.Errorf("it claims %d bytes, at most %d are read", n, maxBatchBytes)
	}
	var plain []byte
	if err == nil {
		plain, err = s2.Decode(room(n), data)
	}
	if err != nil {
		return nil, fault.New(fault.Corrupt, "decompress batch: %w", err)
	}
	r, err := ipc.NewReaderFromMessageReader(&messages{rest: plain})
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

// messages takes an Arrow IPC stream in memory apart, without copying it: a batch lies where its bytes
// were unpacked. The stream is https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format.
type messages struct{ rest []byte }

const (
	messageMark   = 0xFFFFFFFF
	messagePrefix = 8 // the mark and the length of the metadata
)

// Message implements ipc.MessageReader.
func (m *messages) Message() (*ipc.Message, error) {
	if len(m.rest) < messagePrefix || binary.LittleEndian.Uint32(m.rest) != messageMark {
		return nil, fault.New(fault.Corrupt, "an arrow message has no head")
	}
	n := int64(binary.LittleEndian.Uint32(m.rest[4:]))
	if n == 0 {
		return nil, io.EOF
	}
	m.rest = m.rest[messagePrefix:]
	if n > int64(len(m.rest)) {
		return nil, fault.New(fault.Corrupt, "an arrow message is cut short in its head")
	}
	head := memory.NewBufferBytes(m.rest[:n])
	m.rest = m.rest[n:]
	// The length of the body stands in the head, which only the message can read.
	body := ipc.NewMessage(head, memory.NewBufferBytes(nil)).BodyLen()
	if body < 0 || body > int64(len(m.rest)) {
		return nil, fault.New(fault.Corrupt, "an arrow message is cut short")
	}
	msg := ipc.NewMessage(head, memory.NewBufferBytes(m.rest[:body:body]))
	m.rest = m.rest[body:]
	return msg, nil
}

// Retain and Release implement ipc.MessageReader: what lies on Go's heap is nobody's to release.
func (m *messages) Retain() {}

// Release does nothing.
func (m *messages) Release() {}
