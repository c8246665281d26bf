package archive

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"

	"holdfast/kernel/store"
)

// Gone is a WARC file that is not as it was written.
type Gone struct {
	Name string // that it has when it has ended
	Open bool   // it has not that name yet
	Want int64  // bytes that were written and synced
	Has  int64  // -1: it is not there
}

// Losses returns the files of a directory that differ from what the store of that lineage says of them. A file that has not
// ended may only lack something; more is no difference.
func Losses(r store.Reader, lineage, dir string) (all []Gone, err error) {
	s, err := readState(r)
	if err != nil {
		return nil, err
	}
	a := &Archive{o: Options{Dir: dir}}
	known := map[string]bool{}
	look := func(name string, want int64, now bool) error { // now: it is the one that is written to
		known[name] = true
		ended, err := exists(a.path(name))
		if err != nil {
			return err
		}
		open, err := exists(a.path(name) + OpenSuffix)
		if err != nil {
			return err
		}
		open = !ended && (open || now)
		has, err := a.sizeOf(name)
		if err != nil || has == want || open && has > want { // a start cuts that off
			return err
		}
		all = append(all, Gone{Name: name, Open: open, Want: want, Has: has})
		return nil
	}
	err = readSizes(r, stateKey, endedFrom, func(name string, size int64) error { return look(name, size, false) })
	if err != nil {
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

// GiveUp makes the store of an archive that is not open accept files as they are now. A file that had not ended has ended with
// the part of it that is whole, in bytes; the next start begins another.
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
		tx.Set(awayKey(g.Name), sizeValue(g.Want))
	}
	b, err := json.Marshal(s)
	if err == nil {
		tx.Set(stateKey, b)
		tx.Delete(lostKey)
	}
	return err
}

// back takes back files that were given up and are there again, with their full size; one that had not ended has ended now.
// Others that are given up stay as they are.
func (a *Archive) back(st *store.Store, r *Recovered) (away map[string]int64, err error) {
	away = map[string]int64{}
	err = st.Latest(func(rd store.Reader) error {
		return readSizes(rd, lostKey, awayFrom, func(name string, size int64) error { away[name] = size; return nil })
	})
	if err != nil || len(away) == 0 {
		return away, err
	}
	var back []ended
	for name, size := range away {
		is, err := a.isBack(ended{name, size}, r)
		if err != nil {
			return away, err
		}
		if is {
			back = append(back, ended{name, size})
			delete(away, name)
			r.Back = append(r.Back, a.path(name))
		}
	}
	if len(back) == 0 {
		return away, nil
	}
	slices.Sort(r.Back)
	return away, st.Update(func(tx *store.Tx) error {
		for _, e := range back {
			tx.Set(endedKey(e.Name), sizeValue(e.Size))
			tx.Delete(awayKey(e.Name))
		}
		return nil
	})
}

// isBack reports whether a file is there again, and gives it the name of one that has ended.
func (a *Archive) isBack(e ended, r *Recovered) (bool, error) {
	info, err := os.Lstat(a.path(e.Name))
	if err == nil {
		return info.Mode().IsRegular() && info.Size() == e.Size, nil // what is left of a file that was cut has that name too
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	info, err = os.Lstat(a.path(e.Name) + OpenSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || !info.Mode().IsRegular() || info.Size() < e.Size {
		return false, err
	}
	return true, a.name(e, r)
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
