package logfile

import (
	"bufio"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
)

// source is an open file.
type source struct {
	identity
	path string
	f    *os.File
	size int64 // when it was opened
	mod  time.Time
	// packed: it is read through gz, from its beginning to its end, and head is its beginning.
	packed bool
	gz     *bufio.Reader
	head   []byte
	// final: nothing is written to it any more.
	final bool
}

// open opens a file that may be packed.
func open(path string) (*source, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0) // a FIFO is not waited for
	if err != nil {
		return nil, unreadable(path, err)
	}
	s := &source{path: path, f: f}
	if err := s.begin(); err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

func (s *source) begin() error {
	info, err := stat(int(s.f.Fd()), "")
	if err != nil {
		return unreadable(s.path, err)
	}
	if !info.regular {
		return fault.New(fault.Permanent, "watch %s: it is no regular file", s.path)
	}
	s.identity, s.size, s.mod = info.identity, info.size, info.mod
	if !strings.HasSuffix(s.path, ".gz") {
		return nil
	}
	s.packed, s.final = true, true
	z, err := gzip.NewReader(s.f)
	if err != nil {
		return fault.New(fault.Corrupt, "unpack %s: %w", s.path, err)
	}
	s.gz = bufio.NewReaderSize(z, headBytes)
	s.head, err = s.gz.Peek(headBytes)
	s.head = append([]byte(nil), s.head...)
	if err != nil && !errors.Is(err, io.EOF) {
		return fault.New(fault.Corrupt, "unpack %s: %w", s.path, err)
	}
	return nil
}

// skip goes to an offset of a packed file.
func (s *source) skip(offset int64) error {
	if !s.packed {
		return nil
	}
	if _, err := io.CopyN(io.Discard, s.gz, offset); err != nil {
		return fault.New(fault.Corrupt, "unpack %s to byte %d: %w", s.path, offset, err)
	}
	return nil
}

// read reads at an offset; of a packed file, that has to be where reading has come. At the end it reads nothing.
func (s *source) read(b []byte, offset int64) (n int, err error) {
	if s.packed {
		n, err = s.gz.Read(b)
	} else {
		n, err = s.f.ReadAt(b, offset)
	}
	if n > 0 || err == nil || errors.Is(err, io.EOF) {
		return n, nil
	}
	if s.packed {
		return 0, fault.New(fault.Corrupt, "unpack %s: %w", s.path, err)
	}
	return 0, unreadable(s.path, err)
}

// at returns n bytes at an offset, fewer if there are no more.
func (s *source) at(offset int64, n int) ([]byte, error) {
	if s.packed {
		return s.head[min(offset, int64(len(s.head))):min(offset+int64(n), int64(len(s.head)))], nil
	}
	b := make([]byte, n)
	n, err := s.f.ReadAt(b, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, unreadable(s.path, err)
	}
	return b[:n], nil
}

// empty reports whether nothing stood in it when it was opened.
func (s *source) empty() bool {
	if s.packed {
		return len(s.head) == 0
	}
	return s.size == 0
}

// look updates the size of the file, and when it was written to.
func (s *source) look() error {
	info, err := stat(int(s.f.Fd()), "")
	if err != nil {
		return unreadable(s.path, err)
	}
	s.size, s.mod = info.size, info.mod
	return nil
}

// status is what the kernel says of a file.
type status struct {
	identity
	size    int64
	mod     time.Time // written to last
	regular bool
}

// stat returns the status of the file at a path or, if that is "", of an open file. os.Stat does not say when a file was born.
func stat(fd int, path string) (status, error) {
	flags := 0
	if path == "" {
		flags = unix.AT_EMPTY_PATH
	}
	var st unix.Statx_t
	if err := unix.Statx(fd, path, flags, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st); err != nil {
		return status{}, err
	}
	s := status{identity: identity{Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Ino: st.Ino}, size: int64(st.Size),
		mod: time.Unix(st.Mtime.Sec, int64(st.Mtime.Nsec)), regular: st.Mode&unix.S_IFMT == unix.S_IFREG}
	if st.Mask&unix.STATX_BTIME != 0 {
		s.Born = st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
	}
	return s, nil
}

// unreadable says why a file can't be read, as a fault with its kind.
func unreadable(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault.New(fault.NotFound, "watch %s: it is not there", path)
	case errors.Is(err, fs.ErrPermission):
		return fault.WithHint(fault.New(fault.Permanent, "watch %s: it may not be read: %w", path, err),
			"change its mode or owner, or the group of who watches it (adm reads most logs)")
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return fault.New(fault.Permanent, "watch %s: %w", path, err)
	}
	return fault.New(fault.Transient, "watch %s: %w", path, err)
}

// booted returns when this machine was started.
func booted() (time.Time, error) {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Time{}, fault.New(fault.Transient, "ask when this machine was started: %w", err)
	}
	return time.Now().Add(-time.Duration(up.Nano())), nil
}
