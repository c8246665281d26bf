package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Reason is an error of the file system without the path, which stands beside it.
func Reason(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// Private makes a directory that only we can enter. In a directory that everybody may write to, one
// that is there already could have been laid out for us by somebody else.
func Private(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return Ours(dir)
}

// Ours returns an error unless path is a directory of our own, that nobody else can write to.
func Ours(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s is no directory", path)
	case ok && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to somebody else", path)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s can be written by others", path)
	}
	return nil
}

// Overlap reports whether one directory is the other, or within it, by whatever name.
func Overlap(a, b string) bool {
	return Within(a, b) || Within(b, a)
}

// Within reports whether a path is a directory or below it, by whatever name, also if it is not there yet.
func Within(dir, path string) bool {
	rel, err := filepath.Rel(realPath(dir), realPath(path))
	return err == nil && filepath.IsLocal(rel)
}

// realPath is a path without symbolic links, as far as it is there.
func realPath(path string) string {
	path = filepath.Clean(path)
	for at, rest := path, ""; ; {
		if r, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.Join(r, rest)
		}
		up := filepath.Dir(at)
		if up == at {
			return path
		}
		at, rest = up, filepath.Join(filepath.Base(at), rest)
	}
}
