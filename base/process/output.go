package process

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"
)

// output keeps the first and the last bytes of what is written.
type output struct {
	mu      sync.Mutex
	room    int
	first   []byte
	last    []byte // a ring, once it is full
	at      int    // where the ring begins
	dropped int64
}

// Write never fails: a program must not stop because there is no room for what it says.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(b)
	if more := o.room/2 - len(o.first); more > 0 {
		more = min(more, len(b))
		o.first = append(o.first, b[:more]...)
		b = b[more:]
	}
	room := o.room - o.room/2
	if over := len(b) - room; over > 0 {
		o.dropped += int64(over)
		b = b[over:]
	}
	for len(b) > 0 {
		if len(o.last) < room {
			more := min(room-len(o.last), len(b))
			o.last = append(o.last, b[:more]...)
			b = b[more:]
			continue
		}
		more := copy(o.last[o.at:], b)
		o.at = (o.at + more) % room
		o.dropped += int64(more)
		b = b[more:]
	}
	return n, nil
}

// kept returns what was kept; dropped bytes are missing at cut.
func (o *output) kept() (all []byte, cut int, dropped int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	all = append(all, o.first...)
	all = append(all, o.last[o.at:]...)
	return append(all, o.last[:o.at]...), len(o.first), o.dropped
}

// Text returns the output as text: bytes that are no UTF-8 become U+FFFD, and a line says how much was left out, between whole
// characters.
func (r Result) Text() string {
	if r.Dropped == 0 {
		return valid(r.Output)
	}
	first, last := whole(r.Output[:r.Cut]), r.Output[r.Cut:]
	for range utf8.UTFMax - 1 {
		if len(last) > 0 && !utf8.RuneStart(last[0]) {
			last = last[1:]
		}
	}
	dropped := r.Dropped + int64(len(r.Output)-len(first)-len(last))
	return fmt.Sprintf("%s\n[%d bytes left out]\n%s", valid(first), dropped, valid(last))
}

// whole returns b without a character that is cut off at its end.
func whole(b []byte) []byte {
	for i := len(b) - 1; i >= max(0, len(b)-utf8.UTFMax+1); i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return b[:i]
			}
			break
		}
	}
	return b
}

func valid(b []byte) string {
	return strings.ToValidUTF8(string(bytes.TrimRight(b, "\n")), "\uFFFD")
}
