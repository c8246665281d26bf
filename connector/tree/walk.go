package tree

import (
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
)

// walk goes through the tree, or through a part of it, in steps.
type walk struct {
	kind  Found
	in    func(*unix.Stat_t) bool // which files are taken
	whole bool                    // it covers the tree: a pass
	news  bool                    // directories that were not watched before are taken in full
	first bool                    // of its like: files of the window, whatever earlier passes saw
	again bool                    // what was given before is given once more

	began time.Time
	n     int      // the number of the pass
	stack []string // directories to go to, the next one last
	dir   *os.File // being read
	at    string
	all   bool     // its files are taken whatever their time
	subs  []string // its directories

	seen, unreadable, missed int64
}

// stepFiles is how many names one step reads.
const stepFiles = 512

func (w *walk) close() {
	if w.dir != nil {
		_ = w.dir.Close()
		w.dir = nil
	}
}

// step goes on with a walk, and reports whether that was its end.
func (s *session) step(w *walk) (end bool, err error) {
	if w.dir == nil {
		if len(w.stack) == 0 {
			return true, nil
		}
		last := len(w.stack) - 1
		at := w.stack[last]
		w.stack = w.stack[:last]
		return false, s.enter(w, at)
	}
	list, err := w.dir.ReadDir(stepFiles)
	for _, e := range list {
		s.meet(w, e)
	}
	if err == nil {
		return false, nil
	}
	w.close()
	if !errors.Is(err, io.EOF) {
		s.unread(w, w.at, err)
	}
	// The last by its name is gone to first: what is called after its date is the newest.
	slices.Sort(w.subs)
	w.stack = append(w.stack, w.subs...)
	w.subs = nil
	return false, nil
}

// enter opens a directory. It is watched before it is read: what comes in between is heard of.
func (s *session) enter(w *walk, at string) error {
	fd, err := openBelow(s.t.cfg.Root, s.root, at, unix.O_RDONLY)
	if err != nil {
		return s.shut(w, at, err)
	}
	f := os.NewFile(uintptr(fd), s.t.cfg.Root+"/"+at)
	var st unix.Stat_t
	err = retried(func() error { return unix.Fstat(fd, &st) })
	if err == nil && s.t.own.refuse != nil {
		err = s.t.own.refuse(at)
	}
	all := false
	if err == nil && s.watch != nil {
		all, err = s.hearOf(w, at, fd, uint64(st.Dev))
	}
	if err != nil {
		_ = f.Close()
		return s.shut(w, at, err)
	}
	w.dir, w.at, w.all = f, at, all
	s.readable(at)
	return nil
}

// hearOf watches a directory, and reports whether all its files are to be taken.
func (s *session) hearOf(w *walk, at string, fd int, dev uint64) (all bool, err error) {
	if up := s.watch.byPath[above(at)]; at != "" && up != nil && up.dev != dev {
		kind, err := s.t.silentAt(fd)
		if err != nil {
			return false, err
		}
		if kind != "" {
			return false, limitError{silentFault(s.t.cfg.Root+"/"+at, kind)}
		}
	}
	fresh, err := s.watch.add(at, fd, dev, s.passes)
	return w.news && fresh, err
}

func silentFault(dir, kind string) error {
	return fault.WithHint(fault.New(fault.Transient,
		"%s is on %s, which tells nothing of what other hosts do: the tree is polled", dir, kind),
		"watch a tree on a local disk to hear of files at once")
}

// shut takes a directory that can't be entered.
func (s *session) shut(w *walk, at string, err error) error {
	_, lost := errors.AsType[rootError](err)
	_, limit := errors.AsType[limitError](err)
	switch {
	case lost || limit:
		return err
	case errors.Is(err, errMoved):
		return nil
	case at == "":
		return rootError{rootFault(s.t.cfg.Root, err)}
	case vanished(err):
		if s.watch != nil {
			s.watch.drop(s.watch.byPath[at])
		}
		s.readable(at)
		return nil
	}
	s.unread(w, at, err)
	return nil
}

// readable takes that a directory could be read, or is gone.
func (s *session) readable(at string) {
	if !s.retry[at] {
		return
	}
	delete(s.retry, at)
	if len(s.retry) == 0 {
		s.update(func(st *Status) { st.Unreadable = nil })
	}
}

// unread takes a directory that could not be read; it is tried again.
func (s *session) unread(w *walk, at string, err error) {
	w.unreadable++
	if len(s.retry) < retryMost {
		if s.retry == nil {
			s.retry = map[string]bool{}
		}
		s.retry[at] = true
	}
	err = unreadable(s.t.cfg.Root+"/"+at, err)
	s.update(func(st *Status) { st.Unreadable = err })
}

// retryMost bounds the directories that are tried again by themselves; further ones wait for the next pass.
const retryMost = 10000

// meet takes a name of the directory that is read.
func (s *session) meet(w *walk, e os.DirEntry) {
	at := join(w.at, e.Name())
	if e.IsDir() {
		if !s.t.pick.ignored(at) {
			w.subs = append(w.subs, at)
		}
		return
	}
	if !e.Type().IsRegular() || !s.t.pick.wanted(at) {
		return
	}
	var st unix.Stat_t
	err := retried(func() error {
		return unix.Fstatat(int(w.dir.Fd()), path.Base(at), &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil && !vanished(err) {
		s.unread(w, w.at, err)
	}
	if err != nil || !regular(&st) {
		return
	}
	w.seen++
	if !w.all && !w.in(&st) || !w.again && s.seen.has(identify(at, &st)) {
		return
	}
	missed := s.unheard(w, &st)
	if s.files.offer(at, &st, w.kind, missed, s.long(&st), w.again) && missed {
		w.missed++
	}
}

// long reports whether a file has not changed for so long that it need not be looked at twice. Its clock may
// be another host's, or may have been set.
func (s *session) long(st *unix.Stat_t) bool {
	age := time.Since(time.Unix(0, changed(st)))
	return age >= s.t.own.long
}

// unheard reports whether a file that is not known should be, were the watch sound: it changed while there
// was one, long enough ago, and since what was given is remembered.
func (s *session) unheard(w *walk, st *unix.Stat_t) bool {
	if s.watch == nil || !w.whole || w.first || s.deafOK {
		return false
	}
	at := time.Unix(0, changed(st))
	margin := s.t.own.margin
	return at.After(s.heardFrom.Add(margin)) && at.After(s.seen.whole().Add(margin)) &&
		time.Since(at) > margin+s.t.cfg.Patience
}
