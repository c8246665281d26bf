// Package disk holds the few file steps whose order protects from a crash: a lock that names its
// owner, a file that is replaced whole, a directory whose entries are durable, and the room left.
package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
)

// Lock is an exclusive lock on a file, held by an open file description: other than a POSIX lock it
// is not lost when this process opens and closes the same file a second time.
type Lock struct{ f *os.File }

// Acquire locks the file at path, creating it, and writes our pid into it. If another process holds
// the lock it returns at once with a Busy fault that names that process.
func Acquire(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	lk := unix.Flock_t{Type: unix.F_WRLCK, Whence: 0, Start: 0, Len: 0}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lk); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return nil, fault.WithHint(
				fault.New(fault.Busy, "%s is in use by process %s", filepath.Dir(path), owner(f)),
				"stop that process, or give this one a --data-dir of its own")
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := writePid(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("write pid to lock %s: %w", path, err)
	}
	return &Lock{f: f}, nil
}

// Lost is an error if the file of the lock is not at its place any more, or another one is: its directory was removed, moved or
// replaced, and what is written there now has no name, or belongs to somebody else.
func (l *Lock) Lost() error {
	var held, there unix.Stat_t
	if err := unix.Fstat(int(l.f.Fd()), &held); err != nil {
		return fmt.Errorf("look at lock %s: %w", l.f.Name(), err)
	}
	err := unix.Stat(l.f.Name(), &there)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), err == nil && (there.Dev != held.Dev || there.Ino != held.Ino):
		return fault.New(fault.Permanent, "%s was removed or replaced while it is in use", filepath.Dir(l.f.Name()))
	}
	return nil // a disk that does not answer says so when it is written to
}

func owner(f *os.File) string {
	var b [32]byte
	n, _ := f.ReadAt(b[:], 0)
	if s := strings.TrimSpace(string(b[:n])); s != "" {
		return s
	}
	return "unknown"
}

func writePid(f *os.File) error {
	if err := f.Truncate(0); err != nil && !errors.Is(err, unix.ENOSPC) {
		return err
	}
	// A full disk must not keep us from starting: the pid is a courtesy, the lock is not.
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil &&
		!errors.Is(err, unix.ENOSPC) {
		return err
	}
	return nil
}

// Release gives the lock up. The file stays: removing it would let two processes lock two files. The lock is taken off, and
// not only the file closed: a child process that is just being started has the same open file until it is another program,
// and would hold the lock for us.
func (l *Lock) Release() error {
	lk := unix.Flock_t{Type: unix.F_UNLCK}
	return errors.Join(unix.FcntlFlock(l.f.Fd(), unix.F_OFD_SETLK, &lk), l.f.Close())
}

// WriteFile replaces the file at path by data so that after a crash it is the old file or the new
// one, never a part: a temporary file in the same directory is written and fsynced (else the rename
// could be durable before the bytes), renamed over the old one, and the directory fsynced (else the
// rename could be undone).
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return fmt.Errorf("create beside %s: %w", path, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(perm))
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return SyncDir(filepath.Dir(path))
}

// MkdirAll creates dir and makes the new entries durable.
func MkdirAll(dir string, perm fs.FileMode) error {
	if fi, err := os.Stat(dir); err == nil && fi.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := MkdirAll(parent, perm); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return SyncDir(parent)
}

// SyncDir makes what was created, renamed or removed in dir survive a power cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open directory to sync: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// LinkOrCopy gives a file that nobody writes to any more a second name, which must not be there; where the file system has
// no links, or the name is on another one, it is copied. A crash leaves to whole, or not there, or a part of it with .part
// behind its name. The directory is not synced.
func LinkOrCopy(from, to string) error {
	err := os.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to + ".part")
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return errors.Join(err, os.Remove(out.Name()))
	}
	return os.Rename(out.Name(), to)
}

// Room is the space on the file system that holds a path, in bytes.
type Room struct {
	Free  uint64 // available to us
	Total uint64
}

// RoomAt asks the file system of path for its room.
func RoomAt(path string) (Room, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Room{}, fmt.Errorf("ask %s for its room: %w", path, err)
	}
	return Room{Free: st.Bavail * uint64(st.Bsize), Total: st.Blocks * uint64(st.Bsize)}, nil
}

// NoRoom reports whether err says that a disk or a quota is full.
func NoRoom(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// Writable creates dir if needed and reports whether files can be created in it.
func Writable(dir string) error {
	if err := MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".writable.*")
	if err != nil {
		return err
	}
	f.Close()
	return os.Remove(f.Name())
}

// Size writes a number of bytes for people.
func Size[T int | int64 | uint64 | uint32](n T) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n), -1
	for f >= unit && i < 4 {
		f /= unit
		i++
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTP"[i])
}
