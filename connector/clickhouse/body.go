package clickhouse

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/ClickHouse/ch-go/proto"
)

const (
	// frameBytes is how much is gathered before it is compressed and sent; a column of more is one
	// frame.
	frameBytes = 1 << 20
	// heldBytes is the end of an insert that is held back. The server can't read the last frame
	// without it, nor the block without the last frame.
	heldBytes = 64
)

// insertBody is one Native block as a request's body. It is encoded while it is sent, some columns
// at a time, so it takes the memory of its largest column.
type insertBody struct {
	columns []nativeColumn
	rows    int
	// hold is called once, when all but the last bytes are on their way. An error ends the request
	// without them.
	hold func(context.Context) error

	ctx   context.Context // of the request; set by begin, before the first Read
	watch *watch

	mu   sync.Mutex // guards all below: the transport may close while it reads
	tool *encoder   // nil once it is closed
	next int        // the next column
	out  []byte     // ready to be read
	held []byte     // read after hold
	done bool       // all has been read
}

// encoder is the memory of an insertBody, used again by the next one.
type encoder struct {
	raw   proto.Buffer
	frame *compress.Writer // nil for no compression
	plain []byte
}

// newEncoder returns an encoder for a method: lz4, zstd or none.
func newEncoder(method string) *encoder {
	switch method {
	case "zstd":
		return &encoder{frame: compress.NewWriter(compress.LevelZero, compress.ZSTD)}
	case "none":
		return &encoder{}
	default:
		return &encoder{frame: compress.NewWriter(compress.LevelZero, compress.LZ4)}
	}
}

// pack returns what was gathered, compressed. It is valid until the next call.
func (e *encoder) pack() ([]byte, error) {
	defer e.raw.Reset()
	if e.frame == nil {
		e.plain = append(e.plain[:0], e.raw.Buf...)
		return e.plain, nil
	}
	if err := e.frame.Compress(e.raw.Buf); err != nil {
		return nil, err
	}
	return e.frame.Data, nil
}

var errAbandoned = errors.New("the insert was abandoned")

func (b *insertBody) begin(ctx context.Context, w *watch) { b.ctx, b.watch = ctx, w }

// Read implements io.Reader.
func (b *insertBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watch.progress() // asked for more: what went before is with the server, or its kernel
	for len(b.out) == 0 {
		switch {
		case b.tool == nil:
			return 0, errAbandoned
		case b.next < len(b.columns):
			if err := b.encode(); err != nil {
				return 0, err
			}
		case b.held != nil:
			if err := b.hold(b.ctx); err != nil {
				return 0, err
			}
			b.out, b.held = b.held, nil
		default:
			b.done = true
			return 0, io.EOF
		}
	}
	n := copy(p, b.out)
	b.out = b.out[n:]
	return n, nil
}

// encode fills out with the next columns.
func (b *insertBody) encode() error {
	raw := &b.tool.raw
	if b.next == 0 {
		proto.Block{Columns: len(b.columns), Rows: b.rows}.EncodeAware(raw, 0)
	}
	for b.next < len(b.columns) && len(raw.Buf) < frameBytes {
		c := b.columns[b.next]
		proto.InputColumn{Name: c.name, Data: c}.EncodeStart(raw, 0)
		if b.rows > 0 {
			c.EncodeColumn(raw)
		}
		b.next++
	}
	out, err := b.tool.pack()
	if err != nil {
		return err
	}
	b.out = out
	if b.next == len(b.columns) {
		at := max(0, len(out)-heldBytes)
		b.out, b.held = out[:at], out[at:]
	}
	return nil
}

// Close implements io.Closer. A Read after it fails.
func (b *insertBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tool, b.out = nil, nil
	return nil
}

// whole reports whether all of the body has been read.
func (b *insertBody) whole() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.done
}
