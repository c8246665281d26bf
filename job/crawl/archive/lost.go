package archive

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// Lost counts files that have ended and are not as they were written, because a disk or a person removed or changed them.
type Lost struct {
	Files int    `json:"files"`
	First string `json:"first,omitempty"` // in the order of names, and what is wrong with it
}

// Keys of files that have ended: A name. A store lacks those that ended before it kept such keys.
func endedKey(name string) store.Key { return stateKey.Str(name) }

// endedFrom is before all of these keys.
var endedFrom = stateKey.U8(1)

// Keys of files that were given up: A 0 name, with the size that each had.
func awayKey(name string) store.Key { return store.Key{byte(store.Job), 'A', 0}.Str(name) }

// awayFrom is before all of these keys.
var awayFrom = store.Key{byte(store.Job), 'A', 0, 1}

// readSizes reads the sizes of files from the keys that begin with prefix and end with a name, from a key on.
func readSizes(r store.Reader, prefix, from store.Key, each func(name string, size int64) error) error {
	entries, failed := r.Scan(from, prefix.End())
	for k, v := range entries {
		name := string(k[len(prefix):])
		size, err := sizeOf(name, v)
		if err != nil {
			return err
		}
		if err := each(name, size); err != nil {
			return err
		}
	}
	return failed()
}

// sizeOf reads what sizeValue wrote of a file.
func sizeOf(name string, v []byte) (int64, error) {
	if len(v) != 8 {
		return 0, fault.New(fault.Corrupt, "what is known of %s is %x", name, v)
	}
	return int64(binary.BigEndian.Uint64(v)), nil
}

func sizeValue(size int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(size)) }

// lostKey is the key of what the last start found.
var lostKey = store.Key{byte(store.Job), 'A', 0}

// ReadLost returns what the last start found of files that had ended.
func ReadLost(r store.Reader) (l Lost, err error) {
	_, err = r.Look(lostKey, func(v []byte) error {
		if err := json.Unmarshal(v, &l); err != nil {
			return fault.New(fault.Corrupt, "what is known of lost WARC files is %q: %w", v, err)
		}
		return nil
	})
	return l, err
}

// keep stores a Lost for ReadLost.
func (l Lost) keep(st *store.Store) error {
	var was Lost
	err := st.Latest(func(r store.Reader) (err error) { was, err = ReadLost(r); return err })
	if err != nil || l == was {
		return err
	}
	return st.Update(func(tx *store.Tx) error {
		b, err := json.Marshal(l)
		if err == nil {
			tx.Set(lostKey, b)
		}
		return err
	})
}

// check compares the files that have ended with what was written, by their sizes. more are files that the store may have
// elsewhere only.
func (a *Archive) check(st *store.Store, more []ended) (l Lost, err error) {
	err = st.Latest(func(r store.Reader) error {
		known := map[string]bool{}
		err := readSizes(r, stateKey, endedFrom, func(name string, size int64) error {
			known[name] = true
			return l.look(a, ended{name, size})
		})
		if err != nil {
			return err
		}
		for _, e := range more {
			if !known[e.Name] {
				if err := l.look(a, e); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == nil {
		err = l.keep(st)
	}
	return l, err
}

// look compares one file.
func (l *Lost) look(a *Archive, e ended) error {
	size, err := a.sizeOf(e.Name)
	if err != nil || size == e.Size {
		return err
	}
	if l.Files++; l.First == "" {
		l.First = e.Name + " is gone"
		if size >= 0 {
			l.First = fmt.Sprintf("%s has %d bytes, and %d were written", e.Name, size, e.Size)
		}
	}
	return nil
}
