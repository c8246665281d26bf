package warc

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"

	"holdfast/base/fault"
)

// Options tune a Writer.
type Options struct {
	Level  int  // of compression, 1 (fastest) to 9 (smallest); 0 is 5
	SHA256 bool // compute SHA-256 too, where digests are computed
}

// defaultLevel is where more time buys little: see docs/decisions/0039.
const defaultLevel = 5

// Written is what became of a record.
type Written struct {
	Offset  int64 // of the record's gzip member in the file
	Length  int64 // of the member
	Header  int64 // bytes of the header, uncompressed
	Block   int64 // bytes of the block, uncompressed
	Digests struct{ Block, Payload Digests }
}

// Writer appends records to a file, each as a gzip member of its own. The same record at the same level gives the
// same bytes. It is for one goroutine at a time.
type Writer struct {
	out    *bufio.Writer // the compressor gives some hundred bytes at a time
	to     *counter
	zip    *gzip.Writer
	broken error // a record was begun and not ended

	header         []byte
	buf            []byte
	block, payload *Hasher
	message        *bufio.Reader
}

// counter knows how much went through it.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

const bufferSize = 64 << 10

// exact gives just as many bytes as it was told to, or an error.
type exact struct {
	r        io.Reader
	left, of int64
}

func (e *exact) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(e.left, int64(len(p)))])
	e.left -= int64(n)
	switch {
	case e.left == 0 || err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		return n, fault.New(fault.Invalid, "the content ends %d bytes before its length of %d", e.left, e.of)
	}
	return n, fmt.Errorf("read the content: %w", err)
}

// NewWriter returns a Writer that appends to w, whose next byte has the offset at in its file. It fails only for
// a level that does not exist.
func NewWriter(w io.Writer, at int64, o Options) (*Writer, error) {
	if o.Level == 0 {
		o.Level = defaultLevel
	}
	if o.Level < gzip.BestSpeed || o.Level > gzip.BestCompression {
		return nil, fault.New(fault.Invalid, "gzip has no level %d: 1 to 9", o.Level)
	}
	to := &counter{w: w, n: at}
	out := bufio.NewWriterSize(to, bufferSize)
	zip, err := gzip.NewWriterLevel(out, o.Level)
	if err != nil {
		return nil, err
	}
	return &Writer{out: out, to: to, zip: zip, buf: make([]byte, bufferSize),
		block: NewHasher(o.SHA256), payload: NewHasher(o.SHA256), message: bufio.NewReaderSize(nil, messageBuffer)}, nil
}

// Reset lets it append to another file, or to the same one after a failure and after that was cut back to offset
// at.
func (w *Writer) Reset(to io.Writer, at int64) {
	w.to.w, w.to.n = to, at
	w.out.Reset(w.to)
	w.broken = nil
}

// Offset is where the next record will begin, or where the one that failed began.
func (w *Writer) Offset() int64 { return w.to.n }

// Write appends a record, and has given all of it to the file when it returns. A record that may not be written
// is refused as Invalid, and nothing was written. After any other error a part of it may be in the file, and every
// Write fails, until the file was cut back to Offset and Reset was called. The record is not changed.
func (w *Writer) Write(rec *Record) (Written, error) {
	if w.broken != nil {
		return Written{}, fmt.Errorf("the record before this one is not whole: %w", w.broken)
	}
	r := *rec
	if err := r.validate(); err != nil {
		return Written{}, err
	}
	if err := w.digests(&r); err != nil {
		return Written{}, err
	}
	w.header = appendHeader(w.header[:0], &r)
	if len(w.header) > MaxHeader {
		return Written{}, fault.New(fault.Invalid, "write a %s record of %.200q: its header has %d bytes, more than %d",
			r.Type, r.TargetURI, len(w.header), MaxHeader)
	}
	begin := w.to.n
	if err := w.member(&r); err != nil {
		w.to.n = begin
		w.broken = fmt.Errorf("append a record at offset %d: %w", begin, err)
		return Written{}, w.broken
	}
	done := Written{Offset: begin, Length: w.to.n - begin, Header: int64(len(w.header)), Block: r.Length}
	done.Digests.Block, done.Digests.Payload = r.Block, r.Payload
	return done, nil
}

// Append is Write of a record that another Writer with the same options made a member of already, and what that one said of it.
func (w *Writer) Append(member []byte, of Written) (Written, error) {
	if w.broken != nil {
		return Written{}, fmt.Errorf("the record before this one is not whole: %w", w.broken)
	}
	of.Offset = w.to.n
	_, err := w.out.Write(member)
	if err == nil {
		err = w.out.Flush()
	}
	if err != nil {
		w.to.n = of.Offset
		w.broken = fmt.Errorf("append a record at offset %d: %w", of.Offset, err)
		return Written{}, w.broken
	}
	return of, nil
}

// member writes the record, and flushes it.
func (w *Writer) member(r *Record) error {
	w.zip.Reset(w.out)
	if _, err := w.zip.Write(w.header); err != nil {
		return err
	}
	if r.Length > 0 {
		content := &exact{r: r.Content, left: r.Length, of: r.Length}
		if _, err := io.CopyBuffer(w.zip, content, w.buf); err != nil {
			return err
		}
	}
	if _, err := w.zip.Write([]byte("\r\n\r\n")); err != nil {
		return err
	}
	if err := w.zip.Close(); err != nil {
		return err
	}
	return w.out.Flush()
}

// digests computes those that are missing, and leaves the content where it was.
func (w *Writer) digests(r *Record) error {
	if r.Block.SHA1 != "" {
		if r.Type == Resource {
			fill(&r.Payload, r.Block)
		}
		return nil
	}
	wantPayload := r.hasPayload() && (r.Payload.SHA1 == "" || w.block.sha256 != nil && r.Payload.SHA256 == "")
	w.block.Reset()
	w.payload.Reset()
	payload := false
	if r.Length > 0 {
		back, ok := r.Content.(io.Seeker)
		if !ok {
			return fault.New(fault.Invalid, "write a %s record of %.200q: its digests are not known, and its content can "+
				"be read only once", r.Type, r.TargetURI)
		}
		at, err := back.Seek(0, io.SeekCurrent)
		if err == nil {
			payload, err = w.hash(r, wantPayload)
		}
		if err == nil {
			_, err = back.Seek(at, io.SeekStart)
		}
		if err != nil {
			return fmt.Errorf("compute the digests of %.200q: %w", r.TargetURI, err)
		}
	}
	fill(&r.Block, w.block.Digests())
	switch {
	case !wantPayload:
	case r.Type == Resource:
		fill(&r.Payload, w.block.Digests()) // its payload is the block (6.4.1)
	case payload:
		fill(&r.Payload, w.payload.Digests())
	}
	return nil
}

// fill keeps what was handed in.
func fill(d *Digests, computed Digests) {
	if d.SHA1 == "" {
		d.SHA1 = computed.SHA1
	}
	if d.SHA256 == "" {
		d.SHA256 = computed.SHA256
	}
}

// hash reads the content once and reports whether it found a payload in it that deserves a digest: that of a
// request without a body does not.
func (w *Writer) hash(r *Record, wantPayload bool) (bool, error) {
	content := &exact{r: r.Content, left: r.Length, of: r.Length}
	if !wantPayload || !isHTTP(r.contentType()) {
		_, err := io.CopyBuffer(w.block, content, w.buf)
		return false, err
	}
	block := io.TeeReader(content, w.block)
	w.message.Reset(block)
	found, size := true, int64(0)
	message, err := splitHTTP(w.message)
	switch {
	case fault.Is(err, fault.Invalid): // no HTTP after all, so there is no payload
		found = false
	case err == nil:
		size, err = io.CopyBuffer(w.payload, message.Payload(), w.buf)
		found = size > 0 || r.Type != Request
	}
	if err == nil || !found {
		_, err = io.CopyBuffer(io.Discard, block, w.buf) // what the message left of the block
	}
	return found, err
}
