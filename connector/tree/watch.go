package tree

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
)

// changes are what a directory is watched for. Writing is among them, for a file may be written again without
// being opened again; attributes, for a time may be set behind the close.
const changes = unix.IN_CREATE | unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO |
	unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

// watch is one instance of inotify and the directories that it watches. But for its reader, one goroutine
// uses it.
type watch struct {
	dir    string // the root's path
	fd     int
	f      *os.File
	addTo  func(fd int, path string, mask uint32) (int, error)
	heard  chan []byte // whole events; closed when nothing more comes
	quit   chan struct{}
	reader sync.WaitGroup

	byWd   map[int32]*node
	byPath map[string]*node
}

// node is a directory that is watched.
type node struct {
	path  string
	wd    int32
	dev   uint64
	above *node
	below map[*node]struct{}
	pass  int // the last one that came by
}

func newWatch(dir string, o own) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, limitFault(dir, err)
	}
	w := &watch{dir: dir, fd: fd, f: os.NewFile(uintptr(fd), "inotify"), addTo: o.add,
		heard: make(chan []byte), quit: make(chan struct{}), byWd: map[int32]*node{}, byPath: map[string]*node{}}
	if w.addTo == nil {
		w.addTo = unix.InotifyAddWatch
	}
	w.reader.Go(func() { w.listen(o.heard) })
	return w, nil
}

// limitError is a limit of inotify.
type limitError struct{ error }

func (e limitError) Unwrap() error { return e.error }

func limitFault(dir string, err error) error {
	limit := func(sysctl string) error {
		return limitError{fault.WithHint(fault.New(fault.Full, "watch %s: %w", dir, err),
			"it is polled meanwhile; raise %s by sysctl", sysctl)}
	}
	switch {
	case errors.Is(err, unix.ENOSPC):
		return limit("fs.inotify.max_user_watches")
	case errors.Is(err, unix.EMFILE):
		return limit("fs.inotify.max_user_instances (or the limit of open files)")
	}
	return limitError{fault.New(fault.Transient, "watch %s: %w", dir, err)}
}

// listen reads until the watch is closed. While nobody takes what it read, the kernel keeps what comes.
func (w *watch) listen(heard func([]byte) []byte) {
	defer close(w.heard)
	buf := make([]byte, 64<<10)
	for {
		n, err := w.f.Read(buf)
		if err != nil {
			return
		}
		b := bytes.Clone(buf[:n])
		if heard != nil {
			if b = heard(b); len(b) == 0 {
				continue
			}
		}
		select {
		case w.heard <- b:
		case <-w.quit:
			return
		}
	}
}

func (w *watch) close() {
	close(w.quit)
	_ = w.f.Close()
	w.reader.Wait()
}

var errMoved = errors.New("the directory above is not watched")

// add watches an open directory, and reports whether it was not watched before.
func (w *watch) add(path string, fd int, dev uint64, pass int) (fresh bool, err error) {
	wd, err := w.kernelAdd(path, fd)
	if err != nil {
		return false, err
	}
	n := w.byPath[path]
	if n != nil && n.wd == wd {
		n.pass = pass
		return false, nil
	}
	w.drop(n)
	// One that is watched already under another path was moved, and we have not heard of it yet.
	if was := w.byWd[wd]; was != nil {
		w.detach(was)
	}
	up := w.byPath[above(path)]
	if path != "" && up == nil {
		w.unwatch(wd)
		return false, errMoved
	}
	n = &node{path: path, wd: wd, dev: dev, above: up, pass: pass}
	w.byWd[wd], w.byPath[path] = n, n
	if up != nil {
		if up.below == nil {
			up.below = map[*node]struct{}{}
		}
		up.below[n] = struct{}{}
	}
	return true, nil
}

// kernelAdd watches the very directory that is open, whatever stands at its path by now.
func (w *watch) kernelAdd(path string, fd int) (int32, error) {
	wd, err := w.addTo(w.fd, fmt.Sprintf("/proc/self/fd/%d", fd), changes)
	if errors.Is(err, unix.ENOENT) { // there is no /proc
		wd, err = w.addTo(w.fd, w.dir+"/"+path, changes|unix.IN_DONT_FOLLOW)
	}
	switch {
	case err == nil:
		return int32(wd), nil
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.ENOMEM):
		return 0, limitFault(w.dir, err)
	}
	return 0, err
}

// drop ends the watching of a directory and all below.
func (w *watch) drop(n *node) {
	if n == nil {
		return
	}
	w.detach(n)
	w.unwatch(n.wd)
}

// detach forgets a directory, and drops all below.
func (w *watch) detach(n *node) {
	for b := range n.below {
		w.drop(b)
	}
	if n.above != nil {
		delete(n.above.below, n)
	}
	delete(w.byWd, n.wd)
	delete(w.byPath, n.path)
}

// unwatch is no error if the kernel did it already: the directory is gone.
func (w *watch) unwatch(wd int32) { _, _ = unix.InotifyRmWatch(w.fd, uint32(wd)) }

// prune drops what a pass over the whole tree did not find.
func (w *watch) prune(pass int) {
	for _, n := range w.byPath {
		if n.pass < pass && w.byPath[n.path] == n {
			w.drop(n)
		}
	}
}
