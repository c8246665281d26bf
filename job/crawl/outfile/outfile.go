// Package outfile keeps files that stand beside a store in step with it.
//
// Such a file is only ever appended to. It is synced before the transaction that speaks of what is in it, and that
// transaction says how many bytes count. A crash leaves bytes behind those: the next start cuts them off and keeps them in
// a quarantine. So no file needs a repair, and what the store speaks of is there.
//
// Called by the packages of the job crawl.
package outfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"holdfast/base/disk"
	"holdfast/base/fault"
)

// File is a file that grows. It is for one goroutine at a time.
type File struct {
	f      Handle
	size   int64
	synced int64 // so many bytes are durable
	failed error // of a Sync: what is behind synced may be durable, or never will be
}

// Create makes a file, whose name is durable when it returns. One that is there is a Conflict.
func Create(d Disk, path string) (*File, error) {
	f, err := d.Create(path)
	if errors.Is(err, fs.ErrExist) {
		return nil, fault.New(fault.Conflict, "make %s: it is there already", path)
	}
	if err != nil {
		return nil, noRoom(fmt.Errorf("make a file: %w", err))
	}
	if err := d.SyncDir(filepath.Dir(path)); err != nil {
		return nil, errors.Join(err, f.Close(), d.Remove(path))
	}
	return &File{f: f}, nil
}

// Open opens a file of which size bytes count. What follows them is moved into a file of the directory quarantine, whose name
// is returned. If the file is missing or shorter it is Corrupt, because something that the store refers to is gone.
func Open(d Disk, path string, size int64, quarantine string) (_ *File, moved string, err error) {
	f, err := d.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", lost(path, 0, size)
	}
	if err != nil {
		return nil, "", fmt.Errorf("open a file: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, "", err
	case !info.Mode().IsRegular():
		return nil, "", fault.New(fault.Corrupt, "%s is no file, but a %v", path, info.Mode().Type())
	case info.Size() < size:
		return nil, "", lost(path, info.Size(), size)
	case info.Size() > size:
		if moved, err = keep(d, f, size, quarantine); err != nil {
			return nil, "", noRoom(fmt.Errorf("cut %s back to the %d bytes that count: %w", path, size, err))
		}
	}
	if _, err := f.Seek(size, io.SeekStart); err != nil {
		return nil, "", err
	}
	return &File{f: f, size: size, synced: size}, moved, nil
}

// End gives a file, of which size bytes count, the name that it keeps from now on, durably. It is also for the start after a
// crash: a file that has its name already stays as it is. So the name must be one that nothing had before.
func End(d Disk, from, to string, size int64, quarantine string) (moved string, err error) {
	if _, err := os.Lstat(to); err == nil {
		return "", nil
	}
	f, moved, err := Open(d, from, size, quarantine)
	if err != nil {
		return "", err
	}
	if err := errors.Join(f.f.Sync(), f.Close(), d.Rename(from, to)); err != nil {
		return moved, fmt.Errorf("end a file: %w", err)
	}
	return moved, d.SyncDir(filepath.Dir(to))
}

// Lacking is the error, of kind Corrupt, for a file that lacks something of what counts. Only a person can help.
type Lacking struct {
	Path      string
	Has, Want int64 // bytes
}

func (l *Lacking) Error() string {
	return fmt.Sprintf("%s has %d bytes, and %d were written and synced", l.Path, l.Has, l.Want)
}

func lost(path string, has, size int64) error {
	return fault.WithHint(fault.New(fault.Corrupt, "%w", &Lacking{path, has, size}),
		"the disk or a person took them: put the file back; else `holdfast crawl lost JOB` tells all that is missing, and --fetch "+
			"has it fetched again")
}

// keep copies what follows size into a file of the quarantine, and cuts it off.
func keep(d Disk, f Handle, size int64, quarantine string) (moved string, err error) {
	if err := d.MkdirAll(quarantine); err != nil {
		return "", err
	}
	moved = filepath.Join(quarantine, fmt.Sprintf("%s.from-%d.%s", filepath.Base(f.Name()), size,
		time.Now().UTC().Format("20060102150405.000000")))
	out, err := d.Create(moved)
	if err != nil {
		return "", err
	}
	if _, err = f.Seek(size, io.SeekStart); err == nil {
		_, err = io.Copy(out, f)
	}
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = d.SyncDir(quarantine)
	}
	if err != nil {
		return "", errors.Join(err, d.Remove(moved))
	}
	if err := f.Truncate(size); err != nil {
		return "", err
	}
	return moved, f.Sync()
}

// Write appends. After an error a part may be there, which CutBack removes. Want of room is a Full fault, here and in Sync.
func (f *File) Write(b []byte) (int, error) {
	n, err := f.f.Write(b)
	f.size += int64(n)
	return n, noRoom(err)
}

// Append writes all of b, or nothing: what an error leaves is removed. Want of room is a Full fault.
func (f *File) Append(b []byte) error {
	was := f.size
	_, err := f.Write(b)
	if err == nil {
		return nil
	}
	if back := f.CutBack(was); back != nil { // the caller must know that the file has more than it should
		return fault.New(fault.Permanent, "%w, and what was written could not be cut off: %w", err, back)
	}
	return err
}

// AppendSync is Append and Sync. What is left by an error of the sync is removed too, so that it is not there twice when it is
// written again.
func (f *File) AppendSync(b []byte) error {
	was := f.size
	if err := f.Append(b); err != nil {
		return err
	}
	err := f.Sync()
	if err == nil {
		return nil
	}
	if back := f.CutBack(was); back != nil {
		return fault.New(fault.Permanent, "%w, and what was written could not be cut off: %w", err, back)
	}
	return err
}

// Size is where the next byte will stand.
func (f *File) Size() int64 { return f.size }

// CutBack removes what was written after size.
func (f *File) CutBack(size int64) error {
	if err := f.f.Truncate(size); err != nil {
		return err
	}
	f.size = size
	if size <= f.synced {
		f.synced, f.failed = size, nil
	}
	_, err := f.f.Seek(size, io.SeekStart)
	return err
}

// Sync makes durable what was written. After an error nobody knows how much of it is durable, and the kernel would not report
// the error again. So each further Sync fails, until what is in doubt is removed by CutBack and written again. Only after an
// error for want of room, a Full fault, may it simply be called again: file systems look for room when bytes are written, so
// such an error comes only from those that keep what they have.
func (f *File) Sync() error {
	if f.failed != nil {
		return f.failed
	}
	switch err := f.f.Sync(); {
	case disk.NoRoom(err):
		return noRoom(err)
	case err != nil:
		f.failed = err
		return err
	}
	f.synced = f.size
	return nil
}

// noRoom makes a Full fault of an error that means so.
func noRoom(err error) error {
	if disk.NoRoom(err) {
		return fault.As(fault.Full, err)
	}
	return err
}

// Close closes the file. It syncs nothing.
func (f *File) Close() error { return f.f.Close() }
