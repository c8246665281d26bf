package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/kernel/store/forensic"
)

// Salvaged says what a salvage found.
type Salvaged struct {
	Findings []forensic.Finding
	Entries  int // that were kept
}

// SalvageMargin is the room that a salvage takes whatever the size of the store: the tables of what the
// sorter and the new store hold in memory, and new logs, which are allocated in one piece. Its Draft
// keeps as much free, because what is in memory comes after the commit that was admitted.
const SalvageMargin = 48 << 20

// SalvageNeeds is about the room that a salvage of the store in dir takes at most, in bytes: what can be
// read is sorted on the disk, and poured into a new store from there.
func SalvageNeeds(dir string) (uint64, error) {
	sizes, _, err := salvageFiles(salvageDirs(dir))
	var total uint64
	for _, n := range sizes {
		total += uint64(n)
	}
	return 2*total + SalvageMargin, err
}

// salvageDirs are the directories of a store in which tables and logs may be.
func salvageDirs(dir string) []string {
	dirs := []string{filepath.Join(dir, "db")}
	archive := filepath.Join(dir, "archive")
	if _, err := Disk.Stat(archive); err == nil {
		dirs = append(dirs, archive)
	}
	return dirs
}

// salvageFiles returns the bytes of all files of a name, and of all files.
func salvageFiles(dirs []string) (sizes map[string]int64, total int64, err error) {
	sizes = map[string]int64{}
	for _, dir := range dirs {
		names, err := Disk.List(dir)
		if err != nil {
			return nil, 0, fmt.Errorf("list %s: %w", dir, err)
		}
		for _, name := range names {
			if info, err := Disk.Stat(filepath.Join(dir, name)); err == nil {
				sizes[name] += info.Size()
				total += info.Size()
			}
		}
	}
	return sizes, total, nil
}

// Salvage reads what can still be read of the damaged store in dir, and writes it into a new store in
// into, which must not exist: of each key the newest version that any file holds. The damaged store is
// not changed. A key that was deleted may come back when the file that said so can't be read; of files
// that were not in use any more only the spaces for which stale asks are read, because there that is
// the rule. tell is called now and then with the part that is done, from 0 to 1; its error ends the work.
//
// What is written is a heap of facts and of state that may be old: the caller rebuilds what depends on
// each other before anyone works with it. It stands on d; when that is given up, its error is returned.
func Salvage(dir, into string, d *Draft, stale func(Space) bool, tell func(part float64) error) (out Salvaged,
	err error) {
	lock, err := disk.Acquire(filepath.Join(dir, "LOCK"))
	if err != nil {
		return out, err
	}
	defer func() {
		if given := d.Err(); given != nil {
			err = given // all other errors may follow from it
		}
		if err = errors.Join(err, lock.Release()); err != nil {
			err = fmt.Errorf("salvage store %s: %w", dir, err)
		}
	}()
	s, err := newSorter(into+".sort", d)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if out.Findings, err = s.sort(dir, stale, tell); err != nil {
		return out, err
	}
	fresh, err := Open(into, d.Options())
	if err != nil {
		return out, err
	}
	out.Entries, err = s.pour(fresh, tell)
	if err = errors.Join(err, fresh.Close()); err != nil {
		return out, err
	}
	return out, disk.WriteFile(filepath.Join(into, "FORMAT"), []byte(FormatText(Format)), 0o644)
}

// sorter finds the newest version of each key among entries in any order, on disk: there may be more of
// them than memory holds. Values are sequence number(8), set or deleted(1), value.
type sorter struct {
	dir   string
	d     *Draft
	db    *pebble.DB
	gone  []erased
	asked int // bytes since room was asked for
	added int // entries
}

// erased is a range deletion.
type erased struct {
	from, to []byte
	seq      uint64
}

const (
	entrySet     = 1
	entryDeleted = 0
)

func newSorter(dir string, d *Draft) (*sorter, error) {
	if err := Disk.RemoveAll(dir); err != nil {
		return nil, err
	}
	db, err := pebble.Open(dir, &pebble.Options{FS: d, DisableWAL: true, MemTableSize: 16 << 20,
		FormatMajorVersion: pebbleFormat, Logger: draftLog{d},
		// Without a handler of its own, Pebble ends the process.
		EventListener: &pebble.EventListener{DataCorruption: func(i pebble.DataCorruptionInfo) {
			d.fail(fault.New(fault.Corrupt, "read %s: %w", i.Path, i.Details))
		}}})
	if err != nil {
		return nil, err
	}
	return &sorter{dir: dir, d: d, db: db}, nil
}

// draftLog gives a Draft up where Pebble would end the process.
type draftLog struct{ d *Draft }

func (draftLog) Infof(string, ...any)        {}
func (draftLog) Errorf(string, ...any)       {}
func (l draftLog) Fatalf(f string, a ...any) { l.d.fail(fmt.Errorf(f, a...)) }

func (s *sorter) close() error { return errors.Join(s.db.Close(), Disk.RemoveAll(s.dir)) }

// sortShare is the part of a salvage that is behind when all is sorted.
const sortShare = 0.6

// sort takes in what can be read of the store in dir.
func (s *sorter) sort(dir string, stale func(Space) bool, tell func(float64) error) ([]forensic.Finding,
	error) {
	dirs := salvageDirs(dir)
	sizes, total, err := salvageFiles(dirs)
	if err != nil {
		return nil, err
	}
	at, done := "", int64(0)
	found, err := forensic.SalvageDir(Disk, dirs, func(e forensic.Entry) error {
		if e.File != at { // files come one after the other
			done += sizes[at]
			at = e.File
			if err := tell(sortShare * float64(done) / float64(max(total, 1))); err != nil {
				return err
			}
		}
		if !e.Live && (len(e.Key) == 0 || !stale(Space(e.Key[0]))) {
			return nil
		}
		return s.add(e)
	})
	return found.Findings, err
}

// admit asks for room for n more bytes, now and then: a batch of the new store is asked for by itself.
func (s *sorter) admit(n int) error {
	if s.asked += n; s.asked < pourBatch {
		return s.d.Err()
	}
	n, s.asked = s.asked, 0
	return s.d.Admit(n)
}

func (s *sorter) add(e forensic.Entry) error {
	state := byte(entryDeleted)
	switch e.Kind {
	case pebble.InternalKeyKindSet, pebble.InternalKeyKindSetWithDelete:
		state = entrySet
	case pebble.InternalKeyKindDelete, pebble.InternalKeyKindSingleDelete, pebble.InternalKeyKindDeleteSized:
	case pebble.InternalKeyKindRangeDelete:
		s.gone = append(s.gone, erased{bytes.Clone(e.Key), bytes.Clone(e.Value), e.Seq})
		return nil
	default:
		return nil
	}
	old, closer, err := s.db.Get(e.Key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
	case err != nil:
		return err
	default:
		newer := binary.BigEndian.Uint64(old) >= e.Seq
		if err := closer.Close(); err != nil || newer {
			return err
		}
	}
	v := binary.BigEndian.AppendUint64(nil, e.Seq)
	v = append(append(v, state), e.Value...)
	if err := s.admit(len(e.Key) + len(v)); err != nil {
		return err
	}
	s.added++
	return s.db.Set(e.Key, v, pebble.NoSync)
}

// pourBatch is how many bytes of entries one transaction of a salvage holds.
const pourBatch = 4 << 20

// pour writes the newest versions into a store.
func (s *sorter) pour(into *Store, tell func(float64) error) (n int, err error) {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; {
		err := into.UpdateLazy(func(tx *Tx) error {
			for size := 0; ok && size < pourBatch; ok = it.Next() {
				v, err := it.ValueAndErr()
				if err != nil {
					return err
				}
				seq := binary.BigEndian.Uint64(v)
				if v[8] == entryDeleted || s.erased(it.Key(), seq) || bytes.Equal(it.Key(), keyLineage) ||
					bytes.Equal(it.Key(), keyCommit) {
					continue
				}
				tx.Set(it.Key(), v[9:])
				size += len(v) + len(it.Key())
				n++
			}
			return nil
		})
		if err == nil {
			err = tell(sortShare + (1-sortShare)*min(1, float64(n)/float64(max(s.added, 1))))
		}
		if err != nil {
			return n, err
		}
	}
	return n, it.Error()
}

func (s *sorter) erased(key []byte, seq uint64) bool {
	for _, g := range s.gone {
		if g.seq > seq && bytes.Compare(g.from, key) <= 0 && bytes.Compare(key, g.to) < 0 {
			return true
		}
	}
	return false
}
