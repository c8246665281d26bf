package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"holdfast/base/disk"
	"holdfast/base/fault"
)

// NameKind says what a name is the name of. The kinds have names of their own, so a sink and a source
// may be called the same.
type NameKind uint8

// The kinds of names in a store.
const (
	SourceName NameKind = 's'
	SinkName   NameKind = 'k'
	QueueName  NameKind = 'q'
	SetName    NameKind = 'i'
)

// keyNextID holds the next id to be given out: ids are never given twice, so a name that is removed
// and comes back finds nothing of its former life.
var keyNextID = Meta.K().Str("next-id")

// ID returns the id of a name, giving out a new one for a name that has none. created says which.
func (tx *Tx) ID(kind NameKind, name string) (id uint32, created bool, err error) {
	if name == "" {
		return 0, false, fault.New(fault.Invalid, "name a %c: the name is empty", kind)
	}
	key := Names.K().U8(uint8(kind)).Str(name)
	v, ok, err := tx.Get(key)
	if err != nil {
		return 0, false, fmt.Errorf("look up name %q: %w", name, err)
	}
	if ok {
		if len(v) != 4 {
			return 0, false, fault.New(fault.Corrupt, "name %q has an id of %d bytes", name, len(v))
		}
		return binary.BigEndian.Uint32(v), false, nil
	}
	id = 1
	if v, ok, err = tx.Get(keyNextID); err != nil {
		return 0, false, fmt.Errorf("read next id: %w", err)
	} else if ok && len(v) == 4 {
		id = binary.BigEndian.Uint32(v)
	}
	tx.names = true
	tx.Set(key, binary.BigEndian.AppendUint32(nil, id))
	tx.Set(keyNextID, binary.BigEndian.AppendUint32(nil, id+1))
	return id, true, nil
}

// Forget removes a name. Its id is never given out again.
func (tx *Tx) Forget(kind NameKind, name string) {
	tx.names = true
	tx.Delete(Names.K().U8(uint8(kind)).Str(name))
}

// NamesOf returns the names of a kind with their ids.
func NamesOf(r Reader, kind NameKind) (map[string]uint32, error) {
	out := map[string]uint32{}
	from := Names.K().U8(uint8(kind))
	seq, fail := r.Scan(from, from.End())
	for k, v := range seq {
		if len(v) == 4 {
			out[string(k[len(from):])] = binary.BigEndian.Uint32(v)
		}
	}
	if err := fail(); err != nil {
		return nil, fmt.Errorf("list names: %w", err)
	}
	return out, nil
}

// namesFile keeps a copy of the names beside the database. Nothing reads it but a salvage: a name that
// is lost would leave all that its id has without an owner.
const namesFile = "NAMES"

type savedName struct {
	Kind NameKind `json:"kind"`
	Name string   `json:"name"`
	ID   uint32   `json:"id"`
}

// saveNames writes the copy. It is made again with each change, so one that fails is told and no more.
func (s *Store) saveNames() {
	if s.opts.FS != nil {
		return
	}
	s.naming.Lock()
	defer s.naming.Unlock()
	var all []savedName
	err := s.Latest(func(r Reader) error {
		for _, kind := range []NameKind{SourceName, SinkName, QueueName, SetName} {
			names, err := NamesOf(r, kind)
			if err != nil {
				return err
			}
			for _, n := range slices.Sorted(maps.Keys(names)) {
				all = append(all, savedName{kind, n, names[n]})
			}
		}
		return nil
	})
	var b []byte
	if err == nil {
		b, err = json.Marshal(all)
	}
	if err == nil {
		err = disk.WriteFile(filepath.Join(s.dir, namesFile), b, 0o644)
	}
	if err != nil {
		s.opts.Log.Warn("store: the copy of the names can't be written", "store", s.dir, "err", err)
	}
}

// RestoreNames puts names that a salvage did not find back, from the copy beside the damaged store in
// from, and makes sure that the next id is behind every id in use.
func (tx *Tx) RestoreNames(from string) error {
	var saved []savedName
	if b, err := os.ReadFile(filepath.Join(from, namesFile)); err == nil {
		_ = json.Unmarshal(b, &saved) // a damaged copy restores nothing
	}
	for _, n := range saved {
		key := Names.K().U8(uint8(n.Kind)).Str(n.Name)
		if _, ok, err := tx.Get(key); err != nil {
			return err
		} else if !ok {
			tx.Set(key, binary.BigEndian.AppendUint32(nil, n.ID))
			tx.names = true
		}
	}
	next, err := tx.highestID()
	if err != nil {
		return fmt.Errorf("find the next id: %w", err)
	}
	tx.Set(keyNextID, binary.BigEndian.AppendUint32(nil, next+1))
	return nil
}

// highestID is the highest id in any key or name. Ids must never be given twice, whatever was lost.
func (tx *Tx) highestID() (id uint32, err error) {
	if v, ok, err := tx.Get(keyNextID); err != nil {
		return 0, err
	} else if ok && len(v) == 4 {
		id = binary.BigEndian.Uint32(v) - 1
	}
	each := func(from Key, at int, value bool) error {
		seq, fail := tx.ScanBack(from, from.End())
		for k, v := range seq {
			if value && len(v) == 4 {
				id = max(id, binary.BigEndian.Uint32(v))
			} else if !value && len(k) >= at+4 {
				id = max(id, binary.BigEndian.Uint32(k[at:]))
				break // the keys sort by id
			}
		}
		return fail()
	}
	err = each(Names.K(), 0, true)
	for _, space := range []Space{Sinks, Settled, Plans, Cursors, Gaps, Identities, Hashes, Horizons, Tasks} {
		err = errors.Join(err, each(space.K(), 1, false))
	}
	for law := range 256 {
		err = errors.Join(err, each(Counters.K().U8(uint8(law)), 2, false))
	}
	return id, err
}
