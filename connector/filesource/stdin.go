package filesource

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
	"holdfast/connector"
)

// Stdin reads rows from standard input, or another file that can't be read twice.
type Stdin struct {
	Source
	in   *input
	life string // tells cursors of this process from others
	sp   *splitter
	h    header
	kept []keptPage // the last two, for a job that asks for one again
}

type keptPage struct {
	from string
	page connector.Page
}

var _ connector.Source = (*Stdin)(nil)

// OpenStdin returns the source of standard input.
func OpenStdin(c StdinConfig, in *os.File) (*Stdin, error) {
	s, err := open(c.config(), c.Validate())
	if err != nil {
		return nil, err
	}
	o := &Stdin{Source: s, in: &input{f: in}, life: time.Now().Format(time.RFC3339Nano)}
	o.sp = o.split(o.in, position{})
	return o, nil
}

// Fetch waits for lines. At the end of the input the page says that there will be no more. A cursor of an
// earlier process goes on here: there is no way back to what that process had.
func (s *Stdin) Fetch(ctx context.Context, r connector.Request) (connector.Page, error) {
	for _, k := range s.kept {
		if k.from == string(r.Cursor) {
			return k.page, nil
		}
	}
	const where = "standard input"
	rows := s.table.Begin(ctx)
	s.in.ctx = ctx
	end := false
	for rows.Items == 0 && !end {
		s.in.wait = true
		_, drained, err := s.fill(rows, &s.h, s.sp, where)
		if end = err == nil && drained && s.in.ended; end {
			err = s.finish(rows, &s.h, s.sp, where)
		}
		if rows.Items == 0 && err != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return connector.Page{}, err
		}
	}
	at := position{Version: cursorVersion, Offset: s.sp.at, Line: s.sp.no, File: s.life}
	p, err := page(rows, at.bytes(), nil)
	p.End = end
	s.kept = append(s.kept, keptPage{string(r.Cursor), p})
	s.kept = s.kept[max(0, len(s.kept)-2):]
	return p, err
}

// Close leaves standard input open: it is not ours.
func (s *Stdin) Close() error { return nil }

// input reads what is there, and waits only for the first of it.
type input struct {
	f     *os.File
	ctx   context.Context // of the Fetch that reads
	wait  bool
	ended bool
}

// Read reads once. Nothing read and no error means that there is nothing now.
func (i *input) Read(p []byte) (int, error) {
	if i.ended {
		return 0, io.EOF
	}
	if some, err := i.readable(); err != nil || !some {
		return 0, err
	}
	n, err := i.f.Read(p)
	i.wait = i.wait && n == 0
	i.ended = errors.Is(err, io.EOF)
	return n, err
}

// readable reports whether a read would not wait. A file that is read can't be made to give up by a
// context, so the wait is in poll, beside a pipe that the context closes.
func (i *input) readable() (bool, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return false, fault.New(fault.Transient, "wait for standard input: %w", err)
	}
	defer r.Close()
	stop := context.AfterFunc(i.ctx, func() { _ = w.Close() })
	defer func() {
		if stop() {
			_ = w.Close()
		}
	}()
	most := 0
	if i.wait {
		most = -1
	}
	fds := []unix.PollFd{{Fd: int32(i.f.Fd()), Events: unix.POLLIN}, {Fd: int32(r.Fd()), Events: unix.POLLIN}}
	for {
		if _, err = unix.Poll(fds, most); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if i.ctx.Err() != nil {
		return false, i.ctx.Err()
	}
	return fds[0].Revents != 0, err
}
