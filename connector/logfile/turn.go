package logfile

import (
	"bytes"
	"errors"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
)

// locate finds where to begin: the file of the position, the one behind it, or where the configuration says.
func (w *follower) locate() error {
	if w.at == nil {
		return w.first()
	}
	if err := w.relocate(); err != nil {
		return err
	}
	if w.at.Offset == 0 {
		any, err := w.files.untouched(w.at)
		w.at.Any = w.at.Any || any
		w.at.forget()
		return err // the next step finds what has come
	}
	s, err := w.files.find(w.at)
	if err != nil {
		return err
	}
	if s != nil {
		w.at.identity = s.identity
		return w.begin(s)
	}
	w.lost(w.at.Offset, w.cfg.Path+": what stood behind byte "+itoa(w.at.Offset)+
		" can't be read any more: the file was removed or truncated while nobody watched, and there is no copy")
	w.at.leave()
	return nil
}

// first begins without a position.
func (w *follower) first() error {
	w.at = &place{Version: placeVersion, Mod: time.Now().Add(-clockTick).UnixNano(), Any: true}
	now, after, err := since(w.cfg.Since)
	if err != nil {
		return fault.As(fault.Permanent, err)
	}
	if !now {
		w.at.Mod = after.UnixNano()
		return nil
	}
	s, err := open(w.cfg.Path)
	switch {
	case fault.Is(err, fault.NotFound):
		return nil // what comes is told from its beginning
	case err != nil:
		return err
	}
	w.at.begin(s)
	offset, err := lastLine(s)
	if err != nil {
		s.f.Close()
		return err
	}
	w.at.Offset = offset
	head, err := s.at(0, int(min(offset, headBytes)))
	w.at.Begin, w.at.Head = head, hash(head)
	if err != nil {
		s.f.Close()
		return err
	}
	return w.begin(s)
}

// lastLine returns where the last line begins, which has no end yet.
func lastLine(s *source) (int64, error) {
	n := min(s.size, 64<<10)
	tail, err := s.at(s.size-n, int(n))
	if err != nil {
		return 0, err
	}
	if i := bytes.LastIndexByte(tail, '\n'); i >= 0 {
		return s.size - n + int64(i) + 1, nil
	}
	return s.size - n, nil
}

// enterNext begins the file behind the place, if it is there.
func (w *follower) enterNext() (bool, error) {
	e, err := w.files.next(w.at)
	if err != nil || e.path == "" {
		return false, err
	}
	return w.enter(e)
}

func (w *follower) enter(e next) (bool, error) {
	s, err := open(e.path)
	switch {
	case fault.Is(err, fault.NotFound):
		return true, nil // it was renamed just now
	case fault.Is(err, fault.Corrupt):
		w.at.Lives++
		w.at.Life = life(e.identity, w.at.Lives)
		w.lost(0, err.Error())
		w.at.Life = ""
		w.at.Left = append(w.at.Left, left{known: known{identity: e.identity}})
		w.at.Mod = e.mod.UnixNano() + 1
		return true, nil
	case err != nil:
		return false, err
	case s.identity != e.identity:
		s.f.Close()
		return true, nil
	}
	w.at.begin(s)
	// If rotated files are not kept, the next file is the only one that has come to the path since the last was seen there.
	if !e.sure && (e.path != w.cfg.Path || w.wake.arrived() > w.came+1) {
		w.lost(0, w.cfg.Path+": the file before this one was removed, and others behind it may have been too, unread")
		w.at.Any = false
	}
	if err := w.begin(s); err != nil {
		return false, err
	}
	return true, nil
}

// atEnd decides what follows the end of a file, which was seen at a time. It reports whether there is more to read.
func (w *follower) atEnd(seen time.Time) (bool, error) {
	if w.f.final {
		return true, w.leave()
	}
	came := w.wake.arrived()
	info, err := stat(unix.AT_FDCWD, w.cfg.Path)
	if err == nil && info.identity == w.f.identity {
		w.there, w.gone, w.came = true, false, came
		w.when.end(w.f, seen)
		return false, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, unreadable(w.cfg.Path, err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		// It may still grow until another is there.
		if e, err := w.files.next(w.at); err != nil || e.path == "" {
			return false, err
		}
	}
	if !w.gone {
		w.gone = true
		if w.there {
			w.grown = time.Now()
		}
		if err := w.learn(w.f.identity); err != nil {
			return false, err
		}
	}
	if time.Since(w.grown) < w.cfg.Settle { // its writer may not know of the rotation yet
		if e, err := w.files.next(w.at); err != nil || e.path == "" || e.path == w.cfg.Path {
			return false, err
		}
		// Another one was rotated behind it: a backlog is read without a pause, and what still comes to this one is trailed.
	}
	return true, w.leave()
}

// ends tells a line that has no end and will get none any more.
func (w *follower) ends() {
	if l, ok := w.sp.Rest(); ok {
		l.Text = bytes.Clone(l.Text)
		w.line(l)
	}
	if w.join != nil {
		w.join.Flush(w.text)
	}
}

// leave goes on to the file that follows this one, which is at its end. If another file has taken its place at the path, that
// may have more.
func (w *follower) leave() error {
	s, err := w.files.moved(w.at)
	if err != nil {
		return err
	}
	if s != nil {
		w.at.identity = s.identity
		return w.begin(s)
	}
	w.ends()
	if err := w.stand(); err != nil {
		return err
	}
	w.at.Mod = w.f.mod.UnixNano()
	e, err := w.files.next(w.at)
	if err != nil {
		return err
	}
	old := w.f
	w.f, w.gone = nil, false
	w.at.leave()
	if old.final {
		old.f.Close()
	} else {
		w.trail(old, w.at.Left[len(w.at.Left)-1])
	}
	if e.path != "" {
		_, err = w.enter(e)
	}
	return err
}

// truncated goes on where the file was cut short. What it had is in a copy, if there is one.
func (w *follower) truncated() error {
	w.note("%s was truncated", w.cfg.Path)
	// A line of which only the beginning was read is whole in the copy.
	s, err := w.files.copyOf(w.at)
	if err != nil {
		return err
	}
	if s != nil {
		if err := w.learn(s.identity); err != nil {
			s.f.Close()
			return err
		}
		w.at.identity = s.identity
		return w.begin(s)
	}
	whole, err := w.whole()
	if err != nil {
		return err
	}
	if read := w.sp.Read(); !whole {
		w.ends()
		w.lost(read, w.cfg.Path+": what was written behind byte "+itoa(read)+
			" before the file was truncated can't be read any more, if there was anything")
	}
	w.f.f.Close()
	w.f = nil
	w.at.forget()
	return nil
}

// whole reports whether nothing was told of the file that was truncated, and its copy is there and will be read from its
// beginning.
func (w *follower) whole() (bool, error) {
	if w.at.Offset > 0 {
		return false, nil
	}
	return w.files.passed(w.at)
}

// clockTick is more than the times of files may lag behind the clock.
const clockTick = 20 * time.Millisecond
