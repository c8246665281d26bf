package outfile

import (
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"holdfast/base/disk"
)

// Disk makes all changes to files that are kept in step with a store, so that tests can lose what was not synced. Reading does
// not go through it.
type Disk interface {
	// Create makes a file that is not there, to be written.
	Create(path string) (Handle, error)
	// Open opens a file to be read and written, and no link.
	Open(path string) (Handle, error)
	Rename(from, to string) error
	Remove(path string) error
	// MkdirAll makes a directory, durably.
	MkdirAll(dir string) error
	// SyncDir makes durable what was created, renamed or removed in a directory.
	SyncDir(dir string) error
}

// Handle is an open file.
type Handle interface {
	io.ReadWriteSeeker
	io.Closer
	Name() string
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
	// Sync makes durable what was written, and how long the file is. It says nothing of its name.
	Sync() error
}

// OS is the Disk of the operating system.
var OS Disk = system{}

type system struct{}

func (system) Create(path string) (Handle, error) {
	return handle(os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644))
}

func (system) Open(path string) (Handle, error) {
	return handle(os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0))
}

func handle(f *os.File, err error) (Handle, error) {
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

func (system) Rename(from, to string) error { return os.Rename(from, to) }
func (system) Remove(path string) error     { return os.Remove(path) }
func (system) MkdirAll(dir string) error    { return disk.MkdirAll(dir, 0o755) }
func (system) SyncDir(dir string) error     { return disk.SyncDir(dir) }

// file is synced without what no reader needs: when the file was changed.
type file struct{ *os.File }

func (f file) Sync() error { return unix.Fdatasync(int(f.Fd())) }
