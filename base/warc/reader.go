package warc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"

	"holdfast/base/fault"
)

// Damage is why a file can't be read on, of the kind Corrupt. All records before Offset are whole: a file that
// was cut off by a crash is mended by cutting it back to there.
type Damage struct {
	Offset int64 // of the record that is damaged: its gzip member, or its first line
	// Truncated is set if the file ends within the record, and what there is of it is not wrong.
	Truncated bool
	Why       string
}

// Error names the offset.
func (d *Damage) Error() string {
	if d.Truncated {
		return fmt.Sprintf("the record at offset %d is cut off: %s", d.Offset, d.Why)
	}
	return fmt.Sprintf("the record at offset %d is damaged: %s", d.Offset, d.Why)
}

// Reader reads the records of a WARC file in order, plain or with a gzip member for each. It is for one goroutine
// at a time.
type Reader struct {
	src   origin
	raw   *bufio.Reader // of the file
	zip   *gzip.Reader  // nil of a plain file
	in    *bufio.Reader // of the record, uncompressed: raw, or over zip
	begun bool
	whole int64
	entry *Entry // the one that is being read
	err   error  // after which nothing can be read
}

// origin is the file. It knows its offset, and its own errors from those of what lies in it.
type origin struct {
	r   io.Reader
	n   int64
	err error
}

func (o *origin) Read(p []byte) (int, error) {
	n, err := o.r.Read(p)
	o.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		o.err = err
	}
	return n, err
}

// NewReader returns a Reader of r, whose first byte has the offset at in its file and begins a record.
func NewReader(r io.Reader, at int64) *Reader {
	z := &Reader{src: origin{r: r, n: at}, whole: at}
	z.raw = bufio.NewReaderSize(&z.src, bufferSize)
	return z
}

// Whole is the offset up to which every record was read to its end, and is whole.
func (r *Reader) Whole() int64 { return r.whole }

// Gzip reports whether the file is compressed, once a record was read.
func (r *Reader) Gzip() bool { return r.zip != nil }

// Next goes to the next record, over what was not read of this one. At the end of the file it returns io.EOF; of
// a file that is damaged a *Damage, and from then on always.
func (r *Reader) Next() (*Entry, error) {
	if r.entry != nil {
		if _, err := r.entry.End(); err != nil {
			return nil, err
		}
	}
	if r.err == nil {
		r.entry, r.err = r.next()
	}
	return r.entry, r.err
}

func (r *Reader) next() (*Entry, error) {
	// The end of the file is a good one only here.
	if _, err := r.raw.Peek(1); errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	if err := r.open(); err != nil {
		return nil, r.failure(err)
	}
	e := &Entry{Offset: r.whole, r: r}
	if err := e.readHeader(); err != nil {
		return nil, r.failure(err)
	}
	return e, nil
}

// wrong is damage that has no error of another package.
type wrong string

func (w wrong) Error() string { return string(w) }

// open begins the next member. What the first record is, all must be: a plain one among gzip members would be
// found by no other reader.
func (r *Reader) open() error {
	magic, err := r.raw.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	zipped := bytes.Equal(magic, []byte{0x1f, 0x8b})
	switch {
	case !r.begun && !zipped:
		r.in = r.raw
	case !r.begun:
		if len(magic) < 2 {
			return io.ErrUnexpectedEOF
		}
		r.zip = new(gzip.Reader)
		r.in = bufio.NewReaderSize(r.zip, messageBuffer)
	case r.zip != nil && !zipped && len(magic) == 2:
		return wrong("it is no gzip member, as those before it are")
	case r.zip == nil && zipped:
		return wrong("it is a gzip member, and those before it are not")
	}
	r.begun = true
	if r.zip == nil {
		return nil
	}
	if err := r.zip.Reset(r.raw); err != nil {
		return err
	}
	r.zip.Multistream(false)
	r.in.Reset(r.zip)
	return nil
}

// failure is what err means for the file: an error of whoever reads it, or damage.
func (r *Reader) failure(err error) error {
	if errors.As(err, new(*Damage)) {
		return err
	}
	if r.src.err != nil {
		return fmt.Errorf("read at offset %d: %w", r.src.n, r.src.err)
	}
	d := &Damage{Offset: r.whole, Why: err.Error()}
	var corrupt flate.CorruptInputError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		d.Truncated, d.Why = true, "the file ends within it"
	case errors.As(err, &corrupt), errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum):
		d.Why = "its gzip member can't be read: " + err.Error()
	}
	return fault.As(fault.Corrupt, d)
}

// Entry is a record that is being read: its header, and its content by Read.
type Entry struct {
	Offset    int64  // in the file
	Version   string // 1.1, or an older one
	Fields    Fields // all of them, in order; a value over several lines is one
	Type      Type
	ID        string // without < and >
	TargetURI string // likewise: wget writes them
	Length    int64  // of the block, as the header says

	r    *Reader
	left int64 // of the block
	end  int64 // behind the record, once it was reached
}

// readHeader reads the lines up to the empty one.
func (e *Entry) readHeader() error {
	h := head{r: e.r.in}
	first, err := e.line(&h)
	if err != nil {
		return err
	}
	number, ok := bytes.CutPrefix(first, []byte("WARC/"))
	if !ok || len(number) == 0 || len(number) > 8 {
		return wrong(fmt.Sprintf("%.40q does not begin a WARC record", first))
	}
	e.Version = string(number)
	for {
		line, err := e.line(&h)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			break
		}
		h.add(line)
	}
	e.Fields = h.done()
	e.Type = Type(e.Fields.Get(fieldType))
	e.ID = bare(e.Fields.Get(fieldID))
	e.TargetURI = bare(e.Fields.Get(fieldTargetURI))
	return e.readLength()
}

// line is the next line of the header. In a gzip member that ends well the end of a line can't be missing.
func (e *Entry) line(h *head) ([]byte, error) {
	line, err := h.line()
	if err == io.EOF && e.r.zip != nil {
		return nil, wrong("its gzip member ends within the header")
	}
	return line, err
}

func bare(id string) string {
	if len(id) > 2 && id[0] == '<' && id[len(id)-1] == '>' {
		return id[1 : len(id)-1]
	}
	return id
}

// readLength believes a Content-Length only if there is one.
func (e *Entry) readLength() error {
	lengths := e.Fields.All(fieldLength)
	if len(lengths) != 1 {
		return wrong(fmt.Sprintf("it has %d fields Content-Length, not one", len(lengths)))
	}
	n, err := strconv.ParseUint(lengths[0], 10, 63)
	if err != nil {
		return wrong(fmt.Sprintf("its Content-Length is %.40q", lengths[0]))
	}
	e.Length, e.left = int64(n), int64(n)
	return nil
}

// Read reads the content. It is at its end when Length bytes were given, and after any Next.
func (e *Entry) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if e.left == 0 || e.r.entry != e {
		return 0, io.EOF
	}
	if e.r.err != nil {
		return 0, e.r.err
	}
	n, err := e.r.in.Read(p[:min(e.left, int64(len(p)))])
	e.left -= int64(n)
	if err == nil || n > 0 {
		return n, nil
	}
	return n, e.fail(err, e.short())
}

func (e *Entry) short() string {
	return fmt.Sprintf("its gzip member ends %d bytes before its Content-Length of %d", e.left, e.Length)
}

// fail ends all reading. ended is what the end of a gzip member means here.
func (e *Entry) fail(err error, ended string) error {
	if err == io.EOF && e.r.zip != nil {
		err = wrong(ended)
	}
	e.r.err = e.r.failure(err)
	return e.r.err
}

// End goes over what is left of the record, and returns the offset behind it. The record is whole then: its gzip
// checksum is right, and its block is followed by two line ends and nothing more.
func (e *Entry) End() (int64, error) {
	if e.end > 0 {
		return e.end, nil
	}
	if e.r.entry != e {
		return 0, fault.New(fault.Invalid, "the record at offset %d is not the one that is being read", e.Offset)
	}
	for e.left > 0 {
		if e.r.err != nil {
			return 0, e.r.err
		}
		n, err := e.r.in.Discard(int(min(e.left, bufferSize)))
		e.left -= int64(n)
		if err != nil {
			return 0, e.fail(err, e.short())
		}
	}
	if e.r.err != nil {
		return 0, e.r.err
	}
	if err := e.close(); err != nil {
		return 0, e.fail(err, "its gzip member ends before the two line ends behind the block")
	}
	e.end = e.r.src.n - int64(e.r.raw.Buffered())
	e.r.whole = e.end
	return e.end, nil
}

// close reads what ends a record.
func (e *Entry) close() error {
	for _, want := range []byte("\r\n\r\n") {
		got, err := e.r.in.ReadByte()
		if err != nil {
			return err
		}
		if got != want {
			return wrong("its block is not followed by two line ends: the Content-Length or the content is wrong")
		}
	}
	if e.r.zip == nil {
		return nil
	}
	switch _, err := e.r.in.ReadByte(); err {
	case io.EOF:
		return nil
	case nil:
		return wrong("its gzip member holds more than one record; each must have its own")
	default:
		return err
	}
}
