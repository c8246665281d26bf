package nats

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"holdfast/connector"
	"holdfast/connector/messages"
)

// subjectFeed hears a subject. Nobody keeps for us what it does not hold.
type subjectFeed struct {
	cfg     SourceConfig
	buffer  *messages.Buffer
	session *session
	sub     *nats.Subscription
	dropped int // of the subscription, as told already
}

func (f *subjectFeed) Fetch(ctx context.Context, at position, to *messages.Block) (position, connector.Page,
	error) {
	var p connector.Page
	begun, err := f.listen(ctx)
	if err != nil {
		return at, p, err
	}
	if !begun.IsZero() { // since when, and what was missed, is told at once, so that the next life knows
		if p.Missed = messages.Missed(at.Heard, begun); p.Missed != nil {
			p.Notes = map[string]int64{"reconnects": 1}
		}
		at.Heard = begun
	} else if err := f.buffer.Wait(ctx, f.session.closed, f.session.told, f.session.why); err != nil {
		return at, p, err
	}
	at.Heard, err = f.buffer.Take(to, at.Heard)
	return at, p, err
}

// listen makes sure that the subject is heard, or what was heard is not all taken yet. begun is when
// a new connection began to hear, zero if there is none: what came before it is lost, and nobody knows how much.
func (f *subjectFeed) listen(ctx context.Context) (begun time.Time, err error) {
	if rows, _ := f.buffer.Waiting(); f.session != nil && (f.session.alive() || rows > 0) {
		return begun, nil
	}
	f.Close()
	if f.session, err = f.cfg.server().connect(ctx); err != nil {
		return begun, err
	}
	hear := func(m *nats.Msg) { f.buffer.Put(m.Data) } // called by the client library, one at a time
	if f.sub, err = f.session.nc.Subscribe(f.cfg.Subject, hear); err != nil {
		return begun, err
	}
	bounded, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	if err := f.session.nc.FlushWithContext(bounded); err != nil {
		return begun, err
	}
	return time.Now().UTC(), nil
}

func (f *subjectFeed) Lost() int64 {
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

func (f *subjectFeed) Close() {
	if f.session != nil {
		f.session.close()
	}
	f.session, f.sub, f.dropped = nil, nil, 0
}
