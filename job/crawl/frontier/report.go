package frontier

import (
	"encoding/binary"
	"math/bits"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// Host is what is known of a host.
type Host struct {
	Name      string // the Queue of its URLs
	Queued    uint64 // those in flight among them
	Waiting   uint64 // put off
	Done      uint64
	Failed    uint64
	Left      uint64
	Bytes     uint64
	Due       time.Time // when it may be asked again
	Held      bool      // by a person
	Exhausted bool      // it is over its budget
	Budget    *Limits   // its own, nil for none
	Novelties
}

// host is the record for people.
func (r *record) host(c clock) Host {
	h := Host{Name: r.name, Queued: r.queued, Waiting: r.waiting, Done: r.done, Failed: r.failed, Left: r.left, Bytes: r.bytes,
		Held: r.held, Exhausted: r.spent, Budget: r.own, Novelties: r.novel}
	if r.due > 0 {
		h.Due = c.wall(r.due)
	}
	return h
}

// FindHost returns a host by its name.
func FindHost(r store.Reader, name string) (h Host, known bool, err error) {
	id, ok, err := hostID(r, name)
	if err != nil || !ok {
		return h, false, err
	}
	rec, err := readHost(r, id)
	if err != nil {
		return h, false, err
	}
	c, err := openClock(r)
	return rec.host(c), err == nil, err
}

// Hosts returns at most n hosts in the order of their names, from behind one.
func Hosts(r store.Reader, after string, n int) ([]Host, error) {
	c, err := openClock(r)
	if err != nil {
		return nil, err
	}
	return listed(r, 'n', after, n, func(id uint32) (Host, error) {
		rec, err := readHost(r, id)
		return rec.host(c), err
	})
}

// listed reads at most n things in the order of their names, from behind one. list is the kind of the keys that have the numbers
// of the names.
func listed[T any](r store.Reader, list byte, after string, n int, read func(id uint32) (T, error)) (all []T, err error) {
	from := key(list).Str(after)
	if after != "" {
		from = append(from, 0)
	}
	entries, failed := r.Scan(from, key(list).End())
	for _, v := range entries {
		if len(all) == n {
			break
		}
		id, err := readID(v)
		if err != nil {
			return nil, err
		}
		one, err := read(id)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, failed()
}

// rankOf maps how many URLs are queued to a rank, the lower the more: four steps for each doubling, so that the rank of a host
// seldom changes.
func rankOf(queued uint64) uint8 {
	if queued < 4 {
		return 255 - uint8(queued)
	}
	exp := bits.Len64(queued) - 3
	return 255 - uint8(exp*4+int(queued>>exp))
}

func rankKey(rank uint8) store.Key { return key('o').U8(rank) }

// rank updates the place of a host in the order of their sizes.
func (b *Batch) rank(id uint32, h *change) {
	was, is := rankOf(h.was.queued), rankOf(h.queued)
	if was == is {
		return
	}
	if h.was.queued > 0 {
		b.tx.Delete(rankKey(was).U32(id))
	}
	if h.queued > 0 {
		b.tx.Set(rankKey(is).U32(id), nil)
	}
}

// Largest returns the n hosts with the most URLs in their queues, the largest first. It reads those, and all others that are
// smaller than the last of them by less than a fifth.
func Largest(r store.Reader, n int) ([]Host, error) {
	c, err := openClock(r)
	if err != nil {
		return nil, err
	}
	var top largest
	rank := uint8(0)
	entries, failed := r.Scan(key('o'), key('o').End())
	for k := range entries {
		if len(k) != len(key('o'))+5 {
			return nil, fault.New(fault.Corrupt, "a host by its size has key %x", k)
		}
		if k[3] != rank && len(top) >= n {
			break
		}
		rank = k[3]
		rec, err := readHost(r, binary.BigEndian.Uint32(k[4:]))
		if err != nil {
			return nil, err
		}
		top.put(rec.host(c), n)
	}
	return top, failed()
}

// hostsOfDepth is how many hosts Deepest looks at.
const hostsOfDepth = 200

// Deepest returns how many URLs the longest queue has. If more than hostsOfDepth queues are about as long as that, it may miss
// the longest, and the result is too small by less than a fifth.
func Deepest(r store.Reader) (most uint64, err error) {
	seen, rank := 0, uint8(0)
	entries, failed := r.Scan(key('o'), key('o').End())
	for k := range entries {
		if len(k) != len(key('o'))+5 {
			return 0, fault.New(fault.Corrupt, "a host by its size has key %x", k)
		}
		if seen++; seen == 1 {
			rank = k[3]
		}
		if k[3] != rank || seen > hostsOfDepth {
			break
		}
		rec, err := readHost(r, binary.BigEndian.Uint32(k[4:]))
		if err != nil {
			return 0, err
		}
		most = max(most, rec.queued)
	}
	return most, failed()
}

// largest is a list of hosts, ordered by size.
type largest []Host

func (l *largest) put(h Host, most int) {
	at := len(*l)
	for at > 0 && ((*l)[at-1].Queued < h.Queued || (*l)[at-1].Queued == h.Queued && (*l)[at-1].Name > h.Name) {
		at--
	}
	if at >= most {
		return
	}
	*l = append(*l, Host{})
	copy((*l)[at+1:], (*l)[at:])
	(*l)[at] = h
	*l = (*l)[:min(len(*l), most)]
}
