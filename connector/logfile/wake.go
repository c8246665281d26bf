package logfile

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// wake is told by the kernel of changes in the directory of a file.
type wake struct {
	f      *os.File // of inotify; nil while nothing is watched
	reader sync.WaitGroup
	c      chan struct{}
}

// ready begins to be told, unless that is so already. Where it can't be, looking now and then has to do.
func (w *wake) ready(path string) {
	if w.f != nil {
		return
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return
	}
	const changes = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_ATTRIB |
		unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(path), changes); err != nil {
		_ = unix.Close(fd)
		return
	}
	// A link's target may stand elsewhere. Where it does not exist, or is the same directory, nothing is lost.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		_, _ = unix.InotifyAddWatch(fd, filepath.Dir(real), changes)
	}
	w.f = os.NewFile(uintptr(fd), "inotify")
	w.c = make(chan struct{}, 1)
	w.reader.Go(w.read)
}

// read takes what is told until close. What it is does not matter: whoever is woken looks.
func (w *wake) read() {
	buf := make([]byte, 16<<10)
	for {
		if _, err := w.f.Read(buf); err != nil {
			return
		}
		select {
		case w.c <- struct{}{}:
		default:
		}
	}
}

func (w *wake) close() {
	if w.f != nil {
		_ = w.f.Close()
		w.reader.Wait()
		w.f = nil
	}
}

// wait waits for a change, at most for a time.
func (w *wake) wait(ctx context.Context, most time.Duration) {
	t := time.NewTimer(max(most, time.Millisecond))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-w.c:
	case <-t.C:
		// It may be deaf: the directory was made anew, the queue ran over.
		w.close()
	}
}
