package web

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
)

const (
	// maxLine bounds the line of a chunk, its extensions included, in bytes, and maxTrailer the fields behind the last one.
	maxLine, maxTrailer = 4 << 10, 64 << 10
	// maxSlop is how many line ends may stand before an answer, in bytes: some servers send one more behind a body.
	maxSlop = 4
	// brokenSilence is how long is listened for more when chunks broke their form: where the answer ends is not known then.
	brokenSilence = 5 * time.Second
)

// answer is one that is being read by HTTP/1.1. What is taken from the connection is kept, in order, whatever it is.
type answer struct {
	w        *wire
	s        *spool
	x        *connector.Exchange
	unframed bool // it has no end of its own, or has lost it
	slopped  int  // bytes of line ends before it
	wants    func(status int, h http.Header) bool
}

// head reads up to the end of the head of the answer proper, and keeps those before it aside.
func (a *answer) head() (head, error) {
	for {
		text, err := a.headText()
		if err != nil {
			return head{}, err
		}
		h, err := parseHead(text)
		if err != nil {
			return h, err
		}
		if !h.interim() {
			return h, a.s.write([]byte(text))
		}
		if a.x.Interim = append(a.x.Interim, text...); len(a.x.Interim) > maxHead {
			return h, errForm
		}
	}
}

// headText is the next head. What came behind it stays.
func (a *answer) headText() (string, error) {
	w := a.w
	w.scratch = w.scratch[:0]
	for {
		if w.buffered() == nil {
			if err := w.more(); err != nil {
				return "", err
			}
		}
		from := len(w.scratch) - 2
		w.scratch = append(w.scratch, w.buffered()...)
		w.r = w.w
		a.slop()
		if !beginsAnswer(w.scratch) {
			return "", fault.New(fault.Transient, "%w: it begins with %.40q", errForm, w.scratch[:min(40, len(w.scratch))])
		}
		if end := headEnd(w.scratch, min(from, len(w.scratch))); end > 0 {
			w.r -= len(w.scratch) - end // they are the last ones that came
			return string(w.scratch[:end]), nil
		}
		if len(w.scratch) > maxHead {
			return "", fault.New(fault.Transient, "its head is longer than %d bytes", maxHead)
		}
	}
}

// slop takes line ends away that stand before the answer.
func (a *answer) slop() {
	n := 0
	for n < len(a.w.scratch) && a.slopped+n < maxSlop && (a.w.scratch[n] == '\r' || a.w.scratch[n] == '\n') {
		n++
	}
	a.slopped += n
	if n > 0 {
		a.x.Interim = append(a.x.Interim, a.w.scratch[:n]...)
		a.w.scratch = append(a.w.scratch[:0], a.w.scratch[n:]...)
	}
}

// beginsAnswer reports whether b is the beginning of an answer, as far as it goes.
func beginsAnswer(b []byte) bool {
	const start = "HTTP/"
	return string(b[:min(len(b), len(start))]) == start[:min(len(b), len(start))]
}

// wanted asks whether the body is to be read, if there is one. errUnwanted says no; the server finds the connection closed.
func (a *answer) wanted(empty bool) error {
	if empty || a.wants == nil || a.wants(a.x.Status, a.x.Header) {
		return nil
	}
	a.x.Unwanted = true
	return errUnwanted
}

// body reads the body behind a head. An error says why it is not whole.
func (a *answer) body(h head) error {
	switch {
	case h.empty():
		a.unframed = h.status < 200
		return nil
	case h.chunked:
		return a.chunked()
	case h.length >= 0:
		return a.take(h.length)
	}
	return a.untilClose()
}

// ended gives the answer the reason why it is not whole. An error is one of ours, or of the context: the answer is no good.
func (a *answer) ended(err error) (whole bool, fatal error) {
	if err == nil {
		return true, nil
	}
	_, noRoom := errors.AsType[*spoolError](err)
	switch {
	case noRoom, a.w.clock.ctx.Err() != nil && errors.Is(err, a.w.clock.ctx.Err()):
		return false, err
	case errors.Is(err, errLong):
		a.x.Truncated = "length"
	case errors.Is(err, errTime):
		a.x.Truncated = "time"
	case errors.Is(err, errForm), errors.Is(err, errUnwanted):
		a.x.Truncated = "unspecified"
	default:
		a.x.Truncated = "disconnect"
	}
	return false, nil
}

// wait waits until there are bytes.
func (a *answer) wait() error {
	if a.w.buffered() != nil {
		return nil
	}
	return a.w.more()
}

// keep takes n bytes that are there.
func (a *answer) keep(n int) error {
	b := a.w.buffered()[:n]
	a.w.r += n
	return a.s.write(b)
}

// take takes n bytes of the body.
func (a *answer) take(n int64) error {
	for n > 0 {
		if a.s.left() == 0 {
			return errLong
		}
		if err := a.wait(); err != nil {
			return err
		}
		part := int(min(n, int64(len(a.w.buffered()))))
		if err := a.keep(part); err != nil {
			return err
		}
		n -= int64(part)
	}
	return nil
}

// untilClose takes all that comes until the server closes the connection.
func (a *answer) untilClose() error {
	a.unframed = true
	for {
		err := a.wait()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := a.keep(len(a.w.buffered())); err != nil {
			return err
		}
	}
}

// chunked takes a body in chunks (RFC 9112, 7.1), the chunks as they are. If it does not begin with one it is a plain body, from
// which a proxy took the chunks and left the field.
func (a *answer) chunked() error {
	for first := true; ; first = false {
		line, err := a.line(maxLine)
		size, ok := chunkSize(line)
		switch {
		case errors.Is(err, io.EOF) && first && line != "" && !ok:
			a.unframed = true
			return nil
		case err != nil && !errors.Is(err, errForm):
			return err
		case (err != nil || !ok) && first:
			return a.untilClose()
		case err != nil || !ok:
			return a.broken()
		case size == 0:
			return a.trailer()
		}
		if err := a.take(size); err != nil {
			return err
		}
		if line, err := a.line(len("\r\n")); errors.Is(err, errForm) || err == nil && line != "" {
			return a.broken()
		} else if err != nil {
			return err
		}
	}
}

// broken takes what comes when chunks broke their form. Where the answer ends is not known.
func (a *answer) broken() error {
	a.w.clock.silence = min(a.w.clock.silence, brokenSilence)
	if err := a.untilClose(); err != nil && !errors.Is(err, errTime) {
		return err
	}
	return errForm
}

// trailer takes the fields behind the last chunk. That they are missing is so common that browsers say nothing.
func (a *answer) trailer() error {
	for left := maxTrailer; ; {
		before := a.s.size
		line, err := a.line(min(maxLine, left))
		switch {
		case errors.Is(err, io.EOF):
			a.unframed = true
			return nil
		case errors.Is(err, errForm):
			return a.broken()
		case err != nil:
			return err
		case line == "":
			return nil
		}
		left -= int(a.s.size - before)
	}
}

// line takes a line of at most limit bytes, and gives it without its end. A longer one is errForm, and what was not looked at
// stays; with io.EOF there is what came of it.
func (a *answer) line(limit int) (string, error) {
	w := a.w
	w.scratch = w.scratch[:0]
	for {
		if err := a.wait(); err != nil {
			return string(w.scratch), err
		}
		part := w.buffered()
		end := bytes.IndexByte(part, '\n')
		if end >= 0 {
			part = part[:end+1]
		}
		if len(w.scratch)+len(part) > limit {
			return "", errForm
		}
		w.scratch = append(w.scratch, part...)
		if err := a.keep(len(part)); err != nil {
			return "", err
		}
		if end >= 0 {
			return strings.TrimSuffix(string(w.scratch[:len(w.scratch)-1]), "\r"), nil
		}
	}
}

// chunkSize is the size that the line of a chunk says. Extensions are passed over.
func chunkSize(line string) (int64, bool) {
	if end := strings.IndexAny(line, "; \t\r"); end >= 0 {
		line = line[:end]
	}
	size, err := strconv.ParseUint(line, 16, 63)
	return int64(size), err == nil
}
