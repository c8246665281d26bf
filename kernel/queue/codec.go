package queue

import (
	"encoding/binary"
	"fmt"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

const version = 1

// State is where a task is.
type State uint8

// The states of a task that is there. Waiting is for its due time or for another of its order.
const (
	Ready   State = 1
	Leased  State = 2
	Waiting State = 3
	Dead    State = 4

	behind State = 5 // waiting for another of its order
	again  State = 6 // ready after waiting, in its lane's due list
)

// String returns the word that status and the balance use.
func (s State) String() string {
	switch s {
	case Ready, again:
		return "ready"
	case Leased:
		return "leased"
	case Waiting, behind:
		return "waiting"
	case Dead:
		return "dead"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// The keys of a queue, see the package comment.
func (q *Queue) metaKey() store.Key              { return store.Tasks.K().U32(q.id) }
func (q *Queue) part(c byte) store.Key           { return q.metaKey().U8(c) }
func (q *Queue) taskKey(id uint64) store.Key     { return q.part('t').U64(id) }
func (q *Queue) payloadKey(id uint64) store.Key  { return q.part('p').U64(id) }
func (q *Queue) keyKey(key string) store.Key     { return q.part('k').Str(key) }
func (q *Queue) dayKey(day uint32) store.Key     { return q.part('h').U32(day) }
func (q *Queue) leaseKey(slot uint32) store.Key  { return q.part('l').U32(slot) }
func (q *Queue) deadKey(id uint64) store.Key     { return q.part('d').U64(id) }
func (q *Queue) dueKey(due, id uint64) store.Key { return q.part('w').U64(due).U64(id) }
func (q *Queue) orderKey(h hash) store.Key       { return q.part('o').Raw(h[:]) }
func (q *Queue) behindKey(h hash, id uint64) store.Key {
	return q.part('x').Raw(h[:]).U64(id)
}
func (q *Queue) readyKey(list int, position uint64) store.Key {
	return q.part('r').U8(uint8(list)).U64(position)
}

// task is a task that is there.
type task struct {
	id       uint64
	state    State
	lane     int
	attempts uint32
	put      uint64 // when it was put
	since    uint64 // when it came into its state
	due      uint64 // not before; 0 for at once
	at       uint64 // ready: position; leased: slot; else 0
	key      string
	order    string
	reason   string // what the last attempt said
}

// list is where a ready task stands.
func (t *task) list() int {
	if t.state == again {
		return 2*t.lane + 1
	}
	return 2 * t.lane
}

func (t *task) encode() []byte {
	b := make([]byte, 0, 48+len(t.key)+len(t.order)+len(t.reason))
	b = append(b, version, byte(t.state), byte(t.lane))
	b = binary.BigEndian.AppendUint32(b, t.attempts)
	for _, n := range []uint64{t.put, t.since, t.due, t.at} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	for _, s := range []string{t.key, t.order, t.reason} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return b
}

const taskHead = 3 + 4 + 4*8

func decodeTask(id uint64, v []byte) (*task, error) {
	if err := checkValue(v, taskHead); err != nil {
		return nil, fmt.Errorf("task %d: %w", id, err)
	}
	u := func(i int) uint64 { return binary.BigEndian.Uint64(v[7+8*i:]) }
	t := &task{id: id, state: State(v[1]), lane: int(v[2]), attempts: binary.BigEndian.Uint32(v[3:]),
		put: u(0), since: u(1), due: u(2), at: u(3)}
	v = v[taskHead:]
	for _, s := range []*string{&t.key, &t.order, &t.reason} {
		n, w := binary.Uvarint(v)
		if w <= 0 || n > uint64(len(v)-w) || w > 1 && v[w-1] == 0 {
			return nil, fault.New(fault.Corrupt, "task %d ends within its texts", id)
		}
		*s, v = string(v[w:w+int(n)]), v[w+int(n):]
	}
	if len(v) > 0 || t.state < Ready || t.state > again || t.lane >= maxLanes || t.key == "" {
		return nil, fault.New(fault.Corrupt, "task %d: state %d, lane %d, key %q, %d bytes left", id,
			t.state, t.lane, t.key, len(v))
	}
	return t, nil
}

// checkValue checks version and least size.
func checkValue(v []byte, size int) error {
	if len(v) < size || len(v) == 0 {
		return fault.New(fault.Corrupt, "value has %d bytes, want at least %d", len(v), size)
	}
	if v[0] != version {
		return fault.New(fault.Permanent, "value has version %d, this program knows %d", v[0], version)
	}
	return nil
}

// numbers encodes a value of a version and numbers; readNumbers reads n of them.
func numbers(ns ...uint64) []byte {
	b := make([]byte, 1, 1+8*len(ns))
	b[0] = version
	for _, n := range ns {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

func readNumbers(key, v []byte, n int) ([]uint64, error) {
	err := checkValue(v, 1+8*n)
	if err == nil && len(v) != 1+8*n {
		err = fault.New(fault.Corrupt, "value has %d bytes, want %d", len(v), 1+8*n)
	}
	if err != nil {
		return nil, fmt.Errorf("read key %x: %w", key, err)
	}
	out := make([]uint64, n)
	for i := range out {
		out[i] = binary.BigEndian.Uint64(v[1+8*i:])
	}
	return out, nil
}

// known is what is known of a key.
type known struct {
	kind byte
	id   uint64 // of a task that is there
	day  uint32 // when it ended, else
}

const (
	keyLive    = 1
	keyDone    = 2
	keyDropped = 3
)

func (k known) encode() []byte {
	b := []byte{version, k.kind}
	if k.kind == keyLive {
		return binary.BigEndian.AppendUint64(b, k.id)
	}
	return binary.BigEndian.AppendUint32(b, k.day)
}

func decodeKnown(v []byte) (known, error) {
	if err := checkValue(v, 2); err != nil {
		return known{}, err
	}
	k := known{kind: v[1]}
	switch {
	case k.kind == keyLive && len(v) == 10:
		k.id = binary.BigEndian.Uint64(v[2:])
	case (k.kind == keyDone || k.kind == keyDropped) && len(v) == 6:
		k.day = binary.BigEndian.Uint32(v[2:])
	default:
		return known{}, fault.New(fault.Corrupt, "key of kind %d has %d bytes", k.kind, len(v))
	}
	return k, nil
}

func (q *Queue) lookUp(r store.Reader, key string) (known, bool, error) {
	v, ok, err := r.Get(q.keyKey(key))
	if err != nil || !ok {
		return known{}, false, err
	}
	k, err := decodeKnown(v)
	if err != nil {
		return known{}, false, fmt.Errorf("read key %q of queue %q: %w", key, q.name, err)
	}
	return k, true, nil
}

func (q *Queue) task(r store.Reader, id uint64) (*task, bool, error) {
	v, ok, err := r.Get(q.taskKey(id))
	if err != nil || !ok {
		return nil, false, err
	}
	t, err := decodeTask(id, v)
	if err != nil {
		return nil, false, fmt.Errorf("read queue %q: %w", q.name, err)
	}
	return t, true, nil
}

// mustTask is task where an index says that there is one.
func (q *Queue) mustTask(r store.Reader, id uint64) (*task, error) {
	t, ok, err := q.task(r, id)
	if err == nil && !ok {
		err = fault.New(fault.Corrupt, "queue %q: task %d is in an index and not there", q.name, id)
	}
	return t, err
}

func (q *Queue) payload(r store.Reader, id uint64) ([]byte, error) {
	v, ok, err := r.Get(q.payloadKey(id))
	if err != nil || !ok {
		return nil, err
	}
	if err := checkValue(v, 1); err != nil {
		return nil, fmt.Errorf("read payload of task %d: %w", id, err)
	}
	return v[1:], nil
}
