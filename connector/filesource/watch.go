package filesource

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
)

// watch is told of changes in a directory. It may go deaf (a network file system, a queue that ran
// over), so whoever waits is woken at every look too.
type watch struct {
	dir  string
	look time.Duration

	f      *os.File // of inotify; nil while nothing is watched
	reader sync.WaitGroup
	wake   chan struct{}

	mu     sync.Mutex      // guards what follows
	closed map[string]bool // names whose writer closed them, or that were moved in
	dead   bool            // the directory is gone
}

// ready starts to watch unless that is done already.
func (w *watch) ready() error {
	w.mu.Lock()
	dead := w.dead
	w.mu.Unlock()
	if w.f != nil && !dead {
		return nil
	}
	_ = w.Close()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fault.New(fault.Transient, "watch %s: %w", w.dir, err)
	}
	const changes = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO |
		unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	if _, err := unix.InotifyAddWatch(fd, w.dir, changes); err != nil {
		_ = unix.Close(fd)
		return unwatched(w.dir, err)
	}
	w.f = os.NewFile(uintptr(fd), "inotify")
	w.wake = make(chan struct{}, 1)
	w.dead, w.closed = false, map[string]bool{}
	w.reader.Go(w.read)
	return nil
}

func unwatched(dir string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault.WithHint(fault.New(fault.Transient, "watch %s: %w", dir, err), "create the directory")
	case errors.Is(err, fs.ErrPermission):
		return fault.WithHint(fault.New(fault.Permanent, "watch %s: %w", dir, err),
			"the source needs to read the directory; change its owner or mode")
	case errors.Is(err, unix.ENOSPC):
		return fault.WithHint(fault.New(fault.Permanent, "watch %s: %w", dir, err),
			"raise fs.inotify.max_user_watches by sysctl")
	}
	return fault.New(fault.Transient, "watch %s: %w", dir, err)
}

// read takes events until Close.
func (w *watch) read() {
	buf := make([]byte, 64<<10)
	for {
		n, err := w.f.Read(buf)
		if err != nil {
			return
		}
		w.mu.Lock()
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			mask, size := binary.NativeEndian.Uint32(b[4:]), int(binary.NativeEndian.Uint32(b[12:]))
			name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+size]), "\x00")
			b = b[unix.SizeofInotifyEvent+size:]
			switch {
			case mask&(unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO) != 0:
				w.closed[name] = true
			case mask&(unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_FROM|unix.IN_DELETE) != 0:
				delete(w.closed, name)
			case mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_IGNORED) != 0:
				w.dead = true
			}
		}
		w.mu.Unlock()
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// wasClosed reports whether the writer of a file is known to be done with it.
func (w *watch) wasClosed(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed[name]
}

// wait returns after a change, at the next look, or after at most the time given (0 for none).
func (w *watch) wait(ctx context.Context, most time.Duration) error {
	if most <= 0 || most > w.look {
		most = w.look
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-w.wake:
	case <-timer.C:
	}
	return nil
}

// Close stops watching.
func (w *watch) Close() error {
	if w.f == nil {
		return nil
	}
	err := w.f.Close()
	w.reader.Wait()
	w.f = nil
	return err
}
