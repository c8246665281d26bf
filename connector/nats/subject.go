package nats

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"holdfast/connector"
)

// subjectFeed hears a subject. Nobody keeps for us what it does not hold.
type subjectFeed struct {
	cfg     SourceConfig
	session *session
	sub     *nats.Subscription
	dropped int  // of the subscription, as told already
	heard   bool // there was a connection before

	mu    sync.Mutex // guards the below
	queue [][]byte
	bytes int
	lost  int64
	wake  chan struct{} // has room for one; a value says that queue has grown
}

func (f *subjectFeed) fetch(ctx context.Context, at position, to *block) (position, connector.Page, error) {
	var p connector.Page
	again, err := f.listen(ctx)
	if err != nil {
		return at, p, err
	}
	if again {
		p.Notes = map[string]int64{"reconnects": 1}
	}
	if !again { // that there was a break is told at once
		if err := f.wait(ctx); err != nil {
			return at, p, err
		}
	}
	return at, p, f.take(to, &p)
}

// wait returns when a block is full, or a message has waited for others long enough.
func (f *subjectFeed) wait(ctx context.Context) error {
	var linger <-chan time.Time
	for {
		rows, full := f.waiting()
		if full {
			return nil
		}
		if linger == nil && rows > 0 {
			timer := time.NewTimer(f.cfg.Linger)
			defer timer.Stop()
			linger = timer.C
		}
		select {
		case <-f.wake:
		case <-linger:
			return nil
		case <-f.session.closed:
			if rows > 0 {
				return nil
			}
			return f.session.why()
		case <-f.session.told:
			return f.session.why()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// listen makes sure that the subject is heard, or what was heard is not all taken yet. It tells of a
// connection that is not the first: what came between the two is lost, and nobody knows how much.
func (f *subjectFeed) listen(ctx context.Context) (again bool, err error) {
	if rows, _ := f.waiting(); f.session != nil && (f.session.alive() || rows > 0) {
		return false, nil
	}
	f.hangUp()
	if f.wake == nil {
		f.wake = make(chan struct{}, 1)
	}
	if f.session, err = f.cfg.server().connect(ctx); err != nil {
		return false, err
	}
	if f.sub, err = f.session.nc.Subscribe(f.cfg.Subject, f.hear); err != nil {
		return false, err
	}
	bounded, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	if err := f.session.nc.FlushWithContext(bounded); err != nil {
		return false, err
	}
	again, f.heard = f.heard, true
	return again, nil
}

// hear is called by the client library, one message at a time.
func (f *subjectFeed) hear(m *nats.Msg) {
	f.mu.Lock()
	if len(f.queue) >= f.cfg.Buffer || f.bytes+len(m.Data) > mostBuffered {
		f.lost++
	} else {
		f.queue = append(f.queue, m.Data)
		f.bytes += len(m.Data)
	}
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// waiting is how many messages wait, and whether they fill a block.
func (f *subjectFeed) waiting() (rows int, full bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.queue), len(f.queue) >= f.cfg.Rows || f.bytes >= mostBytes
}

// take moves what is there into the block, and what was lost into the page. After an error all is
// there still.
func (f *subjectFeed) take(to *block, p *connector.Page) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for ; n < len(f.queue) && !to.full(); n++ {
		if err := to.add(f.queue[n]); err != nil {
			return err
		}
	}
	f.queue = f.queue[n:]
	f.bytes -= to.bytes
	p.Lost += f.lost
	f.lost = 0
	if dropped, err := f.sub.Dropped(); err == nil { // it fails once the connection is closed
		p.Lost += int64(dropped - f.dropped)
		f.dropped = dropped
	}
	return nil
}

func (f *subjectFeed) hangUp() {
	if f.session != nil {
		f.session.close()
	}
	f.session, f.sub, f.dropped = nil, nil, 0
}

func (f *subjectFeed) close() { f.hangUp() }
