package filesource

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// line is one line of a file with its end, or a csv record of several.
type line struct {
	raw   []byte // valid until the next call
	no    int64  // of its first line, from 1
	first bool   // nothing stands before it in the file
	bad   string // why it is none; raw is its beginning then
}

// keepLong is how much of a line that is too long is kept.
const keepLong = 64 << 10

// splitter finds the ends of lines in something that may grow: what has no end yet stays until it has
// one. In a csv, an end within quotes is none.
type splitter struct {
	in    io.Reader
	max   int
	comma byte // of a csv, else 0

	at    int64 // offset of the next line
	no    int64 // lines before it
	buf   []byte
	seen  int // bytes of buf in which there is no end
	quote quoting
	cut   []byte // beginning of a line that is too long and whose end was not seen
	lost  int64  // bytes of it that were dropped
}

// quoting is where in a csv field the scan is.
type quoting uint8

const (
	fieldStart quoting = iota
	bare
	quoted
	quoteEnd // behind a quote within quotes: the end of the field, or half of an escaped quote
)

// next returns the next line; ok is false if there is none that has its end.
func (s *splitter) next() (ln line, ok bool, err error) {
	for {
		if n := s.end(); n > 0 {
			return s.take(n), true, nil
		}
		if len(s.buf) > s.max || s.cut != nil {
			if ln, ok := s.tooLong(); ok {
				return ln, true, nil
			}
		}
		room := s.buf[len(s.buf):cap(s.buf)]
		if len(room) == 0 {
			s.buf = append(s.buf, make([]byte, max(64<<10, len(s.buf)))...)[:len(s.buf)]
			room = s.buf[len(s.buf):cap(s.buf)]
		}
		n, err := s.in.Read(room)
		s.buf = s.buf[:len(s.buf)+n]
		if n == 0 {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return line{}, false, err
		}
	}
}

// end returns the length of the first line of buf, 0 if it has no end.
func (s *splitter) end() int {
	if s.comma == 0 || s.cut != nil {
		i := bytes.IndexByte(s.buf[s.seen:], '\n')
		if i < 0 {
			s.seen = len(s.buf)
			return 0
		}
		return s.seen + i + 1
	}
	for ; s.seen < len(s.buf); s.seen++ {
		switch c := s.buf[s.seen]; {
		case c == '"' && (s.quote == fieldStart || s.quote == quoteEnd):
			s.quote = quoted
		case c == '"' && s.quote == quoted:
			s.quote = quoteEnd
		case s.quote == quoted:
		case c == '\n':
			return s.seen + 1
		case c == s.comma:
			s.quote = fieldStart
		default:
			s.quote = bare
		}
	}
	return 0
}

// take returns the first n bytes of buf as a line.
func (s *splitter) take(n int) line {
	ln := line{raw: s.buf[:n:n], no: s.no + 1, first: s.at == 0}
	length := int64(n)
	if s.cut != nil {
		length += s.lost
		ln.raw, s.cut, s.lost = s.cut, nil, 0
		ln.bad = s.longer()
	} else if n > s.max {
		ln.raw, ln.bad = ln.raw[:min(n, keepLong)], s.longer()
	}
	s.no += int64(bytes.Count(s.buf[:n], []byte("\n")))
	if !bytes.HasSuffix(s.buf[:n], []byte("\n")) {
		s.no++
	}
	s.at += length
	s.buf = s.buf[n:]
	s.seen, s.quote = 0, fieldStart
	return ln
}

func (s *splitter) longer() string { return fmt.Sprintf("it is longer than %d bytes", s.max) }

// tooLong deals with a line that has no end within max bytes: of a csv record with line ends the first
// line alone is bad, for a quote that is not closed must not take the lines behind it; else all up to the
// next end is dropped but for its beginning.
func (s *splitter) tooLong() (line, bool) {
	if ln, ok := s.unclosed(); ok {
		return ln, true
	}
	if s.cut == nil {
		s.cut = bytes.Clone(s.buf[:min(len(s.buf), keepLong)])
	}
	s.lost += int64(len(s.buf))
	s.buf, s.seen, s.quote = s.buf[:0], 0, fieldStart
	return line{}, false
}

// unclosed returns the first line of a csv record whose quotes do not end.
func (s *splitter) unclosed() (line, bool) {
	i := bytes.IndexByte(s.buf, '\n')
	if s.cut != nil || i < 0 {
		return line{}, false
	}
	ln := s.take(i + 1)
	ln.bad = "a quote is not closed"
	return ln, true
}

// rest returns what stands at the end without one, when nothing will follow; ok is false if there is
// nothing. Of an unclosed quote it is the first line, and next may find more.
func (s *splitter) rest() (line, bool) {
	if len(s.buf) == 0 && s.cut == nil {
		return line{}, false
	}
	if s.quote == quoted {
		if ln, ok := s.unclosed(); ok {
			return ln, true
		}
	}
	return s.take(len(s.buf)), true
}

// taken is the offset up to which the input was read.
func (s *splitter) taken() int64 { return s.at + s.lost + int64(len(s.buf)) }
