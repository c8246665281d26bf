package transfer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/connector"
)

// An original is removed by its path, and hours may lie between the moment when it was opened and that one: another file may
// stand there by then. So the path is checked, the file is moved to a hidden name, and what was moved is checked again. If it
// is another file, it goes back.

// hidden is the name of an original while it is being removed. No finder takes it for a file.
func (j *Job) hidden(f *file) string { return connector.PartName(j.source(f) + ".gone") }

// drop removes an original, once all that was written beside it is durable.
func (j *Job) drop(f *file) error {
	name, hidden := j.source(f), j.hidden(f)
	if err := disk.SyncDir(filepath.Dir(name)); err != nil {
		return err
	}
	if err := j.isAt(f, name); err != nil {
		return err
	}
	if err := moveTo(name, hidden); err != nil {
		return err
	}
	return j.unlink(f, hidden)
}

// unlink removes what was moved away, if it is the original. Anything else goes back.
func (j *Job) unlink(f *file, hidden string) error {
	if err := j.isAt(f, hidden); err != nil {
		name := j.source(f)
		if back := moveTo(hidden, name); back != nil {
			return fault.New(fault.Conflict, "a file that came meanwhile is %s now: %w", hidden, back)
		}
		return err
	}
	return removed(hidden)
}

// exchange puts a packed form in the place of an original, under its name.
func (j *Job) exchange(f *file, part string) error {
	name := j.source(f)
	if err := j.isAt(f, name); err != nil {
		return err
	}
	err := swap(part, name)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // NFS has no such thing
		if err := os.Rename(part, name); err != nil {
			return err
		}
		return disk.SyncDir(filepath.Dir(name))
	}
	if err != nil {
		return err
	}
	return j.exchanged(f, part)
}

// exchanged removes what the packed form took the place of, if it is the original. Anything else goes back.
func (j *Job) exchanged(f *file, part string) error {
	name := j.source(f)
	if err := j.isAt(f, part); err != nil {
		if back := swap(part, name); back != nil {
			return fault.New(fault.Conflict, "a file that came meanwhile is %s now: %w", part, back)
		}
		return errors.Join(err, os.Remove(part))
	}
	if err := disk.SyncDir(filepath.Dir(name)); err != nil {
		return err
	}
	return removed(part)
}

// clear completes a removal that a killed life had begun: for an original that was moved already, everything else is done.
func (j *Job) clear(f *file) error {
	name := j.source(f)
	for _, left := range []string{j.hidden(f), connector.PartName(name)} {
		if j.isAt(f, left) != nil {
			continue
		}
		if err := removed(left); err != nil {
			return err
		}
	}
	return nil
}

// isAt is nil if a name is that of the original, as it was.
func (j *Job) isAt(f *file, name string) error {
	var st unix.Stat_t
	err := unix.Lstat(name, &st)
	if isGone(err) {
		return end{Gone, "it is not there any more"}
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w", name, err)
	}
	if !isFile(&st) || identityFrom(f.Path, &st) != f.Identity {
		return end{Gone, wasChanged}
	}
	return nil
}

// moveTo renames a file, and replaces none.
func moveTo(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // NFS has no such thing
		if err = os.Link(from, to); err == nil {
			err = os.Remove(from)
		}
		return err
	}
	if err != nil {
		return fmt.Errorf("rename %s to %s: %w", from, to, err)
	}
	return nil
}

// swap gives each of two files the name of the other.
func swap(one, two string) error {
	if err := unix.Renameat2(unix.AT_FDCWD, one, unix.AT_FDCWD, two, unix.RENAME_EXCHANGE); err != nil {
		return fmt.Errorf("exchange %s and %s: %w", one, two, err)
	}
	return nil
}

// removed removes a file, durably.
func removed(name string) error {
	if err := os.Remove(name); err != nil {
		return err
	}
	return disk.SyncDir(filepath.Dir(name))
}

// copyTo copies a file, durably, and returns the identity of the copy, without its path. It has the time, the rights and, where
// this user may give it that, the owner of the original.
func copyTo(from, name string, original *os.File) (made Identity, err error) {
	var like unix.Stat_t
	if err := unix.Fstat(int(original.Fd()), &like); err != nil {
		return made, fmt.Errorf("look at %s: %w", original.Name(), err)
	}
	in, err := os.Open(from)
	if err != nil {
		return made, err
	}
	defer in.Close()
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return made, err
	}
	out, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return made, err
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return made, err
	}
	if out.Chown(int(like.Uid), int(like.Gid)) != nil {
		_ = out.Chown(-1, int(like.Gid)) // it is that of another: then it is this user's
	}
	if err := unix.Fchmod(int(out.Fd()), like.Mode&0o7777); err != nil {
		return made, fmt.Errorf("give %s its rights: %w", name, err)
	}
	mtime := time.Unix(0, like.Mtim.Nano())
	if err := os.Chtimes(name, mtime, mtime); err != nil {
		return made, err
	}
	if err := out.Sync(); err != nil {
		return made, err
	}
	return identityOf(out)
}
