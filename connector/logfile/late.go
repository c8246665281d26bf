package logfile

import (
	"time"

	"holdfast/base/lines"
	"holdfast/connector"
)

// lateFor is how long a file is still looked at after it was read to its end and left, because its writer may write more to
// it.
const lateFor = time.Minute

// late is the file that was left last.
type late struct {
	f     *source
	left  left // as the place has it
	sp    *lines.Splitter
	until time.Time
}

// trail keeps looking at a file that was left, and gives up the one that was left before it.
func (w *follower) trail(s *source, l left) {
	w.letGo()
	w.late = &late{s, l, lines.NewSplitter(w.cfg.MaxLine, l.Offset), time.Now().Add(lateFor)}
}

// letGo tells the last line of the file that was left, which has no end, and closes the file.
func (w *follower) letGo() {
	if w.late == nil {
		return
	}
	if l, ok := w.late.sp.Rest(); ok {
		l.Text = append([]byte(nil), l.Text...)
		w.lateLine(l)
	}
	w.late.f.f.Close()
	w.late = nil
}

// lateLines tells the lines that have come to the file that was left. It reports whether there may be more.
func (w *follower) lateLines() (bool, error) {
	p := w.late
	if p == nil {
		return false, nil
	}
	if time.Now().After(p.until) {
		w.letGo()
		return true, nil
	}
	if err := p.f.look(); err != nil || !p.f.packed && p.f.size <= p.sp.Read() {
		return false, err
	}
	n, err := p.f.read(w.buf, p.sp.Read())
	if err != nil || n == 0 {
		return false, err
	}
	w.when.read(p.f, time.Now())
	p.sp.Push(w.buf[:n])
	for l, ok := p.sp.Next(); ok; l, ok = p.sp.Next() {
		w.lateLine(l)
	}
	return true, nil
}

func (w *follower) lateLine(l lines.Line) {
	p := w.late
	w.events = append(w.events, connector.Event{Kind: connector.EventLine, Time: w.when.of(l.Text), ID: id(p.left.Life, l.Begin),
		Line: l.Text, Cut: l.Cut, Fields: w.fields})
	for i, k := range w.at.Left {
		if k.Life == p.left.Life {
			w.at.Left[i].Offset = l.End
			w.at.Left[i].Tail = ""
			if head, err := p.f.at(0, int(min(l.End, headBytes))); err == nil {
				w.at.Left[i].Head = hash(head)
			}
		}
	}
}

// relocate looks for the file that was left last.
func (w *follower) relocate() error {
	if len(w.at.Left) == 0 {
		return nil
	}
	last := w.at.Left[len(w.at.Left)-1]
	if last.Life == "" || last.Offset == 0 {
		return nil // it can't be told from others
	}
	s, err := w.files.same(last.known)
	if s != nil {
		w.trail(s, last)
	}
	return err
}
