package logfile

import (
	"time"

	"holdfast/base/lines"
	"holdfast/connector"
)

// lateFor is how long a file is looked at that was read to its end and left: its writer may write to it still.
const lateFor = time.Minute

// late is the file that was left last.
type late struct {
	f     *source
	left  left // as the place has it
	sp    *lines.Splitter
	until time.Time
}

// trail goes on looking at a file that was left, and no more at the one before.
func (w *follower) trail(s *source, l left) {
	w.letGo()
	w.late = &late{s, l, lines.NewSplitter(w.cfg.MaxLine, l.Offset), time.Now().Add(lateFor)}
}

// letGo tells what the file that was left has without an end, and closes it.
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

// lateLines tells what has come to the file that was left. It reports whether there may be more.
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
