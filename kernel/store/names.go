package store

import (
	"encoding/binary"
	"fmt"

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
	tx.Set(key, binary.BigEndian.AppendUint32(nil, id))
	tx.Set(keyNextID, binary.BigEndian.AppendUint32(nil, id+1))
	return id, true, nil
}

// Forget removes a name. Its id is never given out again.
func (tx *Tx) Forget(kind NameKind, name string) {
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
