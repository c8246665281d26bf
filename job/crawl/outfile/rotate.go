package outfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Log is a File whose name stays: at a rotation what it has gets another name, and it begins anew.
//
// A rotation is committed before it is done. State says of what there is that it ended, under which name and with how many bytes;
// only behind the transaction that has that in it comes Committed, which gives the name and makes the new file. A start that
// finds such a state does what is left of it. So what the store speaks of is there under one name or the other, and whole.
type Log struct {
	*File
	d       Disk
	path    string
	rotated *Rotated
}

// State is what a transaction has to record of a Log. The zero State is that of a log that the store does not know.
type State struct {
	Size int64 `json:"size"` // how many bytes count
	// Rotated is the last rotation, until the next commit behind it. The file has ended then, and its successor is empty.
	Rotated *Rotated `json:"rotated,omitempty"`
}

// Lost reports whether the log at path lacks something of what counts. Then OpenLog would not open it.
func (s State) Lost(path string) (bool, error) {
	if s.Size == 0 {
		return false, nil
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return err == nil && info.Size() < s.Size, err
}

// Rotated is a file that has ended.
type Rotated struct {
	As   string `json:"as"` // its new name, in the same directory
	Size int64  `json:"size"`
}

// OpenLog opens the log at path, and brings it in step with the store; moved is as in Open. A log that the store does not know
// is made; what stands in its place has to be moved away before, see SetAside. tail is text that the store itself has, and
// that belongs behind Size: the part of it that is missing is written, durably.
func OpenLog(d Disk, path string, s State, tail []byte, quarantine string) (l *Log, moved string, err error) {
	if s.Rotated != nil {
		if moved, err = finish(d, path, *s.Rotated, quarantine); err != nil {
			return nil, moved, err
		}
	}
	l = &Log{d: d, path: path}
	has, err := tailOf(path, s.Size, tail)
	if err != nil {
		return nil, moved, err
	}
	size := s.Size + int64(has)
	if _, err := os.Lstat(path); size == 0 && errors.Is(err, fs.ErrNotExist) {
		if l.File, err = Create(d, path); err != nil {
			return nil, moved, err
		}
	} else {
		var behind string
		if l.File, behind, err = Open(d, path, size, quarantine); behind != "" {
			moved = behind
		}
		if err != nil {
			return nil, moved, err
		}
	}
	if len(tail) > 0 { // also if it is all there: a crash may have come before its sync
		if _, err = l.Write(tail[has:]); err == nil {
			err = l.Sync()
		}
	}
	if err != nil {
		return nil, moved, errors.Join(fmt.Errorf("write what %s lacks: %w", path, err), l.CutBack(s.Size), l.Close())
	}
	return l, moved, nil
}

// tailOf returns how much of a tail stands in a file after size: all of it, if it was written, or what a crash left of it.
func tailOf(path string, size int64, tail []byte) (int, error) {
	if len(tail) == 0 {
		return 0, nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	b := make([]byte, len(tail))
	n, err := f.ReadAt(b, size)
	if err == io.EOF {
		err = nil
	}
	if !bytes.Equal(b[:n], tail[:n]) {
		n = 0
	}
	return n, errors.Join(err, f.Close())
}

// finish gives a file that has ended its name, unless it has it. Once it has, a person may have moved it away: then the file
// at path is the one that was begun after it, and is not as long.
func finish(d Disk, path string, r Rotated, quarantine string) (moved string, err error) {
	to := filepath.Join(filepath.Dir(path), r.As)
	if _, err := os.Lstat(to); err == nil {
		return "", nil
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() < r.Size {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return End(d, path, to, r.Size, quarantine)
}

// Rotate ends the present file, which is durable when it returns, and gets the name `as` with the next commit. Nothing may be
// written before Committed. A file that has that name already is set aside.
func (l *Log) Rotate(as string) error {
	if err := SetAside(l.d, filepath.Join(filepath.Dir(l.path), as), ""); err != nil {
		return err
	}
	if err := l.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", l.path, err)
	}
	l.rotated = &Rotated{As: as, Size: l.Size()}
	return nil
}

// State returns what the next transaction has to record. What was written must be synced.
func (l *Log) State() State {
	if l.rotated != nil {
		return State{Rotated: l.rotated}
	}
	return State{Size: l.Size()}
}

// Committed completes a rotation. It is called after each transaction that had a State in it.
func (l *Log) Committed() error {
	if l.rotated == nil {
		return nil
	}
	to := filepath.Join(filepath.Dir(l.path), l.rotated.As)
	if err := l.d.Rename(l.path, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := Create(l.d, l.path) // syncs the directory, and with it the new name
	if err != nil {
		return err
	}
	err = l.Close()
	l.File, l.rotated = f, nil
	return err
}

// Mark returns the part of a lineage that stands in the names of files: enough to tell it from others.
func Mark(lineage string) string { return lineage[:min(8, len(lineage))] }

// SetAside renames a file that belongs to no store, or to a time line that was left, and does not change it; by is the lineage
// of the store that begins in its place, "" if none does. An empty file is removed.
func SetAside(d Disk, path, by string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().IsRegular() && info.Size() == 0: // made by a start that committed nothing
		return errors.Join(d.Remove(path), d.SyncDir(filepath.Dir(path)))
	}
	mark := "aside"
	if by != "" {
		mark = "before-" + Mark(by)
	}
	err = d.Rename(path, fmt.Sprintf("%s.%s-%s", path, mark, time.Now().UTC().Format("20060102150405.000000")))
	return errors.Join(err, d.SyncDir(filepath.Dir(path)))
}
