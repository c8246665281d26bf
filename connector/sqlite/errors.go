package sqlite

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
	driverpkg "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"holdfast/base/fault"
)

const (
	codeBusy   = sqlite3.SQLITE_BUSY
	codeLocked = sqlite3.SQLITE_LOCKED
	codeError  = sqlite3.SQLITE_ERROR
)

// roomLeft is the free space below which an input/output error is taken for a full disk.
const roomLeft = 1 << 20

// classify gives err its kind; verb says what was tried with the database. A fault stays one.
func (s *Sink) classify(verb string, err error) error { return classify(s.path, verb, err) }

func classify(path, verb string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	kind, hint := kindOf(path, err)
	out := error(fault.New(kind, "%s database %s: %w", verb, path, err))
	if hint != "" {
		out = fault.WithHint(out, "%s", hint)
	}
	return out
}

func kindOf(path string, err error) (fault.Kind, string) {
	const writable = "the sink needs to write the file and its directory; change their owner or mode"
	if e, ok := errors.AsType[*driverpkg.Error](err); ok {
		return kindOfCode(path, e.Code())
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fault.Transient, ""
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.Full, ""
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		return fault.Permanent, writable
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG),
		errors.Is(err, syscall.ELOOP):
		return fault.Permanent, "give a path at which a file can be created"
	}
	return fault.Transient, ""
}

// kindOfCode is what SQLite's result codes mean for us.
func kindOfCode(path string, code int) (fault.Kind, string) {
	switch code & 0xff {
	case sqlite3.SQLITE_FULL:
		return fault.Full, ""
	case sqlite3.SQLITE_IOERR:
		if free, err := freeSpace(filepath.Dir(path)); err == nil && free < roomLeft {
			return fault.Full, ""
		}
		return fault.Transient, ""
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FORMAT:
		return fault.Corrupt, "the file is left as it is; stop whatever uses it, save it by " +
			"`sqlite3 FILE .recover`, put the result in its place and count what is missing with " +
			"`holdfast audit --deep`"
	case sqlite3.SQLITE_NOTADB:
		return fault.Corrupt, "the file is no SQLite database and is left as it is; " +
			"give another path, or move it away"
	case sqlite3.SQLITE_READONLY:
		if code == sqlite3.SQLITE_READONLY_DBMOVED {
			return fault.Transient, ""
		}
		return fault.Permanent, "the file, its directory or the file system is read-only for us"
	case sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
		return fault.Permanent, ""
	case sqlite3.SQLITE_CANTOPEN:
		if unix.Access(filepath.Dir(path), unix.W_OK) != nil {
			return fault.Permanent, "the directory of the database is not writable for us"
		}
		return fault.Transient, ""
	}
	// Busy, locked, interrupted, out of memory, a schema that changed under us, and what is new:
	// worth another attempt, after a Prepare that names what is wrong for good.
	return fault.Transient, ""
}

// ofOneRow says whether an error speaks of the row that was written and not of the database.
func ofOneRow(err error) bool {
	e, ok := errors.AsType[*driverpkg.Error](err)
	if !ok {
		return false
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG:
		return true
	}
	return false
}

func freeSpace(dir string) (uint64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, err
	}
	return fs.Bavail * uint64(fs.Bsize), nil
}

// codeOf is the primary result code of an SQLite error, -1 for others.
func codeOf(err error) int {
	if e, ok := errors.AsType[*driverpkg.Error](err); ok {
		return e.Code() & 0xff
	}
	return -1
}
