package warc

import (
	"bufio"
	"io"
	"math"
)

// chunks takes the chunked transfer coding (RFC 9112, 7.1) off a body. Extensions and the trailer are passed over.
type chunks struct {
	r     *bufio.Reader
	begun bool  // the first chunk was looked at
	plain bool  // there are no chunks
	left  int64 // of the chunk
	ended bool
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.left == 0 && !c.ended && !c.plain {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	if c.ended {
		return 0, io.EOF
	}
	if c.plain {
		return c.r.Read(p)
	}
	n, err := c.r.Read(p[:min(c.left, int64(len(p)))])
	c.left -= int64(n)
	return n, err
}

// next goes to the data of the next chunk.
func (c *chunks) next() error {
	first := !c.begun
	c.begun = true
	if !first && !c.lineEnd() {
		c.ended = true
		return c.failure()
	}
	line, size, err := c.size()
	switch {
	case err != nil:
		return err
	case line == 0 && first:
		c.plain = true
		return nil
	case line == 0 || size == 0:
		c.ended = true
	}
	if _, err := c.r.Discard(line); err != nil {
		return err
	}
	c.left = size
	return nil
}

// lineEnd goes over the line end behind a chunk, CRLF or LF, and reports whether it was there.
func (c *chunks) lineEnd() bool {
	b, err := c.r.ReadByte()
	if err == nil && b == '\r' {
		b, err = c.r.ReadByte()
	}
	return err == nil && b == '\n'
}

// failure is why nothing more can be read, nil if there is more: then the form is broken, no more.
func (c *chunks) failure() error {
	if _, err := c.r.Peek(1); err != nil {
		return err
	}
	return nil
}

// size looks at the line of a chunk without taking it: how long it is, 0 if it is none, and the size it says.
func (c *chunks) size() (line int, size int64, err error) {
	digits, rest := 0, false
	for i := 0; i < messageBuffer; i++ {
		// One byte at a time: what is not there yet may come late, and none is needed behind the line.
		b, err := c.r.Peek(i + 1)
		if err == io.EOF {
			return 0, 0, nil
		}
		if err != nil {
			return 0, 0, err
		}
		value, isDigit := hexValue(b[i])
		switch {
		case b[i] == '\n' && digits > 0:
			return i + 1, size, nil
		case rest:
		case isDigit:
			if size > math.MaxInt64>>4 {
				return 0, 0, nil
			}
			size = size<<4 | value
			digits++
		case digits > 0 && (b[i] == ';' || b[i] == ' ' || b[i] == '\t' || b[i] == '\r'):
			rest = true
		default:
			return 0, 0, nil
		}
	}
	return 0, 0, nil
}

func hexValue(b byte) (int64, bool) {
	switch {
	case b >= '0' && b <= '9':
		return int64(b - '0'), true
	case b >= 'a' && b <= 'f':
		return int64(b-'a') + 10, true
	case b >= 'A' && b <= 'F':
		return int64(b-'A') + 10, true
	}
	return 0, false
}
