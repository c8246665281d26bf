// Package lines cuts bytes into lines, whatever the boundaries of the reads that brought them, and joins lines that belong
// together, such as a stack trace, into one text.
//
// It reads nothing and has no clock. What it keeps is bounded: of a line the first bytes up to a cap, of a joined text likewise,
// and of joined texts that are not at their end only so many. What was cut says so.
package lines

import "bytes"

// DefaultMax is the cap of a line, in bytes.
const DefaultMax = 64 << 10

// Line is one line of a stream.
type Line struct {
	// Text is without its end, a newline or a carriage return and a newline. It is good until the next Push.
	Text []byte
	// Cut: the line was longer than the cap, and Text is its beginning.
	Cut bool
	// Begin is where in the stream its first byte stands, End is behind its newline.
	Begin, End int64
}

// Splitter cuts a stream into lines. It is used by one goroutine at a time.
type Splitter struct {
	max  int
	buf  []byte // from the beginning of the next line on; of a line that is too long its kept bytes
	seen int    // so many bytes of the next line are known to hold no newline
	at   int64  // where in the stream the next line begins
	over int64  // bytes of the next line that were not kept
	used int    // so many bytes of buf were given as lines, and are dropped by the next Push
}

// NewSplitter returns a Splitter of a stream that is read from offset at on, where a line begins. Of a line max bytes are kept,
// DefaultMax if 0.
func NewSplitter(max int, at int64) *Splitter {
	if max <= 0 {
		max = DefaultMax
	}
	return &Splitter{max: max, at: at}
}

// Push takes the next bytes of the stream, and keeps none of b. Next is called until there is no line before Push is called
// again.
func (s *Splitter) Push(b []byte) {
	if s.used > 0 {
		s.buf = append(s.buf[:0], s.buf[s.used:]...)
		s.used = 0
	}
	// A line that is over its cap takes nothing more until its newline.
	if s.over > 0 {
		n := bytes.IndexByte(b, '\n')
		if n < 0 {
			s.over += int64(len(b))
			return
		}
		s.over += int64(n)
		b = b[n:]
	}
	s.buf = append(s.buf, b...)
}

// Next returns the next whole line, and false if its end has not come yet.
func (s *Splitter) Next() (Line, bool) {
	buf := s.buf[s.used:]
	n := bytes.IndexByte(buf[s.seen:], '\n')
	if n < 0 {
		s.seen = len(buf)
		s.trim()
		return Line{}, false
	}
	n += s.seen
	line := s.line(buf[:n], int64(n)+s.over+1)
	if s.over == 0 {
		line.Text = bytes.TrimSuffix(line.Text, []byte("\r"))
	}
	line = s.cap(line)
	s.used += n + 1
	s.at, s.seen, s.over = line.End, 0, 0
	return line, true
}

// trim lets go of what is above the cap of a line that goes on. One byte more is kept for the carriage return of its end.
func (s *Splitter) trim() {
	if more := len(s.buf) - s.used - s.max - 1; more > 0 {
		s.over += int64(more)
		s.buf = s.buf[:len(s.buf)-more]
		s.seen -= more
	}
}

func (s *Splitter) line(text []byte, length int64) Line {
	return Line{Text: text, Cut: s.over > 0, Begin: s.at, End: s.at + length}
}

func (s *Splitter) cap(l Line) Line {
	if len(l.Text) > s.max {
		l.Text, l.Cut = l.Text[:s.max], true
	}
	return l
}

// At is where the next line begins: behind the last that Next returned.
func (s *Splitter) At() int64 { return s.at }

// Read is where the stream is read on: behind the last byte that was pushed.
func (s *Splitter) Read() int64 { return s.at + int64(len(s.buf)-s.used) + s.over }

// Rest returns what follows the last newline as a line, at the end of the stream. It is false if there is nothing.
func (s *Splitter) Rest() (Line, bool) {
	buf := s.buf[s.used:]
	if len(buf) == 0 && s.over == 0 {
		return Line{}, false
	}
	line := s.cap(s.line(buf, int64(len(buf))+s.over))
	s.used, s.seen, s.over, s.at = len(s.buf), 0, 0, line.End
	return line, true
}
