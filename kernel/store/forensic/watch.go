package forensic

import (
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Watch is a file system for pebble.Open that notes how far the newest log and the MANIFEST in use
// have been synced: what a Mark is made of, without asking Pebble. It changes nothing.
type Watch struct {
	vfs.FS
	dir string

	mu       sync.Mutex // guards what follows; never held over I/O
	manifest *extent
	wal      *extent
	written  map[uint64]*extent // MANIFESTs, by number, until another is in use
	pointed  uint64             // a marker points to it, but the directory is not yet synced
}

// extent is how much of a file was written and synced.
type extent struct {
	num             uint64
	written, synced int64
}

var _ vfs.FS = (*Watch)(nil)

// WatchFS makes the wrapper over fsys for the database in dir.
func WatchFS(fsys vfs.FS, dir string) *Watch {
	return &Watch{FS: fsys, dir: strings.TrimRight(dir, "/"), written: map[uint64]*extent{}}
}

// Durable fills in the file numbers and extents of a mark: a lower bound of what is synced.
func (w *Watch) Durable(m Mark) Mark {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.manifest != nil {
		m.ManifestNum, m.ManifestSize = w.manifest.num, w.manifest.synced
	}
	if w.wal != nil {
		m.WALNum, m.WALOffset = w.wal.num, w.wal.synced
	}
	return m
}

// follow wraps a new file if it is a log or a MANIFEST.
func (w *Watch) follow(name string, f vfs.File) vfs.File {
	if w.FS.PathDir(name) != w.dir {
		return f
	}
	base := w.FS.PathBase(name)
	c, num := classify(base)
	w.mu.Lock()
	defer w.mu.Unlock()
	e := &extent{num: num}
	switch c {
	case classWAL:
		w.wal = e
	case classManifest:
		w.written[num] = e
	case classMarker:
		markers, _ := readMarkers([]string{base})
		if m, ok := markers["manifest"]; ok {
			if c, num := classify(m.value); c == classManifest {
				w.pointed = num
			}
		}
		return f
	default:
		return f
	}
	return &watchedFile{File: f, w: w, e: e}
}

// dirSynced makes the MANIFEST that the newest marker points to the one in use.
func (w *Watch) dirSynced(pointed uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e := w.written[pointed]; e != nil && w.manifest != e {
		w.manifest = e
		for num := range w.written {
			if num < pointed {
				delete(w.written, num)
			}
		}
	}
}

// Create follows the new file.
func (w *Watch) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := w.FS.Create(name, category)
	if err != nil {
		return nil, err
	}
	return w.follow(name, f), nil
}

// ReuseForWrite follows the reused log from its beginning.
func (w *Watch) ReuseForWrite(
	oldname, newname string, category vfs.DiskWriteCategory,
) (vfs.File, error) {
	f, err := w.FS.ReuseForWrite(oldname, newname, category)
	if err != nil {
		return nil, err
	}
	return w.follow(newname, f), nil
}

// OpenDir follows syncs of the database's directory, which make a marker's move durable.
func (w *Watch) OpenDir(name string) (vfs.File, error) {
	f, err := w.FS.OpenDir(name)
	if err != nil || strings.TrimRight(name, "/") != w.dir {
		return f, err
	}
	return &watchedDir{File: f, w: w}, nil
}

// Unwrap gives Pebble the file system below.
func (w *Watch) Unwrap() vfs.FS { return w.FS }

type watchedDir struct {
	vfs.File
	w *Watch
}

func (d *watchedDir) Sync() error {
	d.w.mu.Lock()
	pointed := d.w.pointed
	d.w.mu.Unlock()
	if err := d.File.Sync(); err != nil {
		return err
	}
	d.w.dirSynced(pointed)
	return nil
}

// watchedFile counts what goes through it. A sync covers what was written before it began.
type watchedFile struct {
	vfs.File
	w *Watch
	e *extent
}

func (f *watchedFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.w.mu.Lock()
	f.e.written += int64(n)
	f.w.mu.Unlock()
	return n, err
}

// covering runs a sync and notes what it made durable.
func (f *watchedFile) covering(sync func() (full bool, err error)) (bool, error) {
	f.w.mu.Lock()
	written := f.e.written
	f.w.mu.Unlock()
	full, err := sync()
	if full && err == nil {
		f.w.mu.Lock()
		f.e.synced = max(f.e.synced, written)
		f.w.mu.Unlock()
	}
	return full, err
}

func (f *watchedFile) Sync() error {
	_, err := f.covering(func() (bool, error) { return true, f.File.Sync() })
	return err
}

func (f *watchedFile) SyncData() error {
	_, err := f.covering(func() (bool, error) { return true, f.File.SyncData() })
	return err
}

func (f *watchedFile) SyncTo(length int64) (bool, error) {
	return f.covering(func() (bool, error) { return f.File.SyncTo(length) })
}
