package identity

import (
	"fmt"

	"holdfast/kernel/store"
)

// DropUnreadable removes the chunks and totals of integer sets that can't be read, after a salvage,
// and counts every such set anew. What a lost chunk knew is forgotten: rows with those keys count
// as new when they come again, and a sink that compares by key finds them.
func DropUnreadable(tx *store.Tx) error {
	var drop []store.Key
	var c chunk
	seq, fail := tx.Scan(store.Identities.K(), store.Identities.K().End())
	for k, v := range seq {
		key := store.Key(k)
		var err error
		switch len(k) {
		case 5:
			_, err = decodeTotal(key, v)
		case 11:
			_, err = c.decode(key, v)
		default:
			err = fmt.Errorf("key of %d bytes", len(k))
		}
		if err != nil {
			drop = append(drop, append(store.Key(nil), k...))
		}
	}
	if err := fail(); err != nil {
		return err
	}
	for _, k := range drop {
		tx.Delete(k)
	}
	names, err := store.NamesOf(tx, store.SetName)
	if err != nil {
		return err
	}
	for name, id := range names {
		s := &Set{id: id, name: name}
		n, err := s.count(tx)
		if err != nil {
			return err
		}
		_, told, err := tx.Get(s.totalKey())
		if err != nil {
			return err
		}
		if n > 0 || told { // else a set of hashes, or one that never held anything
			s.writeTotal(tx, n)
		}
	}
	return nil
}
