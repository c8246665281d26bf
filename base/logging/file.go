package logging

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"holdfast/base/disk"
	"holdfast/base/fault"
)

// File is a log that starts anew when it gets too large: FILE is renamed to FILE.1, which it
// replaces, so that at most twice the limit is on the disk.
type File struct {
	path  string
	limit int64

	mu   sync.Mutex
	f    *os.File
	size int64
}

// Open opens the log file for appending, and makes its directory. limit 0 is no limit.
func Open(path string, limit int64) (*File, error) {
	l := &File{path: path, limit: limit}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fault.NewUsage("give a file that can be written with --log-file",
			"log file %s: its directory can't be made: %s", path, disk.Reason(err))
	}
	if err := l.open(); err != nil {
		return nil, fault.NewUsage("give a file that can be written with --log-file",
			"log file %s can't be written: %s", path, disk.Reason(err))
	}
	return l, nil
}

func (l *File) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	l.f, l.size = f, 0
	if info, err := f.Stat(); err == nil {
		l.size = info.Size()
	}
	return nil
}

// Write appends one record. A log that can't be written must not stop the work that it tells of:
// the record goes to stderr then.
func (l *File) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.limit > 0 && l.size > 0 && l.size+int64(len(b)) > l.limit {
		l.rotate()
	}
	n, err := l.f.Write(b)
	l.size += int64(n)
	if err != nil {
		fmt.Fprintf(os.Stderr, "log file %s: %v: %s", l.path, err, b)
	}
	return len(b), nil
}

func (l *File) rotate() {
	if err := os.Rename(l.path, l.path+".1"); err != nil {
		fmt.Fprintf(os.Stderr, "log file %s is not rotated: %v\n", l.path, err)
		return
	}
	old := l.f
	if err := l.open(); err != nil {
		l.f = old // it goes on in the renamed file
		fmt.Fprintf(os.Stderr, "log file %s is not rotated: %v\n", l.path, err)
		return
	}
	old.Close()
}

// Close closes the file.
func (l *File) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Close()
}
