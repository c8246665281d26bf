// Package ingester is the role of a stream that takes batches in from a broker which may lose them, asks for those
// that are missing, and says when a window is stored.
//
// A streamer cuts a data set into windows, an hour of it each, and those into batches. The ingester takes the
// batches into the spool of a collect job, of which it is the source. What a window is made of, its manifest tells;
// the window's own books (Window) change in the commit that takes its rows in, so they never disagree with them.
// When the last sink has all of a window, the same commit appends a notice to a log in the store, which a processor
// reads as an ingester reads a streamer: by numbers without holes, asking for what it missed.
//
// One streamer is listened to at a time: a second one is refused while the first is heard. A streamer of old, which
// sends no manifests, is understood when no other is there (old.go).
//
// Keys, all in the Job space, values JSON:
//
//	"stream/epoch/" epoch             numbering of a streamer: the windows known, when it was adopted
//	"stream/window/" id               a window that is not done, or one of the newest others
//	"stream/past/" from(8) id         a window that is done
//	"stream/notice/" number(8)        what is said of a stored window
//	"stream/log"                      which notices there are, and where the processor is
//
// id is epoch(8, of its SHA-256) number(8); from is Unix seconds with the sign bit flipped.
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
	// Name is that of the source, by which the books know it.
	Name string
	// Group is the name under which a durable broker keeps what the ingester has not taken in.
	Group string
	// Schema is that of the rows.
	Schema record.Schema
	// Parse makes one page of the rows in the payloads of batches. What is no row, or no batch at all, is a reject.
	Parse func(ctx context.Context, payloads [][]byte) (connector.Page, error)
	// Linger is how long a batch waits for others of one commit; default 20 ms.
	Linger time.Duration
	// LostAfter is for how long nothing of a window must have come until it is lost; 0 is never: it is lost only
	// when its streamer says so.
	LostAfter time.Duration
	// Window is how long a window of a streamer of old is; default an hour. OldBatches is how many batches each
	// has, 0 if that is to be learnt.
	Window     time.Duration
	OldBatches int
	// Once ends the source when the streamer says that it is at its end, and a processor has every notice.
	Once bool
}

// Source is the source of a collect job that hears a stream: it takes batches in, and asks for those that are
// missing until every window is complete, or can't be any more.
type Source struct {
	cfg     Config
	store   *store.Store
	history *engine.History
	book    *book
	news    chan struct{} // there is something durable to be said; holds one

	// Of Fetch alone.
	ear   *hear.Ear // nil while nobody listens
	held  held
	voice voice
	tell  time.Time // when to say anew what the log has
	said  uint64    // the newest notice that was published in this hearing
	end   wire.Beacon
}

var _ connector.Source = (*Source)(nil)

// New returns the source. Its OnTake and OnSettle belong into the options of the job.
func New(ctx context.Context, env engine.Env, cfg Config) (*Source, error) {
	if err := cfg.Names.Check(); err != nil {
		return nil, fault.New(fault.Permanent, "channels: %w", err)
	}
	if cfg.Linger == 0 {
		cfg.Linger = 20 * time.Millisecond
	}
	if cfg.Window == 0 {
		cfg.Window = time.Hour
	}
	b, err := openBook(ctx, env.Store, cfg.Name)
	if err != nil {
		return nil, err
	}
	in := &Source{cfg: cfg, store: env.Store, history: env.History, book: b, held: newHeld(),
		news: make(chan struct{}, 1)}
	in.voice = voice{epoch: b.current, at: time.Now()}
	return in, b.again()
}

// Traits: what is not heard is asked for again, so a full disk loses nothing that the streamer still has.
func (in *Source) Traits() connector.SourceTraits { return connector.SourceTraits{Pausable: true} }

// Schema is that of the rows.
func (in *Source) Schema() record.Schema { return in.cfg.Schema }

// here is the cursor: where a stream is to be read on, its windows say.
var here = []byte("stream")

// Start returns the one cursor that there is.
func (in *Source) Start(uint64) []byte { return here }

// Close ends the hearing. The broker is its owner's.
func (in *Source) Close() error {
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
func (in *Source) Fetch(ctx context.Context, _ connector.Request) (connector.Page, error) {
	p := &pageOf{Page: connector.Page{Cursor: here, More: true, Notes: map[string]int64{}}}
	if in.ear == nil {
		return p.Page, in.listen(ctx)
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

// listen begins a hearing. What is missing is asked for at once, and what the log has is said.
func (in *Source) listen(ctx context.Context) error {
	n := in.cfg.Names
	in.ear = hear.Listen(ctx, in.cfg.Broker, in.cfg.Group, n.Data(), n.About(), n.Follow())
	if err := in.ear.Begin(ctx); err != nil {
		return errors.Join(err, in.Close())
	}
	in.book.heard()
	in.tell, in.said = time.Time{}, in.book.saidSoFar()
	return nil
}

// gather takes messages until there is a page and nothing more comes for a moment.
func (in *Source) gather(ctx context.Context, p *pageOf) error {
	linger := time.NewTimer(time.Hour)
	defer linger.Stop()
	for p.rows < rowsOfPage && !p.End {
		next, err := in.due(ctx, p)
		if err != nil {
			return err
		}
		again := time.NewTimer(time.Until(next))
		select {
		case m := <-in.ear.Came():
			if err := in.take(ctx, p, m); err != nil {
				return err
			}
			if len(p.places) > 0 {
				linger.Reset(in.cfg.Linger)
			}
		case <-in.news:
			in.tell = time.Time{}
		case <-again.C:
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
		again.Stop()
	}
	return nil
}

// due does what is due by the clock, and returns when to look again.
func (in *Source) due(ctx context.Context, p *pageOf) (next time.Time, err error) {
	now := time.Now()
	next = now.Add(time.Minute)
	if !in.tell.After(now) {
		if in.tell, err = in.say(ctx, now); err != nil {
			return next, err
		}
		p.End = in.over()
	}
	next = earlier(next, in.tell)
	if len(in.ear.Came()) == 0 { // else the answer may be among them
		asks, at := in.book.asks(now)
		for _, a := range asks {
			for _, m := range a.messages(in.cfg.Names) {
				if err := in.cfg.Broker.Publish(ctx, m); err != nil {
					return next, err
				}
			}
		}
		next = earlier(next, at)
	}
	if in.voice.old(now) {
		at, err := in.takeHeld(ctx, p, now)
		if err != nil {
			return next, err
		}
		next = earlier(next, at)
	}
	if in.cfg.LostAfter > 0 {
		lost, err := in.book.overdue(in.cfg.LostAfter, now)
		if err != nil {
			return next, err
		}
		in.lost(lost)
		next = earlier(next, now.Add(in.cfg.LostAfter/4+time.Millisecond))
	}
	return next, nil
}

// takeHeld takes the batches that have waited for a manifest in vain for those of a streamer of old, and returns when
// to look again.
func (in *Source) takeHeld(ctx context.Context, p *pageOf, now time.Time) (next time.Time, err error) {
	for p.rows < rowsOfPage {
		at, ok := in.held.since()
		if !ok {
			return time.Time{}, nil
		}
		if due := at.Add(untilOld); due.After(now) {
			return due, nil
		}
		m, _ := in.held.next()
		if err := in.takeOld(ctx, p, m); err != nil {
			return next, err
		}
	}
	return now, nil
}

// earlier is the earlier of two times, of which the second may be none.
func earlier(t, other time.Time) time.Time {
	if other.IsZero() || t.Before(other) {
		return t
	}
	return other
}

// take takes one message.
func (in *Source) take(ctx context.Context, p *pageOf, m connector.Heard) error {
	if m.Topic == in.cfg.Names.Data() {
		return in.takeData(ctx, p, m)
	}
	what, err := wire.Read(m.Message)
	if err != nil {
		p.Notes["spoilt_messages"]++
		return m.Ack(ctx)
	}
	now := time.Now()
	switch a := what.(type) {
	case wire.Manifest:
		if in.listensTo(a.Epoch, "", now, p) {
			err = in.takeManifest(ctx, p, a, now)
		}
	case wire.Beacon:
		if in.listensTo(a.Epoch, a.From, now, p) {
			err = in.takeBeacon(ctx, a, now)
		}
	case wire.Gone:
		if in.listensTo(a.Epoch, "", now, p) {
			var lost []*Window
			lost, err = in.book.gone(a, now)
			in.lost(lost)
		}
	case wire.Follow:
		err = in.takeFollow(ctx, a, now)
	}
	if fault.Is(err, fault.Conflict) || fault.Is(err, fault.Invalid) {
		in.history.Warn("stream.contradiction", "%v: it is not taken in", err)
		err = nil
	}
	return errors.Join(err, m.Ack(ctx))
}

func (in *Source) takeManifest(ctx context.Context, p *pageOf, m wire.Manifest, now time.Time) error {
	if err := in.book.manifest(m, now); err != nil {
		return err
	}
	for _, b := range m.Batches {
		for _, h := range in.held.take(b.Hash) {
			if err := in.takeData(ctx, p, h); err != nil {
				return err
			}
		}
	}
	return nil
}

func (in *Source) takeBeacon(ctx context.Context, b wire.Beacon, now time.Time) error {
	in.end = b
	lost, err := in.book.beacon(b, now)
	if err != nil {
		return err
	}
	if in.lost(lost); len(lost) > 0 {
		in.wake()
	}
	if c := in.book.confirmed(b.Epoch); c.UpTo > b.Confirmed {
		return in.cfg.Broker.Publish(ctx, c.Message(in.cfg.Names))
	}
	return nil
}

// lost tells a person of windows that are lost.
func (in *Source) lost(windows []*Window) {
	for _, w := range windows {
		in.history.Warn("window.lost", "%s lacks %s, %d rows as far as is known: %s", w.name(), spans(w.Missing()), w.Lost,
			w.Because)
	}
}

// takeData takes a batch that a window lacks, holds one that no window knows, and drops one that is here.
func (in *Source) takeData(ctx context.Context, p *pageOf, m connector.Heard) error {
	now := time.Now()
	hash := wire.Hash(m.Payload)
	at, rows, known := in.book.find(hash, now)
	switch {
	case rows >= 0:
		p.places, p.heard, p.rows = append(p.places, at), append(p.heard, m), p.rows+rows
		return nil
	case known:
		p.Notes["repeated_batches"]++
		return m.Ack(ctx)
	case in.voice.epoch == "" && in.voice.speaksOld:
		return in.takeOld(ctx, p, m)
	}
	for _, dropped := range in.held.put(hash, m, now) { // it is asked for again, if it was one
		p.Notes["unknown_batches"]++
		if err := dropped.Ack(ctx); err != nil {
			return err
		}
	}
	return nil
}

// takeOld takes a batch from a streamer of old.
func (in *Source) takeOld(ctx context.Context, p *pageOf, m connector.Heard) error {
	at, err := wire.ParsePlace(m.Key)
	if err != nil {
		p.Notes["spoilt_messages"]++
		return m.Ack(ctx)
	}
	now := time.Now()
	rows, err := in.cfg.Parse(ctx, [][]byte{m.Payload})
	if err != nil {
		return err
	}
	from, ok := in.firstTime(rows)
	if !ok { // as far as can be read it says nothing: it is asked for again, and if that does not help, kept as it is
		to, enough := in.book.spoiltOld(at, in.cfg.OldBatches, now)
		if enough {
			p.places, p.heard, p.rows = append(p.places, to), append(p.heard, m), p.rows+1
			return nil
		}
		p.Notes["spoilt_messages"]++
		return m.Ack(ctx)
	}
	in.voice.speaksOld = true
	n := len(rows.Rejected)
	if rows.Rows != nil {
		n += int(rows.Rows.NumRows())
	}
	to, known, err := in.book.takeOld(at, from, from.Add(in.cfg.Window), in.cfg.OldBatches, n, wire.Hash(m.Payload), now)
	if err != nil {
		return err
	}
	if known {
		p.Notes["repeated_batches"]++
		return m.Ack(ctx)
	}
	p.places, p.heard, p.rows = append(p.places, to), append(p.heard, m), p.rows+n
	return nil
}

// firstTime is the window in which the first row of a page lies.
func (in *Source) firstTime(p connector.Page) (from time.Time, ok bool) {
	if p.Rows == nil || p.Rows.NumRows() == 0 {
		return from, false
	}
	at, ok := record.EventTimes(in.cfg.Schema, p.Rows)
	if !ok {
		return from, false
	}
	return at(0).UTC().Truncate(in.cfg.Window), true
}

// finish makes the rows of the page. A payload that makes none is what the streamer sent: to ask for it again
// would not mend it.
func (in *Source) finish(ctx context.Context, p *pageOf) error {
	if len(p.heard) == 0 {
		return nil
	}
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
		in.wake()
		for _, m := range heard {
			if m.Ack(ctx) != nil {
				return // they come again, and are known then
			}
		}
	}
	return nil
}

// OnTake is the part of a page's commit that says which batches of which windows it holds.
func (in *Source) OnTake(tx *store.Tx, p connector.Page, t collect.Taken, done collect.Done) error {
	places, ok := p.Carry.([]place)
	if !ok || len(places) == 0 {
		return nil
	}
	now := time.Now()
	in.book.mu.Lock()
	defer in.book.mu.Unlock()
	if err := in.book.kept(tx, places, t.First, t.Last, now); err != nil {
		return err
	}
	_, err := in.book.stored(tx, done, now)
	return err
}

// OnSettle is the part of a delivery's commit that says which windows are stored with it.
func (in *Source) OnSettle(tx *store.Tx, done collect.Done) error {
	in.book.mu.Lock()
	defer in.book.mu.Unlock()
	news, err := in.book.stored(tx, done, time.Now())
	if news {
		tx.OnDurable(in.wake)
	}
	return err
}

// wake lets Fetch say what is new.
func (in *Source) wake() {
	select {
	case in.news <- struct{}{}:
	default:
	}
}
