// Package messages holds what sources of messages share (nats, redis): the source itself, whose feed is all that
// differs, the limits of a block and their defaults, the block that gathers messages, and the buffer of those that
// came unasked.
//
// A source that can't wait hears its messages into a Buffer and takes them from there. What does not fit
// is counted, and told with the next page. It knows nothing of servers.
package messages

import (
	"cmp"
	"context"
	"sync"
	"time"

	"holdfast/connector"
	"holdfast/connector/columns"
)

const (
	// mostBytes is about the most that the messages of one block hold.
	mostBytes = 8 << 20
	// mostBuffered is the most that the messages of a buffer hold.
	mostBuffered = 64 << 20
)

// Limits are the keys of a configuration that bound blocks and waits.
type Limits struct {
	Rows    int           // most messages of one block; 10000 by default
	Linger  time.Duration // how long a message waits for others; 100ms by default
	Buffer  int           // most messages that wait for us unasked; 100000 by default
	Timeout time.Duration // how long the server may be silent where it has to answer; 30s by default
}

// WithDefaults fills what is zero.
func (l Limits) WithDefaults() Limits {
	return Limits{Rows: cmp.Or(l.Rows, 10_000), Linger: cmp.Or(l.Linger, 100*time.Millisecond),
		Buffer: cmp.Or(l.Buffer, 100_000), Timeout: cmp.Or(l.Timeout, 30*time.Second)}
}

// Check calls bad for every fault, each beginning with the name of its key. The time-out is that of a
// connection, and checked with it.
func (l Limits) Check(bad func(format string, args ...any)) {
	if l.Rows < 1 {
		bad("rows: got %d, want a number from 1", l.Rows)
	}
	if l.Linger < 0 {
		bad("linger: got %v, want 0s or more", l.Linger)
	}
	if l.Buffer < 1 {
		bad("buffer: got %d, want a number from 1", l.Buffer)
	}
}

// Block gathers messages.
type Block struct {
	reading *columns.Reading
	limits  Limits
	rows    int
	bytes   int
}

// newBlock returns an empty block.
func newBlock(r *columns.Reading, l Limits) *Block { return &Block{reading: r, limits: l} }

// Add takes one message.
func (b *Block) Add(it columns.Item) error {
	b.rows++
	b.bytes += len(it.Raw)
	return b.reading.Add(it)
}

// AddMessage takes one message that has to be one JSON value.
func (b *Block) AddMessage(raw []byte) error {
	b.rows++
	b.bytes += len(raw)
	return b.reading.AddMessage(raw)
}

// Rows is how many messages were added.
func (b *Block) Rows() int { return b.rows }

// Room is how many messages the block still takes.
func (b *Block) Room() int {
	if b.bytes >= mostBytes {
		return 0
	}
	return max(b.limits.Rows-b.rows, 0)
}

// Full reports whether there is no room left.
func (b *Block) Full() bool { return b.Room() == 0 }

// Finish puts what was gathered into a page, behind which a stream has more.
func (b *Block) Finish(p *connector.Page) (err error) {
	p.Rows, err = b.reading.Batch()
	p.Rejected, p.More = b.reading.Rejected, true
	return err
}

// Buffer holds messages that came unasked. Put is called by who hears them, the rest by who takes them.
type Buffer struct {
	limits Limits
	wake   chan struct{} // has room for one; a value says that queue has grown

	mu    sync.Mutex // guards the below
	queue []message
	bytes int
	lost  int64
}

// message is one that waits.
type message struct {
	at   time.Time // when it came
	data []byte
}

// NewBuffer returns an empty buffer.
func NewBuffer(l Limits) *Buffer { return &Buffer{limits: l, wake: make(chan struct{}, 1)} }

// Put keeps a message, or counts it as lost.
func (b *Buffer) Put(data []byte) {
	b.mu.Lock()
	if len(b.queue) >= b.limits.Buffer || b.bytes+len(data) > mostBuffered {
		b.lost++
	} else {
		b.queue = append(b.queue, message{time.Now().UTC(), data})
		b.bytes += len(data)
	}
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Waiting is how many messages wait, and whether they fill a block.
func (b *Buffer) Waiting() (rows int, full bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue), len(b.queue) >= b.limits.Rows || b.bytes >= mostBytes
}

// Wait returns when a block is full, or a message has waited for others long enough. What closes is the
// end of hearing: what came before is taken first. What is told ends the wait at once. why says why.
func (b *Buffer) Wait(ctx context.Context, closed, told <-chan struct{}, why func() error) error {
	var linger <-chan time.Time
	for {
		rows, full := b.Waiting()
		if full {
			return nil
		}
		if linger == nil && rows > 0 {
			timer := time.NewTimer(b.limits.Linger)
			defer timer.Stop()
			linger = timer.C
		}
		select {
		case <-b.wake:
		case <-linger:
			return nil
		case <-closed:
			// The last messages may have come beside the end.
			if rows, _ := b.Waiting(); rows > 0 {
				return nil
			}
			return why()
		case <-told:
			return why()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Take moves what is there into the block, and returns until when all that came is taken: when the last of it
// came, else since, the time since which the source is known to hear. What stays came later, so that a cursor
// with that time claims nothing that is in memory alone. After an error all is there still.
func (b *Buffer) Take(to *Block, since time.Time) (heard time.Time, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, bytes := 0, 0
	for ; n < len(b.queue) && !to.Full(); n++ {
		if err := to.AddMessage(b.queue[n].data); err != nil {
			return since, err
		}
		bytes += len(b.queue[n].data)
		since = b.queue[n].at
	}
	b.queue = b.queue[n:]
	b.bytes -= bytes
	return since, nil
}

// Lost is how many messages did not fit since it was asked last. To be asked when nothing can fail any
// more: a page that comes with an error is not heard.
func (b *Buffer) Lost() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.lost
	b.lost = 0
	return n
}

// Missed is the time before now in which a source that can't wait did not hear: since it was last known to, by
// the cursor that its job has committed; nil if it never did before. Nothing of it is remembered here: as long
// as no page with a later cursor is committed, whoever begins to hear tells all of it.
func Missed(heard, now time.Time) *connector.Interval {
	if heard.IsZero() {
		return nil
	}
	return &connector.Interval{From: heard, To: now}
}
