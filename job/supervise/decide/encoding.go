package decide

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"time"

	"holdfast/job/supervise/rule"
)

// encoder writes an entry.
type encoder []byte

func (e *encoder) uint(v uint64) { *e = binary.AppendUvarint(*e, v) }
func (e *encoder) int(v int64)   { *e = binary.AppendVarint(*e, v) }
func (e *encoder) text(s string) {
	e.uint(uint64(len(s)))
	*e = append(*e, s...)
}

func (e *encoder) bool(is bool) {
	if is {
		e.uint(1)
	} else {
		e.uint(0)
	}
}

func (e *encoder) time(t time.Time) {
	if t.IsZero() {
		e.int(0)
	} else {
		e.int(t.UnixNano())
	}
}

func (e *encoder) window(w window) {
	e.uint(uint64(len(w)))
	last := moment(0)
	for _, at := range w {
		e.int(int64(at - last))
		last = at
	}
}

// json writes what can always be written: facts without NaN (hold), and silences.
func (e *encoder) json(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		b = []byte("null")
	}
	e.text(string(b))
}

func (e *encoder) held(h *held) {
	e.int(int64(h.at))
	e.text(h.event)
	e.text(h.cause)
	e.json(h.facts)
}

func (e *encoder) value(v *value) {
	e.bool(v.number != nil)
	if v.number != nil {
		e.uint(math.Float64bits(*v.number))
	}
	e.text(v.text)
	e.text(v.state)
}

// decoder reads an entry. If the entry is too short it fails, and returns zeros from then on.
type decoder struct {
	b    []byte
	fail bool
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	d.took(n)
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	d.took(n)
	return v
}

func (d *decoder) took(n int) {
	if n <= 0 {
		d.fail, d.b = true, nil
		return
	}
	d.b = d.b[n:]
}

// length is how many things follow, each of which has a byte at least.
func (d *decoder) length() int {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.fail, d.b = true, nil
		return 0
	}
	return int(n)
}

func (d *decoder) moment() moment { return moment(d.int()) }
func (d *decoder) bool() bool     { return d.uint() == 1 }

func (d *decoder) text() string {
	n := d.length()
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) time() time.Time {
	if n := d.int(); n != 0 {
		return time.Unix(0, n)
	}
	return time.Time{}
}

func (d *decoder) window() (w window) {
	last := moment(0)
	for range d.length() {
		last += d.moment()
		w = append(w, last)
	}
	return w
}

func (d *decoder) json(v any) {
	if json.Unmarshal([]byte(d.text()), v) != nil {
		d.fail = true
	}
}

func (d *decoder) held() *held {
	h := &held{at: d.moment(), event: d.text(), cause: d.text(), facts: &rule.Facts{}}
	d.json(h.facts)
	return h
}

func (d *decoder) value() *value {
	v := &value{}
	if d.bool() {
		n := math.Float64frombits(d.uint())
		v.number = &n
	}
	v.text, v.state = d.text(), d.text()
	return v
}
