package web

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
	"holdfast/connector"
)

// spool takes the bytes of an answer: into memory, and from some number on into a file that has no name, so that no crash leaves
// one behind.
type spool struct {
	limit int    // of the memory
	dir   string // of the file
	most  int64  // bytes that are taken at all

	size int64
	mem  *[]byte  // pooled; the first bytes, or all of them
	file *os.File // all bytes, nil as long as memory has them
}

var _ connector.Bytes = (*spool)(nil)

// pieces are the memory of answers that were given up.
var pieces = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// spoolError is an answer for which there is no room.
type spoolError struct{ err error }

func (e *spoolError) Error() string { return e.err.Error() }
func (e *spoolError) Unwrap() error { return e.err }

// left is how many bytes are still taken.
func (s *spool) left() int64 { return s.most - s.size }

// write takes b, or as much of it as is taken at all: then the error is errLong.
func (s *spool) write(b []byte) error {
	var over error
	if int64(len(b)) > s.left() {
		b, over = b[:s.left()], errLong
	}
	if len(b) == 0 {
		return over
	}
	if err := s.keep(b); err != nil {
		return &spoolError{err}
	}
	s.size += int64(len(b))
	return over
}

func (s *spool) keep(b []byte) error {
	if s.file == nil && s.size+int64(len(b)) <= int64(s.limit) {
		if s.mem == nil {
			s.mem = pieces.Get().(*[]byte)
		}
		*s.mem = append(*s.mem, b...)
		return nil
	}
	if s.file == nil {
		if err := s.spill(); err != nil {
			return err
		}
	}
	if _, err := s.file.WriteAt(b, s.size); err != nil {
		return s.failed("write", err)
	}
	return nil
}

// spill moves what is in memory to a file.
func (s *spool) spill() error {
	f, err := nameless(s.dir)
	if err != nil {
		return s.failed("make", err)
	}
	if s.mem != nil {
		if _, err := f.WriteAt(*s.mem, 0); err != nil {
			_ = f.Close()
			return s.failed("write", err)
		}
	}
	s.file = f
	s.forget()
	return nil
}

func (s *spool) failed(what string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fault.WithHint(fault.New(fault.Full, "%s the file of an answer in %s: %w", what, s.dir, err),
			"make room there, or name another directory")
	}
	return fault.New(fault.Permanent, "%s the file of an answer in %s: %w", what, s.dir, err)
}

// nameless makes a file in dir that ends with its last handle.
func nameless(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir), nil
	}
	f, err := os.CreateTemp(dir, "answer-*") // a file system without such files
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("remove the name of a file: %w", err)
	}
	return f, nil
}

// Size implements connector.Bytes.
func (s *spool) Size() int64 { return s.size }

// ReadAt implements connector.Bytes.
func (s *spool) ReadAt(p []byte, off int64) (int, error) {
	switch {
	case off < 0:
		return 0, fault.New(fault.Invalid, "read at %d", off)
	case s.file != nil:
		return s.file.ReadAt(p, off)
	case s.mem == nil || off >= int64(len(*s.mem)):
		return 0, io.EOF
	}
	n := copy(p, (*s.mem)[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// forget gives the memory back.
func (s *spool) forget() {
	if s.mem != nil {
		*s.mem = (*s.mem)[:0]
		pieces.Put(s.mem)
		s.mem = nil
	}
}

// Close implements connector.Bytes. It may be called again.
func (s *spool) Close() error {
	s.forget()
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return f.Close()
}
