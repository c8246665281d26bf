package web

import (
	"container/list"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

const (
	// bufferSize is what one read may bring, in bytes: two records of TLS.
	bufferSize = 32 << 10
	// idleReads is how often a connection may give nothing and no error.
	idleReads = 100
)

// Why an answer ended before it was whole, or did not begin.
var (
	errTime     = errors.New("it took too long")
	errLong     = errors.New("it is longer than what is taken")
	errForm     = errors.New("it is not in the form of HTTP")
	errGone     = errors.New("the connection that was kept is gone")
	errOnlyOne  = errors.New("the server wants HTTP/1.1")
	errUnwanted = errors.New("its body is not wanted")
)

// wire is a connection to a server. One exchange at a time has it.
type wire struct {
	conn   net.Conn        // as the exchange sees it: below may be TLS
	socket *net.TCPConn    // the connection itself
	raw    syscall.RawConn // of the socket
	origin string          // whose server it leads to
	remote netip.AddrPort
	frames *frames // of HTTP/2, nil for HTTP/1.1
	used   bool    // an exchange went over it

	*room       // nil while it is idle
	r, w  int   // what came and was not taken yet is buf[r:w]
	err   error // of the last read, told after what it brought
	clock clock

	// Of the pool.
	until time.Time     // when it is given up
	next  *wire         // of the same origin, used before
	byUse *list.Element // its place among all of the pool
}

// room is the memory of an exchange.
type room struct {
	buf     []byte
	scratch []byte
}

var rooms = sync.Pool{New: func() any { return &room{buf: make([]byte, bufferSize)} }}

// begin readies w for an exchange.
func (w *wire) begin(c clock) {
	w.clock = c
	if w.room == nil {
		w.room = rooms.Get().(*room)
	}
	_ = w.conn.SetWriteDeadline(c.end)
}

// rest gives up what an idle connection needs no longer. Frames of HTTP/2 may have come already that are not of an exchange.
func (w *wire) rest() {
	if w.buffered() == nil {
		w.free()
	}
	w.clock = clock{}
	_ = w.conn.SetDeadline(time.Time{})
}

func (w *wire) free() {
	if w.room != nil && cap(w.scratch) <= 2*bufferSize { // one long head is no reason to hold so much for ever
		rooms.Put(w.room)
	}
	w.room, w.r, w.w = nil, 0, 0
}

// drop closes the connection. TLS is not told: its goodbye might wait for a peer that does not read.
func (w *wire) drop() {
	_ = w.socket.Close()
	w.free()
}

// interrupt ends a read or write that is under way, and all that follow.
func (w *wire) interrupt() { _ = w.conn.SetDeadline(time.Unix(1, 0)) }

// stale reports whether a connection that was kept is of no use: its end has come, or something that nobody asked for, which
// could only be mistaken for an answer. HTTP/2 has frames that may come at any time.
func (w *wire) stale() bool {
	n, err := 0, error(nil)
	if rerr := w.raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, err = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return true
	}); rerr != nil {
		return true
	}
	if w.frames != nil && err == nil && n > 0 {
		return false
	}
	return !errors.Is(err, unix.EAGAIN)
}

// write sends b.
func (w *wire) write(b []byte) error {
	if err := w.clock.ctx.Err(); err != nil {
		return err
	}
	_, err := w.conn.Write(b)
	return w.told(err)
}

// told is an error of the connection as this package knows it.
func (w *wire) told(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if cause := w.clock.ctx.Err(); cause != nil {
		return cause
	}
	return errTime
}

// none reports whether nothing of an answer came.
func (w *wire) none() bool { return w.clock.got == 0 }

// buffered is what came and was not taken yet, nil if nothing.
func (w *wire) buffered() []byte {
	if w.r == w.w {
		return nil
	}
	return w.buf[w.r:w.w]
}

// more waits for bytes; all that came before are taken.
func (w *wire) more() error {
	if w.err != nil {
		return w.err
	}
	w.r, w.w = 0, 0
	for range idleReads {
		// The deadline first, then the context: whichever ends while this goes on is seen.
		_ = w.conn.SetReadDeadline(w.clock.deadline(time.Now()))
		if err := w.clock.ctx.Err(); err != nil {
			return err
		}
		n, err := w.conn.Read(w.buf[:w.clock.portion(len(w.buf))])
		w.w, w.err = n, w.told(err)
		if n > 0 {
			if late := w.clock.came(n); late != nil {
				w.err = late // told when more is wanted: what came is not lost
			}
			return nil
		}
		if err != nil {
			return w.err
		}
	}
	return io.ErrNoProgress
}

// Read implements io.Reader, for frames.
func (w *wire) Read(p []byte) (int, error) {
	if w.r == w.w {
		if err := w.more(); err != nil {
			return 0, err
		}
	}
	n := copy(p, w.buf[w.r:w.w])
	w.r += n
	return n, nil
}

// Write implements io.Writer, for frames.
func (w *wire) Write(p []byte) (int, error) {
	if err := w.write(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// clock knows how long an exchange may still take.
type clock struct {
	ctx     context.Context  // of the exchange under way: it ends with it
	paces   [2]*rate.Limiter // of all exchanges, and of those with the server; nil without a limit
	end     time.Time        // of everything
	head    time.Time        // of the head; the zero time behind it
	silence time.Duration    // without a byte, in the body
	rate    int64            // least bytes a second of the body, 0 for none
	grace   time.Duration    // before that is looked at

	got    int64     // bytes that came
	body   time.Time // when the body began, the head's bytes not counted
	before int64     // bytes that had come then
	waited time.Duration
}

// atBody begins the times of a body.
func (c *clock) atBody() { c.head, c.body, c.before, c.waited = time.Time{}, time.Now(), c.got, 0 }

// deadline is until when the next byte has to be here.
func (c *clock) deadline(now time.Time) time.Time {
	at := now.Add(c.silence)
	if !c.head.IsZero() {
		at = c.head
	}
	if c.end.Before(at) {
		at = c.end
	}
	return at
}

// portion is how much of n bytes may be read at once.
func (c *clock) portion(n int) int {
	for _, p := range c.paces {
		if p != nil {
			n = min(n, p.Burst())
		}
	}
	return n
}

// came counts bytes, and waits as long as their number asks for. An error says that no more shall come.
func (c *clock) came(n int) error {
	c.got += int64(n)
	if err := c.yield(n); err != nil {
		return err
	}
	if c.rate == 0 || c.body.IsZero() {
		return nil
	}
	took := time.Since(c.body) - c.waited
	if took > c.grace && float64(c.got-c.before) < float64(c.rate)*took.Seconds() {
		return errTime
	}
	return nil
}

// yield waits until n bytes are within the bandwidths, or the exchange's time is over.
func (c *clock) yield(n int) error {
	if c.paces == [2]*rate.Limiter{} {
		return nil
	}
	now, wait := time.Now(), time.Duration(0)
	for _, p := range c.paces {
		if p != nil {
			wait = max(wait, p.ReserveN(now, min(n, p.Burst())).DelayFrom(now))
		}
	}
	if wait <= 0 {
		return nil
	}
	wait = min(wait, c.deadline(now.Add(wait)).Sub(now))
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		c.waited += time.Since(now)
		return nil
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}
