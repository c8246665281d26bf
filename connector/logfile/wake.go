package logfile

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// wake learns from the kernel of changes in the directory of a file.
type wake struct {
	files  rotation
	f      *os.File // of inotify; nil while nothing is watched
	reader sync.WaitGroup
	c      chan struct{}

	mu  sync.Mutex // for what follows, and held from reading what is told until it is counted
	buf []byte
	// came is how many files have come to the path, or were put beside it by a rotation.
	came int
}

// unheard is added to came when nobody knows how many files have come.
const unheard = 1 << 20

// ready starts listening to the kernel, unless it does already. Where that can't be had, looking now and then has to do.
func (w *wake) ready() {
	if w.f != nil {
		return
	}
	w.came += unheard
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return
	}
	const changes = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_ATTRIB |
		unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(w.files.path), changes); err != nil {
		_ = unix.Close(fd)
		return
	}
	// A link's target may stand elsewhere. Where it does not exist, or is the same directory, nothing is lost.
	if real, err := filepath.EvalSymlinks(w.files.path); err == nil {
		_, _ = unix.InotifyAddWatch(fd, filepath.Dir(real), changes)
	}
	w.f = os.NewFile(uintptr(fd), "inotify")
	w.buf = make([]byte, 16<<10)
	w.c = make(chan struct{}, 1)
	w.reader.Go(w.read)
}

// read reads what the kernel tells, until close. What it is does not matter: whoever is woken looks for himself.
func (w *wake) read() {
	in, err := w.f.SyscallConn()
	if err != nil {
		return
	}
	for {
		var more bool
		if ended := in.Read(func(fd uintptr) bool {
			more, err = w.take(int(fd))
			return more || err != nil
		}); ended != nil || err != nil {
			return
		}
	}
}

// take counts what was told, and wakes who waits. more is false if it was nothing.
func (w *wake) take(fd int) (more bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := unix.Read(fd, w.buf)
	if errors.Is(err, unix.EAGAIN) {
		return false, nil
	}
	if err != nil || n == 0 {
		return false, err
	}
	select {
	case w.c <- struct{}{}:
	default:
	}
	// inotify(7): wd, mask, cookie, the length of the name, four bytes each, and the name, filled up with zeros.
	for b := w.buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
		mask, size := binary.NativeEndian.Uint32(b[4:]), int(binary.NativeEndian.Uint32(b[12:]))
		name, _, _ := bytes.Cut(b[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+size], []byte{0})
		b = b[unix.SizeofInotifyEvent+size:]
		switch {
		case mask&unix.IN_Q_OVERFLOW != 0:
			w.came += unheard
		case mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0 && (string(name) == filepath.Base(w.files.path) || w.files.gives(string(name))):
			w.came++
		}
	}
	return true, nil
}

// arrived returns how many files have come so far. If they can't be counted it is another number at each call.
func (w *wake) arrived() int {
	target, _ := os.Readlink(w.files.path) // none, if it is no link
	heard := w.f != nil && w.files.dir() == filepath.Dir(w.files.path) && target == ""
	if heard {
		in, err := w.f.SyscallConn()
		heard = err == nil && in.Control(func(fd uintptr) {
			for more := true; more; {
				more, _ = w.take(int(fd))
			}
		}) == nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !heard {
		w.came += unheard
	}
	return w.came
}

func (w *wake) close() {
	if w.f != nil {
		_ = w.f.Close()
		w.reader.Wait()
		w.f = nil
	}
}

// wait waits for a change, at most for a time. If nothing is told until then and deaf is set, it may be that nothing is told
// any more, so listening starts anew.
func (w *wake) wait(ctx context.Context, most time.Duration, deaf bool) {
	t := time.NewTimer(max(most, time.Millisecond))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-w.c:
	case <-t.C:
		if deaf { // the directory was made anew, the queue ran over
			w.close()
		}
	}
}
