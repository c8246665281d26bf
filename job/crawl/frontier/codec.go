package frontier

import (
	"encoding/binary"
	"strings"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// record is what is known of a host.
type record struct {
	name     string
	queued   uint64 // those in flight among them
	waiting  uint64 // put off
	done     uint64
	failed   uint64
	left     uint64 // that were not to be fetched
	bytes    uint64
	due      int64  // in milliseconds
	head     place  // no URL of the queue stands in front of it
	stale    uint64 // URLs that went since head was the first one
	patterns uint64 // that are counted
	held     bool   // it is not asked until a person says so
	spent    bool   // it is over its budget
	own      *Limits
	novel    Novelties
}

// listed reports whether the host has an entry in the order of due times.
func (r *record) listed() bool { return r.queued > 0 && !r.held && !r.spent }

// The bits of a record's flags.
const (
	flagHeld = 1 << iota
	flagSpent
	flagOwn
	flagNovel
)

func (r *record) numbers(due *uint64, novel bool) []*uint64 {
	all := []*uint64{&r.queued, &r.waiting, &r.done, &r.failed, &r.left, &r.bytes, due, &r.head.seq, &r.stale, &r.patterns}
	if r.own != nil {
		all = append(all, &r.own.URLs, &r.own.Bytes)
	}
	if novel {
		all = append(all, r.novel.fields()...)
	}
	return all
}

func (r *record) encode() []byte {
	flags := byte(0)
	if r.held {
		flags |= flagHeld
	}
	if r.spent {
		flags |= flagSpent
	}
	if r.own != nil {
		flags |= flagOwn
	}
	novel := r.novel != (Novelties{})
	if novel {
		flags |= flagNovel
	}
	b := append(make([]byte, 0, 64+len(r.name)), 1, flags, r.head.precedence)
	due := uint64(max(r.due, 0))
	for _, n := range r.numbers(&due, novel) {
		b = binary.AppendUvarint(b, *n)
	}
	return append(b, r.name...)
}

func (r *record) decode(b []byte) bool {
	if len(b) < 3 || b[0] != 1 {
		return false
	}
	flags := b[1]
	r.held, r.spent, r.head.precedence = flags&flagHeld != 0, flags&flagSpent != 0, b[2]
	if flags&flagOwn != 0 {
		r.own = &Limits{}
	}
	b = b[3:]
	var due uint64
	for _, n := range r.numbers(&due, flags&flagNovel != 0) {
		v, size := binary.Uvarint(b)
		if size <= 0 {
			return false
		}
		*n, b = v, b[size:]
	}
	r.due, r.name = int64(due), string(b)
	return true
}

// readHost reads the record of a host.
func readHost(r store.Reader, id uint32) (rec record, err error) {
	ok, err := r.Look(hostKey(id), func(v []byte) error { return decodeHost(&rec, id, v) })
	if err == nil && !ok {
		err = fault.New(fault.Corrupt, "there is no host %d", id)
	}
	return rec, err
}

func decodeHost(rec *record, id uint32, v []byte) error {
	if !rec.decode(v) {
		return fault.New(fault.Corrupt, "the record of host %d is %x", id, v)
	}
	return nil
}

// hostID returns the number of a host, if there is such a host.
func hostID(r store.Reader, name string) (id uint32, ok bool, err error) {
	ok, err = r.Look(nameKey(name), func(v []byte) (err error) {
		id, err = readID(v)
		return err
	})
	return id, ok, err
}

func readID(v []byte) (uint32, error) {
	if len(v) != 4 {
		return 0, fault.New(fault.Corrupt, "a number of the frontier is %x", v)
	}
	return binary.BigEndian.Uint32(v), nil
}

func readReady(k []byte) (due int64, id uint32, err error) {
	if len(k) != len(readyKey(0))+4 {
		return 0, 0, fault.New(fault.Corrupt, "a host that is ready has key %x", k)
	}
	return int64(binary.BigEndian.Uint64(k[3:])), binary.BigEndian.Uint32(k[11:]), nil
}

// entry is a URL in a queue.
type entry struct {
	place
	item     Item // but for its source
	source   uint32
	attempts int
}

// encode returns the value of a URL in a queue: attempts, source, hops, via, the part of the URL that differs from via, and
// the part of the key that follows neither from the URL nor from the queue.
func (e *entry) encode() []byte {
	i := &e.item
	b := make([]byte, 0, 24+len(i.URL)+len(i.Hops)+len(i.Via))
	b = binary.AppendUvarint(append(b, 1), uint64(e.attempts))
	b = binary.AppendUvarint(b, uint64(e.source))
	b = appendText(appendText(b, i.Hops), i.Via)
	n := common(i.Via, i.URL)
	b = appendText(binary.AppendUvarint(b, uint64(n)), i.URL[n:])
	front, tail := surtFront(i.Queue), path(i.URL)
	rest, plain := strings.CutPrefix(i.Key, front)
	behind, same := strings.CutPrefix(rest, tail)
	switch {
	case plain && same:
		return appendText(append(b, 2), behind)
	case plain:
		return appendText(append(b, 1), rest)
	}
	return appendText(append(b, 0), i.Key)
}

// surtFront returns what the keys of most URLs of a queue begin with.
func surtFront(queue string) string {
	host, _, _ := strings.Cut(queue, "#")
	return "http://(" + host + ")"
}

// path returns what follows the host in a URL.
func path(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	return rest[max(strings.IndexByte(rest, '/'), 0):]
}

func common(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decode reads a URL of the queue of that name.
func (e *entry) decode(b []byte, queue string) bool {
	if len(b) == 0 || b[0] != 1 {
		return false
	}
	c := cut{b[1:], true}
	e.attempts, e.source = int(c.number()), uint32(c.number())
	e.item.Queue, e.item.Hops, e.item.Via = queue, c.text(), c.text()
	n := c.number()
	if n > uint64(len(e.item.Via)) {
		return false
	}
	e.item.URL = e.item.Via[:n] + c.text()
	how := c.number()
	e.item.Key = c.text()
	if how > 1 {
		e.item.Key = path(e.item.URL) + e.item.Key
	}
	if how > 0 {
		e.item.Key = surtFront(queue) + e.item.Key
	}
	return c.ok && len(c.b) == 0 && how <= 2
}

// cut takes a value apart.
type cut struct {
	b  []byte
	ok bool
}

func (c *cut) number() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.b, c.ok = nil, false
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cut) text() string {
	n := c.number()
	if n > uint64(len(c.b)) {
		c.b, c.ok = nil, false
		return ""
	}
	s := string(c.b[:n])
	c.b = c.b[n:]
	return s
}

// readEntry reads a URL of the queue of that name.
func readEntry(k, v []byte, queue string) (e entry, err error) {
	if len(k) != len(queueKey(0))+9 || !e.decode(v, queue) {
		return e, fault.New(fault.Corrupt, "a URL in a queue has key %x and value %x", k, v)
	}
	e.precedence, e.seq = k[7], binary.BigEndian.Uint64(k[8:])
	e.item.Precedence = e.precedence
	return e, nil
}

// waiting is a URL that is put off.
type waiting struct {
	at         int64
	host       uint32
	precedence uint8
	value      []byte // as in a queue
}

func readWaiting(k, v []byte) (w waiting, err error) {
	if len(k) != len(waitKey(0))+8 || len(v) < 5 {
		return w, fault.New(fault.Corrupt, "a URL that waits has key %x and value %x", k, v)
	}
	return waiting{int64(binary.BigEndian.Uint64(k[3:])), binary.BigEndian.Uint32(v[1:]), v[0], v[5:]}, nil
}

// entry returns the URL, which is of the queue of that name.
func (w *waiting) entry(queue string) (e entry, err error) {
	if !e.decode(w.value, queue) {
		return e, fault.New(fault.Corrupt, "a URL that waits is %x", w.value)
	}
	e.precedence, e.item.Precedence = w.precedence, w.precedence
	return e, nil
}

// numbers are the next ones to be given out, and how many URLs were in flight at the last commit.
type numbers struct {
	host   uint32
	source uint32
	seq    uint64
	flying uint32
}

func readNumbers(r store.Reader) (n numbers, err error) {
	_, err = r.Look(numbersKey, func(v []byte) error {
		if len(v) != 20 {
			return fault.New(fault.Corrupt, "the numbers of the frontier are %x", v)
		}
		n = numbers{binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[16:]), binary.BigEndian.Uint64(v[4:]),
			binary.BigEndian.Uint32(v[12:])}
		return nil
	})
	return n, err
}

func (n numbers) put(tx *store.Tx) {
	b := binary.BigEndian.AppendUint32(nil, n.host)
	b = binary.BigEndian.AppendUint64(b, n.seq)
	b = binary.BigEndian.AppendUint32(b, n.flying)
	tx.Set(numbersKey, binary.BigEndian.AppendUint32(b, n.source))
}
