package transfer

import (
	"encoding/binary"
	"sync/atomic"

	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// below is a number that no file on its way is below, so that a look for the first of them does not walk over the remains of
// all that went before.
type below struct{ id atomic.Uint64 }

// first is the file that has been on its way for longest; ok is false if none is.
func (b *below) first(r store.Reader) (id uint64, ok bool, err error) {
	from := b.id.Load()
	entries, failed := r.Scan(openKey(from), openKeys.End())
	for k := range entries {
		id, ok = binary.BigEndian.Uint64(k[len(k)-8:]), true
		break
	}
	if err := failed(); err != nil {
		return 0, false, err
	}
	if ok {
		b.id.CompareAndSwap(from, id) // else a dead one was revived meanwhile
	}
	return id, ok, nil
}

// forget is for when a file is on its way again that was not.
func (b *below) forget() { b.id.Store(0) }

// Tasks is how many files are on their way, since when the one is that has been so for longest, and what went out.
func (j *Job) Tasks(r store.Reader) (t engine.Tasks, err error) {
	all, err := ReadTally(r)
	if err != nil {
		return t, err
	}
	t.Taken, t.Open, t.Bytes = all.Taken, all.Open, map[string]int64{}
	for name, s := range all.Sent {
		t.Bytes[name] = s.Bytes
	}
	id, ok, err := j.below.first(r)
	if err != nil || !ok {
		return t, err
	}
	f, err := readFile(r, id)
	if err == nil {
		t.Since = f.Found
	}
	return t, err
}
