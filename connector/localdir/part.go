package localdir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
)

// lockPause is the time between two looks at a part that another process has.
const lockPause = 50 * time.Millisecond

// take opens the part, for us alone: another process, which may have the same place, waits until we closed it. It is nil if the
// part went to its final name or away while we waited: what we have open then is not to be written to.
func (p *placing) take() (*os.File, error) {
	if info, err := p.root.Lstat(p.part); err == nil && !info.Mode().IsRegular() {
		return nil, p.inTheWay(info)
	}
	f, err := p.root.OpenFile(p.part, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o644)
	if err != nil {
		return nil, err
	}
	ours, err := p.own(f)
	if err != nil || !ours {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// own waits for the lock of the part, and reports whether what is open is still the part, and nothing else.
func (p *placing) own(f *os.File) (bool, error) {
	if err := waitForLock(p.ctx, f); err != nil {
		return false, err
	}
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() {
		return false, p.inTheWay(info)
	}
	if still, err := stands(p.root, p.part, info); err != nil || !still {
		return false, err
	}
	if info.Sys().(*syscall.Stat_t).Nlink > 1 { // a crash came between link and unlink: this is another file too
		return false, p.remove()
	}
	return true, nil
}

// inTheWay says that what stands at the part's name was not made by us, and is not touched: nothing but a person takes it away.
func (p *placing) inTheWay(info fs.FileInfo) error {
	return fault.WithHint(fault.New(fault.Conflict, "%s is no file, but %s", line(p.part), kindOf(info.Mode())),
		"remove it: it has the name of a file that is under way")
}

// kindOf says what stands there that is no file.
func kindOf(m fs.FileMode) string {
	for _, k := range []struct {
		bit  fs.FileMode
		name string
	}{{fs.ModeDir, "a directory"}, {fs.ModeSymlink, "a symbolic link"}, {fs.ModeNamedPipe, "a pipe"}, {fs.ModeSocket, "a socket"},
		{fs.ModeDevice, "a device"}} {
		if m&k.bit != 0 {
			return k.name
		}
	}
	return "something else"
}

// stands reports whether a file has that name.
func stands(root *os.Root, name string, info fs.FileInfo) (bool, error) {
	there, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(info, there), err
}

// errLocked means that somebody has the part.
var errLocked = errors.New("it is locked")

// lock locks a file until it is closed, against all who open it again, in this process or another. A file system without locks
// has none who wait for one either.
func lock(f *os.File) error {
	err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return errLocked
	}
	return nil
}

func waitForLock(ctx context.Context, f *os.File) error {
	if lock(f) == nil {
		return nil
	}
	again := time.NewTicker(lockPause)
	defer again.Stop()
	for {
		select {
		case <-again.C:
			if lock(f) == nil {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// removeLeft removes a part that nobody has. What is no file was not made by us, and stays.
func removeLeft(root *os.Root, part string) (removed bool, err error) {
	if info, err := root.Lstat(part); err == nil && !info.Mode().IsRegular() {
		return false, nil
	}
	f, err := root.OpenFile(part, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		defer f.Close()
		if lock(f) != nil {
			return false, nil
		}
		info, err := f.Stat()
		if err != nil {
			return false, err
		}
		if still, err := stands(root, part, info); err != nil || !still {
			return false, err
		}
	}
	err = root.Remove(part)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// touched is when a file was written to or given a time last: its own time is that of the original as soon as it is whole.
func touched(info fs.FileInfo) time.Time {
	changed := time.Unix(info.Sys().(*syscall.Stat_t).Ctim.Unix())
	if at := info.ModTime(); at.After(changed) {
		return at
	}
	return changed
}
