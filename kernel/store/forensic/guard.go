package forensic

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Guard keeps one store's failing disk from ending the process, in which other stores run on.
//
// Pebble v2.1.7 has no way back from a failed write of its log or MANIFEST, and most of its ways
// out can't be caught from outside:
//
//   - a failed log sync ends in Logger.Fatalf in the committing goroutine; if Fatalf returns, the
//     commit returns nil: a lost write is acknowledged. (After ApplyNoSyncWait, SyncWait returns
//     the error instead.)
//   - the next commit panics while it holds the commit lock: whoever recovers it can neither commit
//     nor close again.
//   - a log that can't be closed or created when the memtable is full panics with the database's
//     mutex unlocked and a deferred unlock to come: "unlock of unlocked mutex" ends the process,
//     and no recover sees it.
//   - a failed MANIFEST write ends in Fatalf, a failed directory sync in a panic, both in a
//     background goroutine.
//   - a checksum that does not match calls EventListener.DataCorruption, whose default is Fatalf;
//     with a handler of its own the store goes on, and the reader gets the error.
//   - a table that can't be written (a full disk) is no end: BackgroundError, and again at once, in
//     a loop without a pause.
//   - an Open that fails behind the replay of the log closes the cache of files, and a goroutine that
//     collects figures of the new tables, and knows nothing of it, divides by zero.
//
// So the Guard stands where all of these begin, in the file system. At the first failed operation
// on a log, the MANIFEST, a marker or the directory it tells the store and does not return to
// Pebble: the goroutine stays where it is, and so does every later one that wants to write. Nothing
// more is written, nothing is acknowledged, reads still work. The database's memory and goroutines
// stay until the process ends; its directory can be inspected, salvaged and opened again at once,
// through a new Guard.
//
// Every call into Pebble that may write goes through Do, which comes back when the Guard fails, and
// pebble.Open through DoOpen, for which every failed write is the end.
type Guard struct {
	vfs.FS
	dir     string
	fail    func(error)
	opening atomic.Bool

	mu     sync.Mutex // guards what follows; never held over I/O
	err    error
	locks  []io.Closer
	failed chan struct{}
}

// ErrFrozen is what Do returns, with the cause, once a write has failed.
var ErrFrozen = errors.New("store is frozen after a failed write")

// fullPause is how long a failed table write on a full disk waits before Pebble may try again.
const fullPause = 500 * time.Millisecond

var (
	_ vfs.FS        = (*Guard)(nil)
	_ pebble.Logger = guardLog{}
)

// GuardFS makes a Guard over fsys for the database in dir. failed, if not nil, is called once, from
// any goroutine, at the first failed write.
func GuardFS(fsys vfs.FS, dir string, failed func(error)) *Guard {
	return &Guard{FS: fsys, dir: strings.TrimRight(dir, "/"), fail: failed, failed: make(chan struct{})}
}

// Failed is closed at the first failed write.
func (g *Guard) Failed() <-chan struct{} { return g.failed }

// Err is nil, or ErrFrozen with the cause.
func (g *Guard) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// Do runs a call into Pebble and returns its error, or ErrFrozen as soon as the Guard has failed.
// What f acknowledged is not known then: f may never return.
func (g *Guard) Do(f func() error) error {
	if err := g.Err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- f() }() // owned by the Guard; it is left behind when the Guard fails
	select {
	case err := <-done:
		return err
	case <-g.failed:
		return g.Err()
	}
}

// DoOpen is Do for pebble.Open.
func (g *Guard) DoOpen(f func() error) error {
	g.opening.Store(true)
	defer g.opening.Store(false)
	return g.Do(f)
}

// Logger gives Pebble a logger whose Fatalf fails the Guard instead of the process.
func (g *Guard) Logger(inner pebble.Logger) pebble.Logger { return guardLog{inner, g} }

type guardLog struct {
	pebble.Logger
	g *Guard
}

func (l guardLog) Fatalf(format string, args ...any) {
	l.g.freeze(fmt.Errorf(format, args...))
}

// freeze tells of the first failure and keeps the calling goroutine for ever. It must not return,
// and it must not unwind: Pebble's deferred unlocks do not fit the state it was called in.
func (g *Guard) freeze(err error) {
	g.mu.Lock()
	first := g.err == nil
	var locks []io.Closer
	if first {
		g.err = fmt.Errorf("%w: %w", ErrFrozen, err)
		locks, g.locks = g.locks, nil
	}
	g.mu.Unlock()
	if first {
		for _, l := range locks {
			_ = l.Close() // so that the directory can be opened again
		}
		close(g.failed)
		if g.fail != nil {
			g.fail(err)
		}
	}
	select {}
}

// enter lets a write pass while nothing has failed.
func (g *Guard) enter() {
	if err := g.Err(); err != nil {
		g.freeze(err)
	}
}

// vital reports whether a failed write of the file has no way back in Pebble.
func (g *Guard) vital(path string) bool {
	if g.FS.PathDir(path) != g.dir {
		return false
	}
	c, _ := classify(g.FS.PathBase(path))
	return c == classWAL || c == classManifest || c == classMarker
}

// checked freezes at the error of a vital operation; any other is Pebble's to handle.
func (g *Guard) checked(vital bool, what, path string, err error) error {
	switch {
	case err == nil:
		return nil
	case vital || g.opening.Load() && !errors.Is(err, fs.ErrNotExist):
		g.freeze(fmt.Errorf("%s %s: %w", what, path, err))
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		select { // Pebble tries again at once; the disk does not empty that fast
		case <-time.After(fullPause):
		case <-g.failed:
		}
	}
	return err
}

func (g *Guard) guarded(path string, f vfs.File, err error, what string) (vfs.File, error) {
	vital := g.vital(path)
	if err := g.checked(vital, what, path, err); err != nil {
		return nil, err
	}
	return &guardedFile{File: f, g: g, path: path, vital: vital}, nil
}

// Create passes a guarded file on. Before a marker it syncs the directory: Pebble does so only behind
// it, and a power cut in between could keep the marker and lose the MANIFEST that it names.
func (g *Guard) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	g.enter()
	if kind, _ := classify(g.FS.PathBase(name)); kind == classMarker && g.vital(name) {
		if err := g.checked(true, "sync", g.dir, g.syncDir()); err != nil {
			return nil, err
		}
	}
	f, err := g.FS.Create(name, c)
	return g.guarded(name, f, err, "create")
}

func (g *Guard) syncDir() error {
	d, err := g.FS.OpenDir(g.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ReuseForWrite passes a guarded file on.
func (g *Guard) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	g.enter()
	f, err := g.FS.ReuseForWrite(oldname, newname, c)
	return g.guarded(newname, f, err, "reuse")
}

// OpenReadWrite passes a guarded file on.
func (g *Guard) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	g.enter()
	f, err := g.FS.OpenReadWrite(name, c, o...)
	return g.guarded(name, f, err, "open")
}

// OpenDir passes a guarded directory on: a failed sync of it panics in Pebble.
func (g *Guard) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &guardedFile{File: f, g: g, path: name, vital: strings.TrimRight(name, "/") == g.dir}, nil
}

// Remove and the other changes of the directory stop with the first failure; their own errors are
// Pebble's to handle, but while it opens.
func (g *Guard) Remove(name string) error {
	g.enter()
	return g.checked(false, "remove", name, g.FS.Remove(name))
}

// RemoveAll is like Remove.
func (g *Guard) RemoveAll(name string) error {
	g.enter()
	return g.checked(false, "remove", name, g.FS.RemoveAll(name))
}

// Rename is like Remove.
func (g *Guard) Rename(oldname, newname string) error {
	g.enter()
	return g.checked(false, "rename", oldname, g.FS.Rename(oldname, newname))
}

// Link is like Remove.
func (g *Guard) Link(oldname, newname string) error {
	g.enter()
	return g.checked(false, "link", oldname, g.FS.Link(oldname, newname))
}

// Lock takes the lock and gives it up when the Guard fails.
func (g *Guard) Lock(name string) (io.Closer, error) {
	l, err := g.FS.Lock(name)
	if err != nil {
		return nil, err
	}
	once := &closeOnce{c: l}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.locks = append(g.locks, once)
	return once, nil
}

// Unwrap gives Pebble the file system below.
func (g *Guard) Unwrap() vfs.FS { return g.FS }

// closeOnce is a lock that Pebble and the Guard may both give up.
type closeOnce struct {
	once sync.Once
	c    io.Closer
	err  error
}

func (c *closeOnce) Close() error {
	c.once.Do(func() { c.err = c.c.Close() })
	return c.err
}

type guardedFile struct {
	vfs.File
	g     *Guard
	path  string
	vital bool
}

func (f *guardedFile) Write(p []byte) (int, error) {
	f.g.enter()
	n, err := f.File.Write(p)
	return n, f.g.checked(f.vital, "write", f.path, err)
}

func (f *guardedFile) Sync() error {
	f.g.enter()
	return f.g.checked(f.vital, "sync", f.path, f.File.Sync())
}

func (f *guardedFile) SyncData() error {
	f.g.enter()
	return f.g.checked(f.vital, "sync", f.path, f.File.SyncData())
}

func (f *guardedFile) SyncTo(length int64) (bool, error) {
	f.g.enter()
	full, err := f.File.SyncTo(length)
	return full, f.g.checked(f.vital, "sync", f.path, err)
}

func (f *guardedFile) Close() error {
	return f.g.checked(f.vital, "close", f.path, f.File.Close())
}
