package storetest

import (
	"fmt"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// BadSectors is a file system of which some bytes can't be read: a read of a file's bytes from from to to
// fails with EIO if Bad says so.
type BadSectors struct {
	vfs.FS
	Bad func(path string, from, to int64) bool
}

// Unwrap gives Pebble the file system below.
func (b BadSectors) Unwrap() vfs.FS { return b.FS }

// Open returns a file with bad sectors.
func (b BadSectors) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := b.FS.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	return &badFile{File: f, path: name, bad: b.Bad}, nil
}

type badFile struct {
	vfs.File
	path string
	bad  func(path string, from, to int64) bool
	at   int64
}

func (f *badFile) Read(p []byte) (int, error) {
	if err := f.check(f.at, len(p)); err != nil {
		return 0, err
	}
	n, err := f.File.Read(p)
	f.at += int64(n)
	return n, err
}

func (f *badFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.check(off, len(p)); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *badFile) check(from int64, n int) error {
	if f.bad(f.path, from, from+int64(n)) {
		return fmt.Errorf("read %s at %d: %w", f.path, from, syscall.EIO)
	}
	return nil
}
