package journald

import (
	"context"
	"errors"
	"io"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
)

// Past tells the entries from a time on until now, as connector.Historian says.
func (j *Journal) Past(ctx context.Context, since time.Time, tell func(context.Context, connector.Seen) error) error {
	f := newFollower(j.cfg, &place{Version: placeVersion, Micro: since.UnixMicro() - 1}, tell)
	args := append(append(j.cfg.journal(), j.cfg.output()), append(j.cfg.filter(), f.at.from()...)...)
	c, err := start(j.cfg.Command, args...)
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	in := incomingOf(c, j.cfg.MaxLine, stop)
	defer c.kill()
	defer close(stop)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case b, ok := <-in.batches:
			if !ok {
				return f.ended(ctx, c, in.err)
			}
			err := f.take(ctx, b)
			in.free <- b
			if err != nil {
				return err
			}
		}
	}
}

// ended tells what was still open when a child that does not follow came to its end; or says why it did not.
func (f *follower) ended(ctx context.Context, c *child, err error) error {
	<-c.ended
	words := ""
	for note := range c.notes {
		words = note
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = c.err
	}
	if err != nil {
		return fault.New(fault.Transient, "read the journal: %w: %s", err, words)
	}
	if f.join != nil {
		f.join.Flush(f.text)
	}
	return f.flush(ctx, nil)
}
