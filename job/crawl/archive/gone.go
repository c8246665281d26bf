package archive

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// Gone is a WARC file that is not as it was written.
type Gone struct {
	Name string // that it has when it has ended
	Open bool   // it has not that name yet
	Want int64  // bytes that were written and synced
	Has  int64  // -1: it is not there
}

// Losses are the files of a directory that are not as a store of that lineage has them. Of one that has not ended only what it lacks
// counts.
func Losses(r store.Reader, lineage, dir string) (all []Gone, err error) {
	s, err := readState(r)
	if err != nil {
		return nil, err
	}
	a := &Archive{o: Options{Dir: dir}}
	known := map[string]bool{}
	look := func(name string, want int64, open bool) error {
		known[name] = true
		if _, err := os.Lstat(filepath.Join(dir, name+OpenSuffix)); err == nil {
			open = true
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		has, err := a.sizeOf(name)
		if err != nil || has == want || open && has > want { // a start cuts that off
			return err
		}
		all = append(all, Gone{Name: name, Open: open, Want: want, Has: has})
		return nil
	}
	entries, failed := r.Scan(endedFrom, stateKey.End())
	for k, v := range entries {
		if len(v) != 8 {
			return nil, fault.New(fault.Corrupt, "what is known of %s is %x", k[len(stateKey):], v)
		}
		if err := look(string(k[len(stateKey):]), int64(binary.BigEndian.Uint64(v)), false); err != nil {
			return nil, err
		}
	}
	if err := failed(); err != nil {
		return nil, err
	}
	if s.Lineage != lineage { // what it writes to is another life's
		return all, nil
	}
	for _, e := range s.Ended {
		if !known[e.Name] {
			if err := look(e.Name, e.Size, false); err != nil {
				return nil, err
			}
		}
	}
	if s.Open.Name != "" {
		err = look(s.Open.Name, s.Open.Size, true)
	}
	return all, err
}

// GiveUp has the store of an archive that is not open take files as they are from now on. One that had not ended has done so, with what
// of it is whole, in bytes; the next start begins another.
func GiveUp(tx *store.Tx, all []Gone, whole map[string]int64) error {
	s, err := readState(tx)
	if err != nil {
		return err
	}
	for _, g := range all {
		size := g.Has
		if g.Open && g.Has >= 0 {
			size = whole[g.Name]
		}
		s.Ended = slices.DeleteFunc(s.Ended, func(e ended) bool { return e.Name == g.Name })
		if s.Open.Name == g.Name {
			s.Open = current{}
		}
		if g.Open && g.Has >= 0 {
			s.Ended = append(s.Ended, ended{g.Name, size})
		}
		if g.Has >= 0 {
			tx.Set(endedKey(g.Name), sizeValue(size))
		} else {
			tx.Delete(endedKey(g.Name))
		}
	}
	b, err := json.Marshal(s)
	if err == nil {
		tx.Set(stateKey, b)
		tx.Delete(lostKey)
	}
	return err
}
