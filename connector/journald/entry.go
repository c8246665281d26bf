package journald

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// What is kept of an entry beside its message.
const (
	mostFields = 64
	mostName   = 64 // journald's own limit
	mostValue  = 4 << 10
)

// field is a field of an entry. A field that an entry has more than once occurs as often.
type field struct{ name, value string }

// entry is one entry of the journal.
type entry struct {
	cursor  string
	micro   int64 // when journald got it, in microseconds since 1970
	message []byte
	said    bool // there was a message
	cut     bool // the message is longer
	fields  []field
}

// errEntry says that what was read is no entry. What follows it may be one.
var errEntry = errors.New("journalctl wrote what is no entry")

// errTime says that the time of an entry is no time; the line that holds it was read.
var errTime = fmt.Errorf("%w: its time is no number", errEntry)

// reader reads what journalctl -o export writes (systemd.io/JOURNAL_EXPORT_FORMATS). A field is a line NAME=value or, if the
// value is no plain text, a line NAME, its length as eight bytes, the value and a newline. An empty line follows each entry.
// Of names and values it keeps no more than its caps, however long they are.
type reader struct {
	in       *bufio.Reader
	max      int // of a message
	name     []byte
	value    []byte
	interned map[string]string
}

func newReader(in io.Reader, max int) *reader {
	return &reader{in: bufio.NewReaderSize(in, 256<<10), max: max, interned: map[string]string{}}
}

// waits reports whether the next entry has not arrived completely yet.
func (r *reader) waits() bool {
	b, _ := r.in.Peek(r.in.Buffered())
	return !bytes.Contains(b, []byte("\n\n"))
}

// next reads an entry. The message is in the buffer of e, which is used again.
func (r *reader) next(e *entry) error {
	*e = entry{message: e.message[:0], fields: e.fields[:0]}
	for begun := false; ; {
		more, err := r.field(e)
		switch {
		case errors.Is(err, errEntry):
			return errors.Join(err, r.pass(errors.Is(err, errTime)))
		case err != nil:
			return half(err, begun)
		case !more && begun:
			return nil
		}
		begun = begun || more // empty lines before an entry are none
	}
}

// pass skips everything up to the next empty line. begins says that a line begins here.
func (r *reader) pass(begins bool) error {
	for {
		line, err := r.in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if begins && len(line) == 1 {
			return nil
		}
		begins = err == nil
	}
}

// field reads a field. more is false for an empty line.
func (r *reader) field(e *entry) (more bool, err error) {
	r.name = r.name[:0]
	for {
		b, err := r.in.ReadByte()
		if err != nil {
			return len(r.name) > 0, half(err, len(r.name) > 0)
		}
		switch {
		case b == '\n' && len(r.name) == 0:
			return false, nil
		case b == '=' && len(r.name) > 0:
			return true, r.text(e)
		case b == '\n':
			return true, r.bytes(e)
		case len(r.name) >= mostName || b != '_' && (b < '0' || b > '9') && (b < 'A' || b > 'Z'):
			return true, errEntry
		}
		r.name = append(r.name, b)
	}
}

// half makes a fault of an end of the input in the middle of something.
func half(err error, amid bool) error {
	if amid && errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// text reads a value that ends with its line.
func (r *reader) text(e *entry) error {
	k := r.begin(e)
	for {
		line, err := r.in.ReadSlice('\n')
		if err == nil {
			k.put(line[:len(line)-1])
			return r.end(e, k)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return half(err, true)
		}
		k.put(line)
	}
}

// bytes reads a value of a length that stands before it.
func (r *reader) bytes(e *entry) error {
	head, err := r.in.Peek(8)
	if err != nil {
		return half(err, true)
	}
	left := binary.LittleEndian.Uint64(head)
	_, _ = r.in.Discard(8)
	k := r.begin(e)
	for left > 0 {
		part, err := r.in.Peek(int(min(left, 64<<10)))
		k.put(part)
		_, _ = r.in.Discard(len(part))
		if left -= uint64(len(part)); err != nil {
			return half(err, true)
		}
	}
	if b, err := r.in.ReadByte(); err != nil || b != '\n' {
		return errors.Join(half(err, true), errEntry)
	}
	return r.end(e, k)
}

// kept is what is kept of a value.
type kept struct {
	b   []byte
	max int // of b
	cut bool
}

func (k *kept) put(b []byte) {
	room := max(0, k.max-len(k.b))
	k.cut = k.cut || len(b) > room
	k.b = append(k.b, b[:min(len(b), room)]...)
}

// begin begins the value of the field whose name was read.
func (r *reader) begin(e *entry) *kept {
	switch {
	case string(r.name) == "MESSAGE" && e.said: // a second one
		k := &kept{e.message, r.max, e.cut}
		k.put([]byte("\n"))
		return k
	case string(r.name) == "MESSAGE":
		return &kept{b: e.message, max: r.max}
	}
	return &kept{b: r.value[:0], max: mostValue}
}

// end takes the value of the field whose name was read.
func (r *reader) end(e *entry, k *kept) (err error) {
	if string(r.name) == "MESSAGE" {
		e.message, e.cut, e.said = k.b, k.cut, true
		return nil
	}
	r.value = k.b
	switch name := string(r.name); {
	case name == "__CURSOR":
		e.cursor = string(k.b)
	case name == "__REALTIME_TIMESTAMP":
		if e.micro, err = strconv.ParseInt(string(k.b), 10, 64); err != nil {
			return errTime
		}
	case strings.HasPrefix(name, "__"): // of the format itself
	case len(e.fields) < mostFields:
		e.fields = append(e.fields, field{r.intern(r.name), r.intern(k.b)})
	}
	return nil
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
