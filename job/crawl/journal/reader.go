package journal

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"

	"holdfast/base/fault"
)

// longestLine is how long a line may be, in bytes: two URLs of a browser's longest, and more.
const longestLine = 1 << 18

// window is how much is read ahead, of what is packed and of the text.
const window = 1 << 16

var magic = []byte{0x1f, 0x8b}

// Reader reads the lines of a journal, in gzip or not. It has no more than longestLine of it in memory, and a window.
type Reader struct {
	name string
	from *source
	text *bufio.Reader
	gz   bool
	pos  Position // in front of the line that Next returned last
	next Position
	cut  error
}

// Position is a place between two lines of a journal.
type Position struct {
	Line   int64 `json:"line"`   // lines in front of it
	Offset int64 `json:"offset"` // bytes of text in front of it
}

// BadLine is a line that says nothing.
type BadLine struct {
	File  string
	Line  int64 // the first is 1
	Start string
	Err   error
}

// Error says where it is, and why it is bad.
func (b *BadLine) Error() string {
	return fmt.Sprintf("%s, line %d: %v: %q", b.File, b.Line, b.Err, b.Start)
}

// Unwrap returns the cause.
func (b *BadLine) Unwrap() error { return b.Err }

var errLong = fmt.Errorf("it has more than %d bytes", longestLine)

// NewReader reads a journal from its beginning. name is for errors.
func NewReader(r io.Reader, name string) (*Reader, error) {
	j := &Reader{name: name, from: &source{r: r}}
	j.text = bufio.NewReaderSize(j.from, window)
	head, err := j.text.Peek(len(magic))
	if j.from.failed != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if !bytes.Equal(head, magic) {
		return j, nil
	}
	j.gz = true
	z, err := gzip.NewReader(j.text)
	if j.from.failed != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if err != nil {
		j.cut = err
		return j, nil
	}
	j.text = bufio.NewReaderSize(z, window)
	return j, nil
}

// source remembers whether it is the reading that failed, and not what was read.
type source struct {
	r      io.Reader
	failed error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil && err != io.EOF {
		s.failed = err
	}
	return n, err
}

// Skip goes on to a position that Position told.
func (j *Reader) Skip(to Position) error {
	n, err := io.CopyN(io.Discard, j.text, to.Offset-j.next.Offset)
	if n < to.Offset-j.next.Offset {
		return fault.New(fault.Corrupt, "read %s: it ends at byte %d of its text, and %d were read from it before: %w", j.name,
			j.next.Offset+n, to.Offset, err)
	}
	j.pos, j.next = to, to
	return err
}

// Next returns the next line without what ends it, valid until the next call; io.EOF at the end. A *BadLine, of one that is too
// long, does not end it.
func (j *Reader) Next() ([]byte, error) {
	if j.cut != nil {
		return nil, io.EOF
	}
	j.pos = j.next
	line, err := j.text.ReadSlice('\n')
	if err == nil {
		j.next = Position{j.pos.Line + 1, j.pos.Offset + int64(len(line))}
		return line[:len(line)-1], nil
	}
	return j.rest(line, err)
}

// rest is Next of a line that is longer than the window, or that nothing ends.
func (j *Reader) rest(line []byte, err error) ([]byte, error) {
	all, size, long := append([]byte(nil), line...), int64(len(line)), false
	for errors.Is(err, bufio.ErrBufferFull) {
		line, err = j.text.ReadSlice('\n')
		size += int64(len(line))
		if long = long || size > longestLine; !long {
			all = append(all, line...)
		}
	}
	j.next = Position{j.pos.Line + 1, j.pos.Offset + size}
	switch {
	case err == nil && long:
		return nil, j.Bad(all, errLong)
	case err == nil:
		return all[:len(all)-1], nil
	case j.from.failed != nil:
		return nil, fmt.Errorf("read %s: %w", j.name, err)
	case err == io.EOF:
		return j.last(all, size, long)
	}
	j.next, j.cut = j.pos, err
	return nil, io.EOF
}

// last is the last line, if it has no line end. In gzip that was closed it is whole: journals of 2004 have the line ends
// in front. In plain text it may have been cut off.
func (j *Reader) last(all []byte, size int64, long bool) ([]byte, error) {
	switch {
	case size == 0:
		j.next = j.pos
		return nil, io.EOF
	case !j.gz:
		j.next, j.cut = j.pos, io.ErrUnexpectedEOF
		return nil, io.EOF
	case long:
		return nil, j.Bad(all, errLong)
	}
	return all, nil
}

// Bad is the error of the line that Next returned last.
func (j *Reader) Bad(line []byte, cause error) error {
	const shown = 80
	return &BadLine{File: j.name, Line: j.pos.Line + 1, Start: string(line[:min(len(line), shown)]), Err: cause}
}

// Position is behind the line that Next returned last.
func (j *Reader) Position() Position { return j.next }

// Cut says, at the end, why that is not the end of the journal, nil if it is: it was cut off there, as by a crash of who wrote
// it, or is damaged. What is behind the last whole line does not count.
func (j *Reader) Cut() error {
	if j.cut == nil {
		return nil
	}
	return fmt.Errorf("%s is cut off or damaged behind line %d (byte %d of its text): %w", j.name, j.next.Line, j.next.Offset,
		j.cut)
}
