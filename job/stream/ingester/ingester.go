// Package ingester is the role of a stream that takes batches in from a broker which may lose them, asks for those
// that are missing, and says when a window is stored.
//
// A streamer cuts a data set into windows, an hour of it each, and those into batches. The ingester takes the
// batches into the spool of a collect job, of which it is the source. What a window is made of, its manifest tells;
// the window's own books (Window) change in the commit that takes its rows in, so they never disagree with them.
package ingester

import (
	"context"
	"errors"
	"time"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/job/collect"
	"holdfast/job/stream/hear"
	"holdfast/job/stream/wire"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// Config tunes an ingester.
type Config struct {
	Names  wire.Names
	Broker connector.Broker
	// Group is the name under which a durable broker keeps what the ingester has not taken in.
	Group string
	// Schema is that of the rows.
	Schema record.Schema
	// Parse makes one page of the rows in the payloads of batches. What is no row, or no batch at all, is a reject.
	Parse func(ctx context.Context, payloads [][]byte) (connector.Page, error)
	// Linger is how long a batch waits for others of one commit; default 20 ms.
	Linger time.Duration
}

// Ingester is the source of a collect job that hears a stream: it takes batches in, and asks for those that are
// missing until every window is complete, or can't be any more.
type Ingester struct {
	cfg     Config
	history *engine.History
	book    *book
	ear     *hear.Ear // nil while nobody listens
	held    held
}

var _ connector.Source = (*Ingester)(nil)

// New returns the source. Its OnTake belongs into the options of the job's intake.
func New(ctx context.Context, env engine.Env, cfg Config) (*Ingester, error) {
	if err := cfg.Names.Check(); err != nil {
		return nil, fault.New(fault.Permanent, "channels: %w", err)
	}
	if cfg.Linger == 0 {
		cfg.Linger = 20 * time.Millisecond
	}
	b, err := openBook(ctx, env.Store)
	if err != nil {
		return nil, err
	}
	return &Ingester{cfg: cfg, history: env.History, book: b, held: newHeld()}, nil
}

// Traits: what is not heard is asked for again, so a full disk loses nothing that the streamer still has.
func (in *Ingester) Traits() connector.SourceTraits { return connector.SourceTraits{Pausable: true} }

// Schema is that of the rows.
func (in *Ingester) Schema() record.Schema { return in.cfg.Schema }

// here is the cursor: where a stream is to be read on, its windows say.
var here = []byte("stream")

// Start returns the one cursor that there is.
func (in *Ingester) Start(uint64) []byte { return here }

// Close ends the hearing. The broker is its owner's.
func (in *Ingester) Close() error {
	if in.ear != nil {
		in.ear.Close()
		in.ear = nil
	}
	return nil
}

// rowsOfPage is the most rows of a page, but for those of its last batch.
const rowsOfPage = 10_000

// pageOf is a page that grows by batches.
type pageOf struct {
	connector.Page
	places []place
	heard  []connector.Heard // the batches, by place
	rows   int               // as their manifests say
}

// Fetch waits for batches, and asks for what is missing meanwhile. The first one of a hearing returns as soon as
// everything is heard.
func (in *Ingester) Fetch(ctx context.Context, _ connector.Request) (connector.Page, error) {
	p := &pageOf{Page: connector.Page{Cursor: here, More: true, Notes: map[string]int64{}}}
	if in.ear == nil {
		in.ear = hear.Listen(ctx, in.cfg.Broker, in.cfg.Group, in.cfg.Names.Data(), in.cfg.Names.About())
		if err := in.ear.Begin(ctx); err != nil {
			return p.Page, errors.Join(err, in.Close())
		}
		in.book.heard()
		return p.Page, nil
	}
	err := in.gather(ctx, p)
	if err == nil {
		err = in.finish(ctx, p)
	}
	if err != nil { // nothing of the page is taken in: what it has is to be asked for again
		in.book.release(p.places)
		return p.Page, errors.Join(err, in.Close())
	}
	return p.Page, nil
}

// gather takes messages until there is a page and nothing more comes for a moment.
func (in *Ingester) gather(ctx context.Context, p *pageOf) error {
	linger := time.NewTimer(time.Hour)
	defer linger.Stop()
	for p.rows < rowsOfPage {
		asks, next := in.book.asks(time.Now())
		for _, a := range asks {
			if err := in.cfg.Broker.Publish(ctx, a.Message(in.cfg.Names)); err != nil {
				return err
			}
		}
		var due <-chan time.Time
		if !next.IsZero() {
			due = time.After(time.Until(next))
		}
		select {
		case m := <-in.ear.Came():
			if err := in.take(ctx, p, m); err != nil {
				return err
			}
			if len(p.places) > 0 {
				linger.Reset(in.cfg.Linger)
			}
		case <-due:
		case <-linger.C:
			return nil
		case <-in.ear.Ended():
			if len(p.places) > 0 && len(in.ear.Came()) == 0 {
				return nil // what was heard is taken in first; the next one tells
			}
			if len(in.ear.Came()) == 0 {
				return in.ear.Err()
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// take takes one message.
func (in *Ingester) take(ctx context.Context, p *pageOf, m connector.Heard) error {
	if m.Topic == in.cfg.Names.Data() {
		return in.takeData(ctx, p, m)
	}
	about, err := wire.Read(m.Message)
	if err != nil {
		p.Notes["spoilt_messages"]++
		return m.Ack(ctx)
	}
	now := time.Now()
	switch a := about.(type) {
	case wire.Manifest:
		if err = in.book.manifest(a, now); err == nil {
			for _, b := range a.Batches {
				for _, h := range in.held.take(b.Hash) {
					if err := in.takeData(ctx, p, h); err != nil {
						return err
					}
				}
			}
		}
	case wire.Beacon:
		err = in.book.beacon(a, now)
	case wire.Gone:
		err = in.book.gone(a, now)
	}
	if fault.Is(err, fault.Conflict) || fault.Is(err, fault.Invalid) {
		in.history.Warn("stream.contradiction", "%v: it is not taken in", err)
		err = nil
	}
	return errors.Join(err, m.Ack(ctx))
}

// takeData takes a batch that a window lacks, holds one that no window knows, and drops one that is here.
func (in *Ingester) takeData(ctx context.Context, p *pageOf, m connector.Heard) error {
	hash := wire.Hash(m.Payload)
	at, rows, known := in.book.find(hash, time.Now())
	switch {
	case rows >= 0:
		p.places, p.heard, p.rows = append(p.places, at), append(p.heard, m), p.rows+rows
		return nil
	case known:
		p.Notes["repeated_batches"]++
		return m.Ack(ctx)
	}
	for _, dropped := range in.held.put(hash, m) { // it is asked for again, if it was one
		p.Notes["unknown_batches"]++
		if err := dropped.Ack(ctx); err != nil {
			return err
		}
	}
	return nil
}

// finish makes the rows of the page. A payload that makes none is what the streamer sent: to ask for it again
// would not mend it.
func (in *Ingester) finish(ctx context.Context, p *pageOf) error {
	payloads := make([][]byte, len(p.heard))
	for i, m := range p.heard {
		payloads[i] = m.Payload
	}
	rows, err := in.cfg.Parse(ctx, payloads)
	if err != nil {
		return err
	}
	p.Rows, p.Rejected, p.Filtered, p.Carry = rows.Rows, rows.Rejected, rows.Filtered, p.places
	for name, n := range rows.Notes {
		p.Notes[name] += n
	}
	heard := p.heard
	p.Taken = func(ctx context.Context) {
		for _, m := range heard {
			if m.Ack(ctx) != nil {
				return // they come again, and are known then
			}
		}
	}
	return nil
}

// OnTake is the part of a page's commit that says which batches of which windows it holds.
func (in *Ingester) OnTake(tx *store.Tx, p connector.Page, t collect.Taken) error {
	places, ok := p.Carry.([]place)
	if !ok || len(places) == 0 {
		return nil
	}
	return in.book.kept(tx, places, t.First, t.Last, time.Now())
}
