package journald

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// What is kept of an entry beside its message.
const (
	mostFields = 64
	mostName   = 64
	mostValue  = 4 << 10
	mostDepth  = 3 // [[1,2],[3]]: a field that is there twice, in bytes
)

// field is a field of an entry.
type field struct{ name, value string }

// entry is one entry of the journal.
type entry struct {
	cursor  string
	micro   int64 // when journald got it, in microseconds since 1970
	message []byte
	cut     bool // the message is longer, or journalctl left it out
	fields  []field
}

// errEntry: a line is no entry. Those behind it may be.
var errEntry = errors.New("journalctl wrote a line that is no entry")

// reader reads what journalctl -o json writes: an object a line, whose values are strings, null, arrays of numbers (a value that is
// no text, as bytes), or arrays of these (a field that is there more than once). It keeps no more of any of them than its caps,
// however long they are.
type reader struct {
	in       *bufio.Reader
	max      int // of a message
	value    []byte
	name     []byte
	interned map[string]string
}

func newReader(in io.Reader, max int) *reader {
	return &reader{in: bufio.NewReaderSize(in, 256<<10), max: max, interned: map[string]string{}}
}

// waits reports whether the next entry has not come as a whole yet.
func (r *reader) waits() bool {
	b, _ := r.in.Peek(r.in.Buffered())
	return bytes.IndexByte(b, '\n') < 0
}

// next reads an entry. The message is in the buffer of e, which is used again.
func (r *reader) next(e *entry) error {
	*e = entry{message: e.message[:0], fields: e.fields[:0]}
	err := r.object(e)
	if errors.Is(err, errEntry) {
		return errors.Join(err, r.line())
	}
	return err
}

// line passes over the rest of a line.
func (r *reader) line() error {
	for {
		if _, err := r.in.ReadSlice('\n'); !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

func (r *reader) object(e *entry) error {
	b, err := r.in.ReadByte()
	if err != nil {
		return err
	}
	if b != '{' {
		return r.bad(b)
	}
	for first := true; ; first = false {
		b, err := r.byte()
		if err != nil {
			return err
		}
		switch {
		case b == '}' && first:
			return r.end()
		case b != '"':
			return r.bad(b)
		}
		if err := r.member(e); err != nil {
			return err
		}
		switch b, err := r.byte(); {
		case err != nil:
			return err
		case b == '}':
			return r.end()
		case b != ',':
			return r.bad(b)
		}
	}
}

// bad is errEntry; a newline that was read is given back, for what is passed over ends with it.
func (r *reader) bad(b byte) error {
	if b == '\n' {
		_ = r.in.UnreadByte()
	}
	return errEntry
}

// byte is the next byte that is no space; the end is not expected here.
func (r *reader) byte() (byte, error) {
	for {
		b, err := r.in.ReadByte()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil || b != ' ' && b != '\t' {
			return b, err
		}
	}
}

func (r *reader) end() error {
	b, err := r.byte()
	if err == nil && b != '\n' {
		return errEntry
	}
	return err
}

// member reads a name, whose quote was read, and its value.
func (r *reader) member(e *entry) error {
	name, more, err := r.text(r.name[:0], mostName)
	r.name = name
	if err != nil {
		return err
	}
	if b, err := r.byte(); err != nil || b != ':' {
		return r.orBad(b, err)
	}
	switch {
	case string(name) == "MESSAGE":
		e.message, e.cut, err = r.any(e.message, r.max, 0)
		return err
	case more || len(e.fields) >= mostFields:
		_, _, err = r.any(r.value[:0], 0, 0)
		return err
	}
	value, _, err := r.any(r.value[:0], mostValue, 0)
	r.value = value
	if err != nil {
		return err
	}
	switch string(name) {
	case "__CURSOR":
		e.cursor = string(value)
	case "__REALTIME_TIMESTAMP":
		if e.micro, err = strconv.ParseInt(string(value), 10, 64); err != nil {
			return errEntry
		}
	case "__MONOTONIC_TIMESTAMP":
	default:
		e.fields = append(e.fields, field{r.intern(name), r.intern(value)})
	}
	return nil
}

func (r *reader) orBad(b byte, err error) error {
	if err != nil {
		return err
	}
	return r.bad(b)
}

// intern makes a string of bytes that are likely to come again.
func (r *reader) intern(b []byte) string {
	if s, ok := r.interned[string(b)]; ok {
		return s
	}
	if len(r.interned) >= 4096 {
		clear(r.interned)
	}
	s := string(b)
	if len(s) <= 256 {
		r.interned[s] = s
	}
	return s
}

// any appends a value to b, which gets no more than max bytes. Of a field that is there more than once it is all, with newlines
// between.
func (r *reader) any(b []byte, max, depth int) (all []byte, cut bool, err error) {
	c, err := r.byte()
	if err != nil {
		return b, false, err
	}
	switch {
	case c == '"':
		return r.text(b, max)
	case c == 'n':
		for _, want := range []byte("ull") {
			if got, err := r.in.ReadByte(); err != nil || got != want {
				return b, false, r.orBad(got, err)
			}
		}
		return b, true, nil
	case c == '[' && depth < mostDepth:
		return r.array(b, max, depth+1)
	}
	return b, false, r.bad(c)
}

func (r *reader) array(b []byte, max, depth int) (all []byte, cut bool, err error) {
	for first := true; ; first = false {
		c, err := r.byte()
		if err != nil {
			return b, cut, err
		}
		switch {
		case c == ']' && first:
			return b, cut, nil
		case c >= '0' && c <= '9':
			if c, err = r.number(&b, max, c, &cut); err != nil {
				return b, cut, err
			}
		case c == '\n':
			return b, cut, r.bad(c)
		default:
			_ = r.in.UnreadByte()
			if !first {
				b, cut = put(b, max, '\n', cut)
			}
			var more bool
			if b, more, err = r.any(b, max, depth); err != nil {
				return b, cut, err
			}
			cut = cut || more
			if c, err = r.byte(); err != nil {
				return b, cut, err
			}
		}
		switch c {
		case ']':
			return b, cut, nil
		case ',':
		default:
			return b, cut, r.bad(c)
		}
	}
}

// put appends a byte where there is room.
func put(b []byte, max int, c byte, cut bool) ([]byte, bool) {
	if len(b) >= max {
		return b, true
	}
	return append(b, c), cut
}

// number reads a byte that is written as a number, whose first digit was read, and returns what stands behind.
func (r *reader) number(b *[]byte, max int, c byte, cut *bool) (byte, error) {
	n := 0
	for ; c >= '0' && c <= '9'; n = min(n, 999) {
		n = n*10 + int(c-'0')
		var err error
		if c, err = r.in.ReadByte(); err != nil {
			return c, err
		}
	}
	if n > 255 {
		return c, r.bad(c)
	}
	*b, *cut = put(*b, max, byte(n), *cut)
	if c == ' ' || c == '\t' {
		return r.byte()
	}
	return c, nil
}

// text appends a string to b, whose quote was read.
func (r *reader) text(b []byte, max int) (all []byte, cut bool, err error) {
	for {
		plain, _ := r.in.Peek(max1(r.in.Buffered()))
		if len(plain) == 0 {
			if _, err := r.in.Peek(1); err != nil {
				return b, cut, io.ErrUnexpectedEOF
			}
			continue
		}
		n := 0
		for n < len(plain) && plain[n] != '"' && plain[n] != '\\' && plain[n] != '\n' {
			n++
		}
		room := max - len(b)
		if n > room {
			cut = true
		}
		b = append(b, plain[:min(n, room)]...)
		if n == len(plain) {
			_, _ = r.in.Discard(n)
			continue
		}
		switch plain[n] {
		case '"':
			_, _ = r.in.Discard(n + 1)
			return b, cut, nil
		case '\n':
			_, _ = r.in.Discard(n)
			return b, cut, errEntry
		}
		_, _ = r.in.Discard(n + 1)
		var one [utf8.UTFMax]byte
		c, err := r.escape(one[:0])
		if err != nil {
			return b, cut, err
		}
		if len(b)+len(c) > max {
			cut = true
			max = len(b) // nothing behind it either
			continue
		}
		b = append(b, c...)
	}
}

func max1(n int) int {
	if n == 0 {
		return 1
	}
	return n
}

// escapes are what stands for what behind a backslash.
const escapes = "\"\"\\\\//b\bf\fn\nr\rt\t"

// escape reads what stands behind a backslash.
func (r *reader) escape(b []byte) ([]byte, error) {
	c, err := r.in.ReadByte()
	if err != nil {
		return b, io.ErrUnexpectedEOF
	}
	for i := 0; i < len(escapes); i += 2 {
		if escapes[i] == c {
			return append(b, escapes[i+1]), nil
		}
	}
	if c != 'u' {
		return b, r.bad(c)
	}
	u, err := r.hex()
	if err != nil || !utf16.IsSurrogate(u) {
		return utf8.AppendRune(b, u), err
	}
	if next, _ := r.in.Peek(2); string(next) != `\u` {
		return utf8.AppendRune(b, utf8.RuneError), nil
	}
	_, _ = r.in.Discard(2)
	low, err := r.hex()
	return utf8.AppendRune(b, utf16.DecodeRune(u, low)), err
}

func (r *reader) hex() (rune, error) {
	b, err := r.in.Peek(4)
	if err != nil {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := strconv.ParseUint(string(b), 16, 16)
	if err != nil {
		return 0, errEntry
	}
	_, _ = r.in.Discard(4)
	return rune(n), nil
}
