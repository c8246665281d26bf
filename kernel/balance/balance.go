// Package balance keeps the books of a job: how much was read and where every bit of it is.
//
// Each counter changes in the commit of the data it counts, so after any crash the counters agree
// with the data and with each other, and nobody ever scans to count. The conservation laws hold in
// every durable state:
//
//	intake, per source:   read = accepted + duplicate + filtered + rejected
//	flow, per sink:       accepted = delivered + pending + dead + discarded + expired
//	tasks, per queue:     put = ready + leased + waiting + done + dead + dropped
//
// The counters of tasks are kept by package queue; the law that they follow is here. A flow begins when its sink
// was added. A replay and a retried dead letter move rows from one term to another; they never add any. What a
// source should have and we have not seen is a Gap; what was read and can't go on is a dead letter. Both are kept
// here, because they are entries of the books.
//
// Keys: Counters space, law(1) id(4) -> version(1) and one signed 64-bit number a term, big-endian.
package balance

import (
	"encoding/binary"
	"fmt"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// Intake counts the items of a source, or changes of these counts.
type Intake struct {
	Read      int64 `json:"read"`
	Accepted  int64 `json:"accepted"`
	Duplicate int64 `json:"duplicate"`
	Filtered  int64 `json:"filtered"`
	Rejected  int64 `json:"rejected"`
}

// Flow counts the rows of a sink, or changes of these counts. PendingBytes is no term of the law: it
// is the size of the blocks that hold pending rows, for limits and for people.
type Flow struct {
	Accepted     int64 `json:"accepted"`
	Delivered    int64 `json:"delivered"`
	Pending      int64 `json:"pending"`
	Dead         int64 `json:"dead"`
	Discarded    int64 `json:"discarded"`
	Expired      int64 `json:"expired"`
	PendingBytes int64 `json:"pending_bytes"`
}

// Tasks counts the tasks of a queue; queue keeps them.
type Tasks struct {
	Put     int64 `json:"put"`
	Ready   int64 `json:"ready"`
	Leased  int64 `json:"leased"`
	Waiting int64 `json:"waiting"`
	Done    int64 `json:"done"`
	Dead    int64 `json:"dead"`
	Dropped int64 `json:"dropped"`
}

// Open is how many tasks are still to be done.
func (t Tasks) Open() int64 { return t.Ready + t.Leased + t.Waiting }

// Check returns what is wrong with the law, "" if it holds.
func (i Intake) Check() string {
	return law("read", i.Read, "accepted + duplicate + filtered + rejected",
		i.Accepted, i.Duplicate, i.Filtered, i.Rejected)
}

// Check returns what is wrong with the law, "" if it holds.
func (f Flow) Check() string {
	return law("accepted", f.Accepted, "delivered + pending + dead + discarded + expired",
		f.Delivered, f.Pending, f.Dead, f.Discarded, f.Expired)
}

// Check returns what is wrong with the law, "" if it holds.
func (t Tasks) Check() string {
	return law("put", t.Put, "ready + leased + waiting + done + dead + dropped",
		t.Ready, t.Leased, t.Waiting, t.Done, t.Dead, t.Dropped)
}

func law(name string, whole int64, terms string, parts ...int64) string {
	sum := int64(0)
	for _, p := range parts {
		if p < 0 {
			return fmt.Sprintf("a term of %s = %s is negative: %v", name, terms, parts)
		}
		sum += p
	}
	if sum != whole {
		return fmt.Sprintf("%s is %d, but %s is %d", name, whole, terms, sum)
	}
	return ""
}

// The laws' bytes in keys.
const (
	lawIntake = 'i'
	lawFlow   = 'f'
	lawGaps   = 'g'
	lawDead   = 'd' // of id 0: how many dead letters there are
)

const version = 1

// AddIntake adds d to the counters of a source.
func AddIntake(tx *store.Tx, source uint32, d Intake) error {
	return add(tx, lawIntake, source, []int64{d.Read, d.Accepted, d.Duplicate, d.Filtered, d.Rejected})
}

// ReadIntake returns the counters of a source, zero if it has none yet.
func ReadIntake(r store.Reader, source uint32) (Intake, error) {
	v, err := read(r, lawIntake, source, 5)
	if err != nil {
		return Intake{}, err
	}
	return Intake{v[0], v[1], v[2], v[3], v[4]}, nil
}

// AddFlow adds d to the counters of a sink.
func AddFlow(tx *store.Tx, sink uint32, d Flow) error {
	return add(tx, lawFlow, sink, d.terms())
}

func (f Flow) terms() []int64 {
	return []int64{f.Accepted, f.Delivered, f.Pending, f.Dead, f.Discarded, f.Expired, f.PendingBytes}
}

// ReadFlow returns the counters of a sink, zero if it has none yet.
func ReadFlow(r store.Reader, sink uint32) (Flow, error) {
	v, err := read(r, lawFlow, sink, 7)
	if err != nil {
		return Flow{}, err
	}
	return Flow{v[0], v[1], v[2], v[3], v[4], v[5], v[6]}, nil
}

func counterKey(law byte, id uint32) store.Key { return store.Counters.K().U8(law).U32(id) }

func add(tx *store.Tx, law byte, id uint32, d []int64) error {
	v, err := read(tx, law, id, len(d))
	if err != nil {
		return err
	}
	for i := range v {
		v[i] += d[i]
	}
	set(tx, law, id, v)
	return nil
}

// set writes counters as they are. They are never deleted first: looking up a key that a transaction has deleted walks
// over all that it wrote there before.
func set(tx *store.Tx, law byte, id uint32, v []int64) {
	out := []byte{version}
	for i := range v {
		out = binary.BigEndian.AppendUint64(out, uint64(v[i]))
	}
	tx.Set(counterKey(law, id), out)
}

func read(r store.Reader, law byte, id uint32, n int) ([]int64, error) {
	out := make([]int64, n)
	v, ok, err := r.Get(counterKey(law, id))
	if err != nil {
		return nil, fmt.Errorf("read counters: %w", err)
	}
	if !ok {
		return out, nil
	}
	if len(v) != 1+8*n {
		return nil, fault.New(fault.Corrupt, "counters %c of %d have %d bytes, want %d", law, id, len(v), 1+8*n)
	}
	if v[0] != version {
		return nil, fault.New(fault.Corrupt, "counters %c of %d have version %d, want %d", law, id, v[0], version)
	}
	for i := range out {
		out[i] = int64(binary.BigEndian.Uint64(v[1+8*i:]))
	}
	return out, nil
}
