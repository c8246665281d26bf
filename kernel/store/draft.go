package store

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/base/disk"
	"holdfast/base/fault"
)

// Draft is the disk under a store that can be thrown away until it is whole, such as what a salvage
// makes while the other jobs of the process run on.
//
// At the first write that fails it gives up: it keeps the error, writes nothing more, and says from
// then on that every write went well. Pebble has no way back from a failed write: it panics, ends the
// process, or tries again for ever, and a Guard would leave its memory behind at each try. So nothing
// that stands on a Draft may be relied on before its Err is nil behind the last write; its Options
// refuse every commit once it is not.
type Draft struct {
	vfs.FS
	dir     string
	reserve uint64
	log     *slog.Logger

	mu  sync.Mutex // guards err; never held over I/O
	err error
}

// NewDraft returns a Draft on the file system of dir, of which it leaves so many bytes to others.
func NewDraft(dir string, reserve uint64, log *slog.Logger) *Draft {
	return &Draft{FS: Disk, dir: dir, reserve: reserve, log: log}
}

// Options open a store on the Draft. Its failed writes end neither the process nor the store, they are
// the Draft's error.
func (d *Draft) Options() Options {
	return Options{FS: d, Log: d.log, Survive: true, Admit: d.Admit, Fatal: d.fail, Damaged: d.fail}
}

// Err is why the Draft was given up: a Full fault for want of room. nil is that it was not.
func (d *Draft) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// Admit gives the Draft up if n more bytes would leave too few for others.
func (d *Draft) Admit(n int) error {
	if room, err := disk.RoomAt(d.dir); err == nil && room.Free < d.reserve+uint64(n) {
		d.fail(fault.New(fault.Full, "%s has %s left, and %s are kept for the jobs", d.dir, disk.Size(room.Free),
			disk.Size(d.reserve)))
	}
	return d.Err()
}

// fail keeps the first error.
func (d *Draft) fail(err error) {
	if err == nil {
		return
	}
	if disk.NoRoom(err) {
		err = fault.As(fault.Full, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.err = err
	}
}

func (d *Draft) given() bool { return d.Err() != nil }

// file is the one that was made, or one that is nowhere.
func (d *Draft) file(f vfs.File, err error) (vfs.File, error) {
	if errors.Is(err, fs.ErrNotExist) && !d.given() {
		return nil, err // an answer, not a failure
	}
	if err != nil {
		d.fail(err)
		if f, err = vfs.NewMem().Create("nowhere", vfs.WriteCategoryUnspecified); err != nil {
			return nil, err
		}
	}
	return draftFile{f, d}, nil
}

// Create makes a file, also once the Draft is given up: Pebble ends with the file that it can't find.
func (d *Draft) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.file(d.FS.Create(name, c))
}

// ReuseForWrite is like Create.
func (d *Draft) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.file(d.FS.ReuseForWrite(from, to, c))
}

// OpenReadWrite is like Create.
func (d *Draft) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return d.file(d.FS.OpenReadWrite(name, c, o...))
}

// OpenDir opens a directory to sync it.
func (d *Draft) OpenDir(name string) (vfs.File, error) { return d.file(d.FS.OpenDir(name)) }

// MkdirAll makes a directory.
func (d *Draft) MkdirAll(name string, perm os.FileMode) error {
	d.fail(d.FS.MkdirAll(name, perm))
	return nil
}

// Rename gives a file its other name; what was written nowhere has none.
func (d *Draft) Rename(from, to string) error {
	if !d.given() {
		d.fail(d.FS.Rename(from, to))
	}
	return nil
}

// Link is like Rename.
func (d *Draft) Link(from, to string) error {
	if !d.given() {
		d.fail(d.FS.Link(from, to))
	}
	return nil
}

// Unwrap gives Pebble the file system below.
func (d *Draft) Unwrap() vfs.FS { return d.FS }

type draftFile struct {
	vfs.File
	d *Draft
}

// do does a step of writing unless the Draft is given up.
func (f draftFile) do(step func() error) {
	if !f.d.given() {
		f.d.fail(step())
	}
}

func (f draftFile) Write(p []byte) (int, error) {
	f.do(func() error { _, err := f.File.Write(p); return err })
	return len(p), nil
}

func (f draftFile) WriteAt(p []byte, at int64) (int, error) {
	f.do(func() error { _, err := f.File.WriteAt(p, at); return err })
	return len(p), nil
}

func (f draftFile) Sync() error {
	f.do(f.File.Sync)
	return nil
}

func (f draftFile) SyncData() error {
	f.do(f.File.SyncData)
	return nil
}

func (f draftFile) SyncTo(length int64) (full bool, err error) {
	f.do(func() error { full, err = f.File.SyncTo(length); return err })
	return full, nil
}

func (f draftFile) Close() error {
	f.d.fail(f.File.Close())
	return nil
}
