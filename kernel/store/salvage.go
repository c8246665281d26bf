package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/base/disk"
	"holdfast/kernel/store/forensic"
)

// Salvaged says what a salvage found.
type Salvaged struct {
	Findings []forensic.Finding
	Entries  int // that were kept
}

// Salvage reads what can still be read of the damaged store in dir, and writes it into a new store in
// into, which must not exist: of each key the newest version that any file holds. The damaged store is
// not changed. A key that was deleted may come back when the file that said so can't be read; of files
// that were not in use any more only the spaces for which stale asks are read, because there that is
// the rule.
//
// What is written is a heap of facts and of state that may be old: the caller rebuilds what depends on
// each other before anyone works with it.
func Salvage(dir, into string, o Options, stale func(Space) bool) (out Salvaged, err error) {
	o = o.withDefaults()
	lock, err := disk.Acquire(filepath.Join(dir, "LOCK"))
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	s, err := newSorter(into + ".sort")
	if err != nil {
		return out, fmt.Errorf("salvage store %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	dirs := []string{filepath.Join(dir, "db")}
	archive := filepath.Join(dir, "archive")
	if _, err := Disk.Stat(archive); err == nil {
		dirs = append(dirs, archive)
	}
	found, err := forensic.SalvageDir(Disk, dirs, func(e forensic.Entry) error {
		if !e.Live && (len(e.Key) == 0 || !stale(Space(e.Key[0]))) {
			return nil
		}
		return s.add(e)
	})
	if err != nil {
		return out, fmt.Errorf("salvage store %s: %w", dir, err)
	}
	out.Findings = found.Findings
	o.FS = nil
	fresh, err := Open(into, o)
	if err != nil {
		return out, err
	}
	out.Entries, err = s.pour(fresh)
	if err = errors.Join(err, fresh.Close()); err != nil {
		return out, fmt.Errorf("salvage store %s: %w", dir, err)
	}
	return out, nil
}

// sorter finds the newest version of each key among entries in any order, on disk: there may be more of
// them than memory holds. Values are sequence number(8), set or deleted(1), value.
type sorter struct {
	dir  string
	db   *pebble.DB
	gone []erased
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

func newSorter(dir string) (*sorter, error) {
	if err := Disk.RemoveAll(dir); err != nil {
		return nil, err
	}
	db, err := pebble.Open(dir, &pebble.Options{DisableWAL: true, MemTableSize: 16 << 20,
		FormatMajorVersion: pebbleFormat, Logger: quietLog{}})
	if err != nil {
		return nil, err
	}
	return &sorter{dir: dir, db: db}, nil
}

type quietLog struct{}

func (quietLog) Infof(string, ...any)      {}
func (quietLog) Errorf(string, ...any)     {}
func (quietLog) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

func (s *sorter) close() error { return errors.Join(s.db.Close(), Disk.RemoveAll(s.dir)) }

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
	return s.db.Set(e.Key, v, pebble.NoSync)
}

// pourBatch is how many bytes of entries one transaction of a salvage holds.
const pourBatch = 4 << 20

// pour writes the newest versions into a store.
func (s *sorter) pour(into *Store) (n int, err error) {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; {
		err := into.UpdateLazy(func(tx *Tx) error {
			for size := 0; ok && size < pourBatch; ok = it.Next() {
				v := it.Value()
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
