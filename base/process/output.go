package process

import "sync"

// output keeps the first and the last bytes of what is written.
type output struct {
	mu      sync.Mutex
	room    int
	first   []byte
	last    []byte // a ring, once it is full
	at      int    // where the ring begins
	dropped int64
}

// Write takes all of it, always: a program is not to stop because nobody keeps what it says.
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

// kept is what was kept, and where how much is missing.
func (o *output) kept() (all []byte, cut int, dropped int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	all = append(all, o.first...)
	all = append(all, o.last[o.at:]...)
	return append(all, o.last[:o.at]...), len(o.first), o.dropped
}
