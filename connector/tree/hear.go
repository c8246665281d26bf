package tree

import (
	"golang.org/x/sys/unix"

	"holdfast/base/fault"
)

// event takes one of inotify.
func (s *session) event(e event) {
	if e.mask&unix.IN_Q_OVERFLOW != 0 {
		s.lost("if it happens often raise fs.inotify.max_queued_events by sysctl",
			"the kernel's queue of events ran over; the tree is scanned")
		return
	}
	n := s.watch.byWd[e.wd]
	if n == nil {
		return // of a directory that is not watched any more
	}
	at := join(n.path, e.name)
	switch {
	case e.mask&(unix.IN_IGNORED|unix.IN_UNMOUNT|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF) != 0:
		s.self(n, e.mask)
	case e.name == "":
	case e.mask&unix.IN_ISDIR != 0:
		s.directory(at, e.mask)
	case !s.t.pick.wanted(at):
	case e.mask&(unix.IN_DELETE|unix.IN_MOVED_FROM) != 0: // the next look finds nothing
	case e.mask&unix.IN_MOVED_TO != 0:
		s.touch(at, wasMoved)
	case e.mask&unix.IN_CLOSE_WRITE != 0:
		s.touch(at, wasClosed)
	default:
		s.touch(at, wasTouched)
	}
}

// self takes what happened to a directory that is watched, as against what is in it.
func (s *session) self(n *node, mask uint32) {
	if n.path == "" {
		s.broken = rootError{s.t.away("the directory was removed, moved or unmounted")}
		return
	}
	if mask&unix.IN_IGNORED != 0 {
		// It is gone, with its file system perhaps; another may stand at its place.
		s.watch.detach(n)
		s.arrived(n.path, false)
	}
}

// directory takes an event of a directory in one that is watched.
func (s *session) directory(at string, mask uint32) {
	if s.t.pick.ignored(at) {
		return
	}
	n := s.watch.byPath[at]
	switch {
	case mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0:
		s.watch.drop(n)
		s.arrived(at, mask&unix.IN_MOVED_TO != 0)
	case mask&(unix.IN_MOVED_FROM|unix.IN_DELETE) != 0:
		s.watch.drop(n)
	case mask&unix.IN_ATTRIB != 0 && n == nil:
		s.arrived(at, false) // it may be readable now
	}
}

// arrived takes a directory that is new at its path: all that is in it is, and if it was moved there all that was given of
// it before may have been away.
func (s *session) arrived(at string, moved bool) {
	s.part(&walk{kind: ByWatch, in: anything, again: moved}, at)
}

func (s *session) touch(at string, what happened) {
	if !s.files.touch(at, what) {
		s.lost("nothing is missed; the receiver is slower than the files come",
			"more than %d files wait to be taken; the tree is scanned when there is room", s.files.limit)
	}
}

// lost takes that events were lost.
func (s *session) lost(hint, format string, args ...any) {
	s.deafOK = true
	if s.behind {
		return
	}
	s.behind = true
	err := fault.WithHint(s.t.away(format, args...), "%s", hint)
	s.update(func(st *Status) { st.Overflows++; st.Overflow = err })
}

func anything(*unix.Stat_t) bool { return true }
