package tree

import (
	"context"
	"errors"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// giver looks at the files of a table when they are due, and gives those that stand finished.
type giver struct {
	t     *Tree
	files *table
	seen  *recent
	give  Give
	ends  bool // with the table; files that stay unfinished are left

	given, left int64
}

func (g *giver) run(ctx context.Context) error {
	for ctx.Err() == nil {
		es, wait, r := g.files.take(g.t.own.batch)
		if len(es) > 0 {
			if err := g.batch(ctx, es, r); err != nil {
				return err
			}
			continue
		}
		if g.ends && g.files.over() {
			return nil
		}
		if wait < 0 {
			wait = time.Hour // until the table wakes us
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-g.files.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
	return ctx.Err()
}

// batch gives the finished ones of what was taken. An event that comes from now on makes a new entry, so
// whatever changes behind our look is looked at again.
func (g *giver) batch(ctx context.Context, es []*entry, r root) error {
	files, missed, err := g.finished(ctx, es, r)
	if err != nil || len(files) == 0 {
		return err
	}
	if err := g.give(ctx, files); err != nil {
		return err
	}
	var scanned, incomplete int64
	for _, f := range files {
		g.seen.add(f.Identity)
		if f.Found != ByWatch && f.Found != ByPoll {
			scanned++
		}
		if f.Incomplete {
			incomplete++
		}
	}
	g.given += int64(len(files))
	if g.ends {
		return nil
	}
	g.t.update(func(s *Status) {
		s.ByWatch += int64(len(files)) - scanned
		s.ByScan += scanned
		s.Missed += missed
		s.Incomplete += incomplete
	})
	return nil
}

// finished are the files of entries that stand finished, and how many of them the watch missed.
func (g *giver) finished(ctx context.Context, es []*entry, r root) (files []File, missed int64, err error) {
	d := lookout{dir: g.t.cfg.Root, root: r}
	defer d.close()
	for _, e := range es {
		if ctx.Err() != nil {
			return nil, 0, ctx.Err()
		}
		f, is := g.judge(&d, e)
		if !is {
			continue
		}
		files = append(files, f)
		if e.missed {
			missed++
		}
	}
	if g.ends && d.lost != nil {
		return nil, 0, d.lost
	}
	return files, missed, nil
}

// judge returns the file of an entry if it stands finished. What is to be looked at later goes back to the
// table.
func (g *giver) judge(d *lookout, e *entry) (File, bool) {
	st, err := d.stat(e.path)
	now := time.Now()
	switch {
	case d.lost != nil:
		g.later(e, now.Add(time.Second)) // nobody knows what is there
		return File{}, false
	case err != nil && vanished(err):
		return File{}, false
	case err != nil:
		g.later(e, now.Add(min(max(time.Second, now.Sub(e.first)/4), 30*time.Second)))
		return File{}, false
	case !regular(&st):
		return File{}, false
	}
	id := identify(e.path, &st)
	if !e.again && g.seen.has(id) {
		return File{}, false
	}
	if !e.looked || e.id != id {
		e.looked, e.id, e.since, e.sure = true, id, now, false
	}
	quiet := now.Sub(e.since)
	if !e.closed && !e.moved && !e.sure && quiet < g.t.cfg.Patience {
		if g.ends && now.Sub(e.first) > g.t.cfg.Overdue {
			g.left++
			return File{}, false
		}
		g.later(e, e.since.Add(g.t.cfg.Patience))
		return File{}, false
	}
	f := File{Identity: id, Found: e.found}
	e.part = !e.moved && !g.complete(e.path)
	if e.part {
		left := g.t.cfg.Overdue - quiet
		if now.Sub(time.Unix(0, id.Mtime)) >= g.t.cfg.Overdue { // it has been so for long, though nobody looked
			left = g.t.cfg.Patience - quiet
		}
		if left > 0 {
			wait := max(g.t.cfg.Patience, min(quiet/4, 30*time.Second))
			g.later(e, now.Add(min(wait, left)))
			return File{}, false
		}
		f.Incomplete = true
	}
	return f, true
}

func (g *giver) later(e *entry, due time.Time) {
	e.due = due
	g.files.back(e)
}

// complete asks the hook. One that can't tell says no: the file is asked about again, and given when it is
// overdue.
func (g *giver) complete(at string) bool {
	if g.t.cfg.Complete == nil {
		return true
	}
	ok, err := g.t.cfg.Complete(g.t.cfg.Root + "/" + at)
	return ok && err == nil
}

// lookout looks at files, of one directory after the other; it is closed before any wait, because an open
// directory keeps a file system from being unmounted.
type lookout struct {
	dir  string
	root root

	fd   int
	at   string
	open bool
	err  error // of opening at
	any  bool  // at and err mean something
	lost error // the root is away, or another
}

func (d *lookout) stat(at string) (st unix.Stat_t, err error) {
	dir := above(at)
	if !d.any || d.at != dir {
		d.close()
		d.fd, d.err = openBelow(d.dir, d.root, dir, unix.O_PATH)
		d.at, d.any, d.open = dir, true, d.err == nil
	}
	if lost, is := errors.AsType[rootError](d.err); is {
		d.lost = lost
	}
	if d.err != nil {
		return st, d.err
	}
	err = retried(func() error { return unix.Fstatat(d.fd, path.Base(at), &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, err
}

func (d *lookout) close() {
	if d.open {
		_ = unix.Close(d.fd)
	}
	d.open, d.any = false, false
}

// above is the directory of a path below the root, "" for the root.
func above(at string) string {
	if i := strings.LastIndexByte(at, '/'); i >= 0 {
		return at[:i]
	}
	return ""
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
