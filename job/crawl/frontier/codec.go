package frontier

import (
	"encoding/binary"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// milli is a time as it is stored, no further away than Longest.
func milli(t time.Time) int64 { return min(t.UnixMilli(), time.Now().Add(Longest).UnixMilli()) }

// record is what is known of a host.
type record struct {
	name    string
	queued  uint64 // those in flight among them
	waiting uint64 // put off
	done    uint64
	failed  uint64
	left    uint64 // that were not to be fetched
	bytes   uint64
	due     int64 // in milliseconds
	head    place // no URL of the queue stands in front of it
	held    bool  // it is not asked until a person says so
}

// listed reports whether the host has an entry in the order of time.
func (r *record) listed() bool { return r.queued > 0 && !r.held }

func (r *record) encode() []byte {
	flags := byte(0)
	if r.held {
		flags |= 1
	}
	b := append(make([]byte, 0, 32+len(r.name)), 1, flags, r.head.precedence)
	for _, n := range []uint64{r.queued, r.waiting, r.done, r.failed, r.left, r.bytes, uint64(max(r.due, 0)), r.head.seq} {
		b = binary.AppendUvarint(b, n)
	}
	return append(b, r.name...)
}

func (r *record) decode(b []byte) bool {
	if len(b) < 3 || b[0] != 1 {
		return false
	}
	r.held, r.head.precedence = b[1]&1 != 0, b[2]
	b = b[3:]
	var due uint64
	for _, n := range []*uint64{&r.queued, &r.waiting, &r.done, &r.failed, &r.left, &r.bytes, &due, &r.head.seq} {
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
	ok, err := r.Look(hostKey(id), func(v []byte) error {
		if !rec.decode(v) {
			return fault.New(fault.Corrupt, "the record of host %d is %x", id, v)
		}
		return nil
	})
	if err == nil && !ok {
		err = fault.New(fault.Corrupt, "there is no host %d", id)
	}
	return rec, err
}

func readReady(k []byte) (due int64, id uint32, err error) {
	if len(k) != len(readyKey(0))+4 {
		return 0, 0, fault.New(fault.Corrupt, "a host that is ready has key %x", k)
	}
	return int64(binary.BigEndian.Uint64(k[3:])), binary.BigEndian.Uint32(k[11:]), nil
}

// encode is the value of a URL in a queue.
func (e *entry) encode() []byte {
	b := make([]byte, 0, 16+len(e.item.URL)+len(e.item.Key)+len(e.item.Hops)+len(e.item.Via)+len(e.item.Source))
	b = binary.AppendUvarint(append(b, 1), uint64(e.attempts))
	for _, s := range []string{e.item.URL, e.item.Key, e.item.Hops, e.item.Via, e.item.Source} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return b
}

func (e *entry) decode(b []byte) bool {
	if len(b) == 0 || b[0] != 1 {
		return false
	}
	attempts, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return false
	}
	e.attempts, b = int(attempts), b[1+n:]
	for _, s := range []*string{&e.item.URL, &e.item.Key, &e.item.Hops, &e.item.Via, &e.item.Source} {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return false
		}
		*s, b = string(b[n:n+int(size)]), b[n+int(size):]
	}
	return len(b) == 0
}

// readEntry reads a URL of a queue.
func readEntry(k, v []byte) (e entry, err error) {
	if len(k) != len(queueKey(0))+9 || !e.decode(v) {
		return e, fault.New(fault.Corrupt, "a URL in a queue has key %x and value %x", k, v)
	}
	e.precedence, e.seq = k[7], binary.BigEndian.Uint64(k[8:])
	e.item.Precedence = e.precedence
	return e, nil
}

// numbers are the next ones to be given out, and how many URLs were in flight at the last commit.
type numbers struct {
	host   uint32
	seq    uint64
	flying uint32
}

func readNumbers(r store.Reader) (n numbers, err error) {
	_, err = r.Look(numbersKey, func(v []byte) error {
		if len(v) != 16 {
			return fault.New(fault.Corrupt, "the numbers of the frontier are %x", v)
		}
		n = numbers{binary.BigEndian.Uint32(v), binary.BigEndian.Uint64(v[4:]), binary.BigEndian.Uint32(v[12:])}
		return nil
	})
	return n, err
}

func (n numbers) put(tx *store.Tx) {
	b := binary.BigEndian.AppendUint32(nil, n.host)
	b = binary.BigEndian.AppendUint64(b, n.seq)
	tx.Set(numbersKey, binary.BigEndian.AppendUint32(b, n.flying))
}
