package forensic

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// keptName marks an archive that is evidence: nobody deletes from it again.
const keptName = "KEPT"

// Archive is a file system for pebble.Open that deletes nothing of the database until the store
// has been verified. Whatever Pebble would remove, overwrite or reuse directly under the
// database's directory is moved to the archive directory instead, under a name of its own. The
// archive must be on the same file system and belong to nobody else.
//
// A crash while the archive is in use leaves each file either in its place or in the archive; the
// next Archive over the same directory takes what lies there as its own.
type Archive struct {
	vfs.FS
	dir, to string

	mu    sync.Mutex // guards what follows; held across renames, so that names stay unique
	state archiveState
	moved []string // paths in the archive
}

type archiveState int

const (
	archiving archiveState = iota
	released
	kept
)

var _ vfs.FS = (*Archive)(nil)

// ArchiveFS makes the wrapper over fsys for the database in dir. Nothing is created before the
// first file is archived.
func ArchiveFS(fsys vfs.FS, dir, archiveDir string) *Archive {
	a := &Archive{FS: fsys, dir: dir, to: archiveDir}
	names, err := fsys.List(archiveDir)
	if err != nil {
		return a
	}
	for _, name := range names {
		if name == keptName {
			a.state, a.moved = kept, nil
			return a
		}
		a.moved = append(a.moved, fsys.PathJoin(archiveDir, name))
	}
	return a
}

// Files lists the base names under which files lie in the archive.
func (a *Archive) Files() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var names []string
	for _, path := range a.moved {
		names = append(names, a.FS.PathBase(path))
	}
	return names
}

// Release ends the archiving after the store was verified: what was archived is deleted, and from
// now on everything passes through. It does nothing to an archive that was kept.
func (a *Archive) Release() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state != archiving {
		return nil
	}
	a.state = released
	var errs []error
	for _, path := range a.moved {
		if err := a.FS.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove archived %s: %w", path, err))
		}
	}
	a.moved = nil
	if err := a.FS.Remove(a.to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, fmt.Errorf("remove archive %s: %w", a.to, err))
	}
	return errors.Join(errs...)
}

// Keep makes the archive permanent: nothing in it is ever deleted by this package, and further
// removals are archived as before. The reason is written beside the files.
func (a *Archive) Keep(why string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state == released {
		return fmt.Errorf("keep archive %s: it was released", a.to)
	}
	a.state = kept
	if err := a.FS.MkdirAll(a.to, 0o755); err != nil {
		return fmt.Errorf("make archive: %w", err)
	}
	f, err := a.FS.Create(a.FS.PathJoin(a.to, keptName), vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("mark archive %s: %w", a.to, err)
	}
	_, err = f.Write([]byte(why + "\n"))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("mark archive %s: %w", a.to, err)
	}
	return syncDir(a.FS, a.to)
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open directory %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// precious reports whether a path is a file of the database: directly under its directory, and
// neither the lock nor a temporary.
func (a *Archive) precious(path string) bool {
	if a.FS.PathDir(path) != strings.TrimRight(a.dir, "/") && a.FS.PathDir(path) != a.dir {
		return false
	}
	c, _ := classify(a.FS.PathBase(path))
	return c != classOther && c != classTemp
}

// take moves a file to the archive. done is false when it is not to be archived.
func (a *Archive) take(path string) (done bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state == released || !a.precious(path) {
		return false, nil
	}
	if _, err := a.FS.Stat(path); err != nil {
		return true, err
	}
	if err := a.FS.MkdirAll(a.to, 0o755); err != nil {
		return true, fmt.Errorf("make archive: %w", err)
	}
	to, err := unique(a.FS, a.to, a.FS.PathBase(path))
	if err != nil {
		return true, err
	}
	if err := a.FS.Rename(path, to); err != nil {
		return true, fmt.Errorf("archive %s: %w", path, err)
	}
	a.moved = append(a.moved, to)
	return true, nil
}

// unique is a path in dir at which there is nothing: the name, or the name with ~1, ~2 ... behind it.
func unique(fsys vfs.FS, dir, name string) (string, error) {
	base := fsys.PathJoin(dir, name)
	for path, i := base, 1; ; i++ {
		if _, err := fsys.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return path, nil
		} else if err != nil {
			return "", fmt.Errorf("look for %s: %w", path, err)
		}
		path = fmt.Sprintf("%s~%d", base, i)
	}
}

// Remove archives a database file and removes any other.
func (a *Archive) Remove(name string) error {
	if done, err := a.take(name); done {
		return err
	}
	return a.FS.Remove(name)
}

// RemoveAll archives a database file; asked for the whole directory, it archives each file of the
// database in it and leaves the rest, and the directory, where they are.
func (a *Archive) RemoveAll(name string) error {
	if strings.TrimRight(name, "/") == strings.TrimRight(a.dir, "/") && !a.isReleased() {
		names, err := a.FS.List(name)
		if err != nil {
			return err
		}
		for _, n := range names {
			if _, err := a.take(a.FS.PathJoin(name, n)); err != nil {
				return err
			}
		}
		return nil
	}
	if done, err := a.take(name); done {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return a.FS.RemoveAll(name)
}

func (a *Archive) isReleased() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state == released
}

// Create archives a file that stands at the name, because the new one takes its place.
func (a *Archive) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if _, err := a.take(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return a.FS.Create(name, category)
}

// Rename archives a file that stands at the new name.
func (a *Archive) Rename(oldname, newname string) error {
	if _, err := a.take(newname); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return a.FS.Rename(oldname, newname)
}

// ReuseForWrite archives the old log, whose bytes would be overwritten, and makes a new file.
func (a *Archive) ReuseForWrite(
	oldname, newname string, category vfs.DiskWriteCategory,
) (vfs.File, error) {
	done, err := a.take(oldname)
	if err != nil {
		return nil, err
	}
	if done {
		return a.FS.Create(newname, category)
	}
	return a.FS.ReuseForWrite(oldname, newname, category)
}

// Unwrap gives Pebble the file system below.
func (a *Archive) Unwrap() vfs.FS { return a.FS }
