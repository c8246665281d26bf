package store

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/xxh3"
)

// tableFS is the file system under a store's database. It takes the checksum of every table while
// it is written, so that a checkpoint need not read one; and it lets a snapshot be synced as a
// whole.
//
// Pebble syncs each copy and marker of a snapshot by itself, and each sync is a commit of the file
// system's journal that all writers wait for, and after which the snapshot waits for a processor
// that compactions are using. Below the directory of the snapshot under way, syncs do nothing; then
// Snapshot syncs all at once, before it returns.
type tableFS struct {
	vfs.FS
	db   string // directory of the database
	sums *TableSums

	one  sync.Mutex   // held from the beginning of a snapshot to its end, before mu
	keep atomic.Int32 // snapshots that have still to ask for checksums: those of tables that are removed are kept

	mu   sync.Mutex    // guards what follows; never held over I/O
	snap string        // directory of the snapshot under way, or none
	made []*copiedFile // the snapshot's copies
}

// newTableFS wraps the file system for the store in dir.
func newTableFS(fs FS, dir, db string) *tableFS {
	return &tableFS{FS: fs, db: db, sums: OpenTableSums(fs, dir)}
}

// tableFSOf finds the wrapper below a database's other ones, or returns nil.
func tableFSOf(fs FS) *tableFS {
	for fs != nil {
		if t, ok := fs.(*tableFS); ok {
			return t
		}
		fs = fs.Unwrap()
	}
	return nil
}

// Unwrap gives Pebble the file system below.
func (t *tableFS) Unwrap() vfs.FS { return t.FS }

// Create follows new tables, and the copies of a snapshot.
func (t *tableFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := t.FS.Create(name, category)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.snap != "" && strings.HasPrefix(name, t.snap+"/"):
		c := &copiedFile{File: f, name: t.FS.PathBase(name), sum: xxh3.New()}
		t.made = append(t.made, c)
		return c, nil
	case IsTable(name) && t.FS.PathDir(name) == t.db:
		return &tableFile{File: f, t: t, path: name, sum: xxh3.New()}, nil
	}
	return f, nil
}

// OpenDir keeps the directories of a snapshot from being synced too early: all that Pebble opens
// while it makes one, but for its own.
func (t *tableFS) OpenDir(name string) (vfs.File, error) {
	d, err := t.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.snap != "" && strings.TrimRight(name, "/") != t.db {
		return lateDir{d}, nil
	}
	return d, nil
}

// begin starts a snapshot in dir.
func (t *tableFS) begin(dir string) {
	t.one.Lock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.snap, t.made = dir, nil
}

// end syncs what the snapshot copied, all at once, and its directory, unless it has failed. It
// returns the checksums of the copies.
func (t *tableFS) end(failed error) (map[string]string, error) {
	defer t.one.Unlock()
	t.mu.Lock()
	dir, made := t.snap, t.made
	t.snap, t.made = "", nil
	t.mu.Unlock()
	sums, errs := map[string]string{}, make([]error, len(made))
	var wg sync.WaitGroup
	for i, c := range made {
		sums[c.name] = sumText(c.sum)
		wg.Go(func() {
			if failed == nil {
				errs[i] = c.File.Sync()
			}
			errs[i] = errors.Join(errs[i], c.File.Close())
		})
	}
	wg.Wait()
	if err := errors.Join(failed, errors.Join(errs...)); err != nil {
		return nil, err
	}
	d, err := t.FS.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return nil, fmt.Errorf("sync snapshot: %w", err)
	}
	return sums, nil
}

func sumText(h *xxh3.Hasher) string {
	sum := h.Sum128().Bytes()
	return fmt.Sprintf("%s%x", sumPrefix, sum[:])
}

// tableFile is a table that is being written, from its beginning to its end.
type tableFile struct {
	vfs.File
	t      *tableFS
	path   string
	sum    *xxh3.Hasher
	broken bool
}

// Write takes the checksum first: what is below may change p.
func (f *tableFile) Write(p []byte) (int, error) {
	f.sum.Write(p)
	n, err := f.File.Write(p)
	f.broken = f.broken || err != nil
	return n, err
}

// Remove forgets the checksum of a table with the table: a store that compacts for months would else
// remember every table that it ever wrote.
func (t *tableFS) Remove(name string) error {
	if !IsTable(name) || t.FS.PathDir(name) != t.db {
		return t.FS.Remove(name)
	}
	info, known := t.FS.Stat(name) // what it is can't be asked afterwards
	err := t.FS.Remove(name)
	if err == nil && known == nil && t.keep.Load() == 0 { // else the next Save forgets it
		t.sums.forget(t.FS.PathBase(name), info)
	}
	return err
}

// Close remembers the checksum.
func (f *tableFile) Close() error {
	err := f.File.Close()
	if err == nil && !f.broken {
		f.t.sums.Put(f.t.FS, f.path, sumText(f.sum))
	}
	return err
}

// copiedFile is a file of a snapshot that is a copy. It stays open until the snapshot is synced.
type copiedFile struct {
	vfs.File
	name string
	sum  *xxh3.Hasher
}

func (c *copiedFile) Write(p []byte) (int, error) {
	c.sum.Write(p)
	return c.File.Write(p)
}

func (c *copiedFile) Sync() error     { return nil }
func (c *copiedFile) SyncData() error { return nil }
func (c *copiedFile) Close() error    { return nil }

// lateDir is a directory that is synced later.
type lateDir struct{ vfs.File }

func (lateDir) Sync() error { return nil }
