package transfer

import (
	"encoding/binary"
	"sync"
	"time"

	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// below is a lower bound of the ids of the files on their way. A search for the first of them begins there, so that it does
// not walk over the remains of all that went before.
type below struct {
	mu   sync.Mutex // guards what is below
	id   uint64
	till time.Time // until then it is not raised: a reader may not see yet what was revived
}

// untilSeen is for longer than anybody keeps a reader.
const untilSeen = time.Minute

// first is the file that has been on its way for longest; ok is false if none is.
func (b *below) first(r store.Reader) (id uint64, ok bool, err error) {
	b.mu.Lock()
	from := b.id
	b.mu.Unlock()
	entries, failed := r.Scan(openKey(from), openKeys.End())
	for k := range entries {
		id, ok = binary.BigEndian.Uint64(k[len(k)-8:]), true
		break
	}
	if err := failed(); err != nil {
		return 0, false, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if ok && !time.Now().Before(b.till) {
		b.id = max(b.id, id)
	}
	return id, ok, nil
}

// forget drops the bound. It is called when a file that had ended is on its way again.
func (b *below) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.id, b.till = 0, time.Now().Add(untilSeen)
}

// Tasks returns how many files are on their way, since when the oldest of them has been, and what went out.
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
