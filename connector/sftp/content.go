package sftp

import (
	"context"
	"hash"
	"io"
	"sync"

	"holdfast/base/fault"
	"holdfast/connector"
)

// outgoing is a content that is being sent. Neither it nor progress is used after end.
type outgoing struct {
	ctx      context.Context
	content  connector.Content
	progress func(int64)

	mu    sync.Mutex // guards all below, and is held in both so that end waits for them
	off   int64
	h     hash.Hash // of all up to off, nil if nobody wants it
	ended bool
	err   error // of the content itself
}

// end returns when nobody uses the content any more.
func (o *outgoing) end() {
	o.mu.Lock()
	o.ended = true
	o.mu.Unlock()
}

// Read implements io.Reader.
func (o *outgoing) Read(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.over(); err != nil {
		return 0, err
	}
	if o.off >= o.content.Size {
		return 0, io.EOF
	}
	n, err := o.content.ReadAt(b[:min(int64(len(b)), o.content.Size-o.off)], o.off)
	if o.h != nil {
		o.h.Write(b[:n])
	}
	o.off += int64(n)
	if o.progress != nil && n > 0 {
		o.progress(int64(n))
	}
	if err != nil && err != io.EOF {
		o.err = fault.New(fault.Transient, "read the file here: %w", err)
		err = o.err
	}
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// over is why nothing may be read any more, nil if it may.
func (o *outgoing) over() error {
	if o.ended {
		return context.Canceled
	}
	return o.ctx.Err()
}

// skip writes the first n bytes to h, and has Read go on behind them.
func (o *outgoing) skip(n int64, h hash.Hash) error {
	b := make([]byte, 256<<10)
	for done := int64(0); done < n; {
		m, err := o.peek(b[:min(n-done, int64(len(b)))], done)
		h.Write(b[:m])
		done += int64(m)
		if err != nil {
			return err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.off = n
	return nil
}

func (o *outgoing) peek(b []byte, off int64) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.over(); err != nil {
		return 0, err
	}
	n, err := o.content.ReadAt(b, off)
	if n == len(b) {
		return n, nil
	}
	if err == io.EOF { // it became shorter
		return n, errChanged
	}
	return n, fault.New(fault.Transient, "read the file here: %w", err)
}

// errChanged means that a content is not what it was when it was hashed.
var errChanged = fault.WithHint(fault.New(fault.Corrupt,
	"the file is not what was hashed: it changed, or it was spoilt on the way"), "it is hashed again")
