package store

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/base/fault"
	"holdfast/kernel/store/forensic"
)

// Disk is the real file system, which a store stands on when its options name none.
var Disk FS = vfs.Default

// FS is the file system the store stands on.
func (s *Store) FS() FS {
	if s.opts.FS != nil {
		return s.opts.FS
	}
	return Disk
}

// Snapshot is a copy of a store's database at one moment.
type Snapshot struct {
	// Commit is the number of the last commit that was durable when the snapshot was asked for. It
	// and all before it are in the snapshot; some later ones may be.
	Commit uint64
	Files  []SnapshotFile
}

// SnapshotFile is one file of a snapshot. Tables are immutable and share their bytes with the live
// store where the file system can link; all others are copies.
type SnapshotFile struct {
	Name  string
	Size  int64
	Table bool
	Sum   string // as TableSums has it; empty if it was not taken
}

// Snapshot puts the files of the database as they are now into dir, which must not exist: tables as
// hard links, logs, MANIFEST, OPTIONS and markers as copies. Copies and dir are synced when it
// returns, and tables were when they were written; the entries above dir are the caller's to sync.
// Transactions go on meanwhile. A failure leaves no dir behind.
//
// The copy of the newest log ends where the file ended at that moment, maybe within a batch: what
// was durable before the call is in front of that, and the rest is a torn tail to whoever opens it.
func (s *Store) Snapshot(dir string) (Snapshot, error) {
	if err := s.enter(); err != nil {
		return Snapshot{}, err
	}
	defer s.users.Done()
	snap := Snapshot{Commit: s.Durable()}
	fs, sums := s.FS(), map[string]string{}
	t := tableFSOf(s.guard)
	if t != nil {
		t.keep.Add(1)
		defer t.keep.Add(-1)
		t.begin(dir)
	}
	err := s.do(func() error { return s.checkpoint(dir) })
	if t != nil {
		sums, err = t.end(err)
	}
	if err != nil {
		err = fmt.Errorf("snapshot store %s: %w", s.dir, err)
		return Snapshot{}, errors.Join(err, fs.RemoveAll(dir))
	}
	names, err := fs.List(dir)
	if err != nil {
		return Snapshot{}, fmt.Errorf("list snapshot: %w", err)
	}
	known := s.TableSums()
	for _, name := range names {
		info, err := fs.Stat(fs.PathJoin(dir, name))
		if err != nil {
			return Snapshot{}, fmt.Errorf("list snapshot: %w", err)
		}
		f := SnapshotFile{Name: name, Size: info.Size(), Table: IsTable(name), Sum: sums[name]}
		if f.Table {
			f.Sum = known.get(name, info)
		}
		snap.Files = append(snap.Files, f)
	}
	return snap, nil
}

// checkpoint has Pebble make its checkpoint. Pebble panics when a marker's directory can't be
// synced; here that is an error like any other, because what it was about is the new directory
// alone. It holds no lock then, and its deferred calls have let go of what it had.
func (s *Store) checkpoint(dir string) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		cause, ok := p.(error)
		if _, bug := p.(runtime.Error); bug || !ok {
			panic(p)
		}
		err = cause
	}()
	return s.db.Checkpoint(dir)
}

// IsTable says whether a file of a database is an immutable table, by its name.
func IsTable(name string) bool { return strings.HasSuffix(name, ".sst") }

// CheckDatabase walks a database that nobody has open as Open does before it opens one, and returns
// a Corrupt fault when Open would find it damaged. It reads MANIFEST and logs, of the tables only
// their sizes, and writes nothing.
func CheckDatabase(fs FS, dir string) error {
	r, err := forensic.Inspect(fs, dir)
	if err != nil {
		return fmt.Errorf("inspect %s: %w", dir, err)
	}
	if !r.Exists {
		return fault.New(fault.Corrupt, "inspect %s: it holds no database", dir)
	}
	return fault.As(fault.Corrupt, r.Err())
}

// CheckTable reads every block of the table at path and compares it with the checksum that was
// written with it.
func CheckTable(fs FS, path string) error {
	for _, f := range forensic.VerifyTable(fs, path) {
		return fault.New(fault.Corrupt, "read table: %s", f)
	}
	return nil
}
