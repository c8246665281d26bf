package nats

import (
	"context"

	"github.com/nats-io/nats.go"

	"holdfast/connector"
	"holdfast/connector/messages"
)

// subjectFeed hears a subject. Nobody keeps for us what it does not hold.
type subjectFeed struct {
	cfg     SourceConfig
	buffer  *messages.Buffer
	hearing messages.Hearing
	session *session
	sub     *nats.Subscription
	dropped int // of the subscription, as told already
}

func (f *subjectFeed) fetch(ctx context.Context, at position, to *messages.Block) (position, connector.Page,
	error) {
	var p connector.Page
	missed, err := f.listen(ctx, at)
	if err != nil {
		return at, p, err
	}
	if p.Missed = missed; missed != nil {
		p.Notes = map[string]int64{"reconnects": 1}
	} else if err := f.buffer.Wait(ctx, f.session.closed, f.session.told, f.session.why); err != nil {
		return at, p, err
	}
	if f.session.alive() {
		at.Heard = f.hearing.Still()
	}
	return at, p, f.buffer.Take(to)
}

// listen makes sure that the subject is heard, or what was heard is not all taken yet. It tells of the
// time before a new connection in which it was not: what came then is lost, and nobody knows how much.
func (f *subjectFeed) listen(ctx context.Context, at position) (missed *connector.Interval, err error) {
	if rows, _ := f.buffer.Waiting(); f.session != nil && (f.session.alive() || rows > 0) {
		return nil, nil
	}
	f.hangUp()
	if f.session, err = f.cfg.server().connect(ctx); err != nil {
		return nil, err
	}
	hear := func(m *nats.Msg) { f.buffer.Put(m.Data) } // called by the client library, one at a time
	if f.sub, err = f.session.nc.Subscribe(f.cfg.Subject, hear); err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	if err := f.session.nc.FlushWithContext(bounded); err != nil {
		return nil, err
	}
	return f.hearing.Begin(at.Heard), nil
}

func (f *subjectFeed) lost() int64 {
	n := f.buffer.Lost()
	if f.sub == nil {
		return n
	}
	if dropped, err := f.sub.Dropped(); err == nil { // it fails once the connection is closed
		n += int64(dropped - f.dropped)
		f.dropped = dropped
	}
	return n
}

func (f *subjectFeed) hangUp() {
	if f.session != nil {
		f.session.close()
	}
	f.session, f.sub, f.dropped = nil, nil, 0
}

func (f *subjectFeed) close() { f.hangUp() }
