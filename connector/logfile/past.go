package logfile

import (
	"context"
	"fmt"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/base/lines"
	"holdfast/connector"
)

// Past tells the lines of the files that changed after a time, the oldest file first, as connector.Historian says. Only a line
// itself knows when it was written, if it does: the Time of an event is zero.
func (f *File) Past(ctx context.Context, since time.Time, tell func(context.Context, connector.Seen) error) error {
	files := f.cfg.files()
	all, err := steady(files.list)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return fault.New(fault.NotFound, "%s is not there, and no file that it was rotated to", f.cfg.Path)
	}
	p := &past{cfg: f.cfg, tell: tell}
	if f.cfg.Join != nil {
		p.join = lines.NewJoiner[lines.Line](*f.cfg.Join.Rule())
	}
	for _, e := range all {
		if e.mod.Before(since) {
			continue
		}
		s, err := files.open(e)
		if s == nil && err == nil {
			err = fault.New(fault.Corrupt, "unpack %s: it is no whole gzip file", e.path)
		}
		if err != nil {
			return err
		}
		err = p.file(ctx, s)
		s.f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// past reads files from beginning to end.
type past struct {
	cfg  Config
	tell func(context.Context, connector.Seen) error
	join *lines.Joiner[lines.Line]
	path string
	seen connector.Seen
}

func (p *past) file(ctx context.Context, s *source) error {
	p.path = s.path
	split, buf := lines.NewSplitter(p.cfg.MaxLine, 0), make([]byte, chunkBytes)
	for {
		n, err := s.read(buf, split.Read())
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		split.Push(buf[:n])
		for l, ok := split.Next(); ok; l, ok = split.Next() {
			p.line(l)
		}
		if err := p.flush(ctx); err != nil {
			return err
		}
	}
	if l, ok := split.Rest(); ok && strings.Trim(string(l.Text), "\x00") != "" {
		p.line(l)
	}
	if p.join != nil {
		p.join.Flush(p.text)
	}
	return p.flush(ctx)
}

func (p *past) line(l lines.Line) {
	if p.join == nil {
		p.event(l.Text, l.Cut, l.Begin)
		return
	}
	first := l
	first.Text = nil
	p.join.Add("", first, l.Text, l.Cut, time.Time{}, p.text)
}

func (p *past) text(t lines.Text[lines.Line]) { p.event(t.Text, t.Cut, t.First.Begin) }

// event copies a line, which is valid only until the next one, so that it can be told later.
func (p *past) event(text []byte, cut bool, begin int64) {
	p.seen.Events = append(p.seen.Events, connector.Event{Kind: connector.EventLine, ID: fmt.Sprintf("%s:%d", p.path, begin),
		Line: append([]byte(nil), text...), Cut: cut, Fields: map[string]string{"_PATH": p.cfg.Path}})
}

func (p *past) flush(ctx context.Context) error {
	if len(p.seen.Events) == 0 {
		return ctx.Err()
	}
	err := p.tell(ctx, p.seen)
	p.seen.Events = nil
	return err
}
