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
// Keys, all in the Job space, values JSON but for the first:
//
//	"stream/turn"                     number(8) of the last change of any of these
//	"stream/epoch/" epoch             numbering of a streamer: the windows known, when it was adopted, its end
//	"stream/window/" id               a window that is not done, or one of the newest others
//	"stream/past/" from(8) id         a window that is done
//	"stream/notice/" number(8)        what is said of a stored window, and which one it is
//	"stream/log"                      which notices there are, and where the processor is
//	"stream/table"                    whether the table was empty when it was met, in which life of the store
//
// id is epoch(8, of its SHA-256) number(8); from is Unix seconds with the sign bit flipped.
package ingester

import (
	"context"
	"errors"
	"sync/atomic"
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
	// Name is the name of the source in the books.
	Name string
	// Group is the name under which a durable broker keeps what the ingester has not taken in.
	Group string
	// Schema is the schema of the rows.
	Schema record.Schema
	// Parse makes one page of the rows in the payloads of batches. What is no row, or no batch at all, is a reject.
	Parse func(ctx context.Context, payloads [][]byte) (connector.Page, error)
	// Linger is how long a batch waits for others of one commit; default 20 ms.
	Linger time.Duration
	// LostAfter is how long nothing of a window must have come, while everything was heard, before the window is lost. With 0
	// a window is lost only if its streamer says so. A lost window is not asked for any more, so this has to be longer than
	// any outage of a streamer.
	LostAfter time.Duration
	// Window is how long a window of a streamer of old is; default an hour. OldBatches is how many batches each
	// has, 0 if that is to be learnt.
	Window     time.Duration
	OldBatches int
	// Key are the columns that, with the time, tell the rows of the table apart.
	Key []string
	// Table is where a processor finds the rows.
	Table Table
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
	met     met
	spooled spooled // its own lock

	// Of Fetch alone.
	ear          *hear.Ear // nil while nobody listens
	hearing      time.Time // since when everything is heard
	mute         bool      // the broker is heard, and took nothing when it was told something last
	held         held
	voice        voice
	talk         talk
	former       epoch       // of the streamer that was listened to when this life began, as it was then
	unended      atomic.Bool // a person was told that nothing but the streamer's end is waited for; others read it
	cut          uint64      // how many notices a person was told of that were let go
	beacon       wire.Beacon // the newest of the streamer that is listened to
	followed     bool        // a processor was heard
	searched     time.Time   // when it was last looked for windows that are overdue
	contradicted string      // what was said last of a message that can't be
}

var _ connector.Source = (*Source)(nil)

// New returns the source. Its OnTake, OnLack and OnSettle have to be set in the options of the job, and Meet has to be called
// before the first row is written.
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
	b.awaits = cfg.Once
	in := &Source{cfg: cfg, store: env.Store, history: env.History, book: b, held: newHeld(),
		news: make(chan struct{}, 1), voice: voice{epoch: b.current, at: now()}}
	if e := b.epochs[b.current]; e != nil {
		in.former = *e
	}
	b.count = in.count
	return in, in.readTable()
}

// Traits: what is not heard is asked for again, so a full disk loses nothing that the streamer still has.
func (in *Source) Traits() connector.SourceTraits { return connector.SourceTraits{Pausable: true} }

// Schema is that of the rows.
func (in *Source) Schema() record.Schema { return in.cfg.Schema }

// here is the cursor. It is always the same: the windows say where a stream is to be read on.
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

// What a page holds at most, not counting its last batch.
const (
	rowsOfPage  = 10_000
	bytesOfPage = 16 << 20
)

// page is a page that grows by batches.
type page struct {
	connector.Page
	batches []batch
	heard   []connector.Heard // the batches, by place
	rows    int               // as their manifests say
	bytes   int
	look    bool // a window may be stored, which the commit of a page finds out
}

func (p *page) add(b batch, m connector.Heard) {
	p.batches, p.heard = append(p.batches, b), append(p.heard, m)
	p.rows, p.bytes = p.rows+b.rows, p.bytes+len(m.Payload)
}

// room reports whether the page takes more.
func (p *page) room() bool { return p.rows < rowsOfPage && p.bytes < bytesOfPage && !p.End }

// some reports whether the page is worth a commit.
func (p *page) some() bool { return len(p.batches) > 0 || p.look }

// carry is what the commit of a page needs to know about it.
type carry []batch

// Fetch waits for batches, and asks for missing ones meanwhile. The first one of a hearing returns as soon as everything is
// heard.
func (in *Source) Fetch(ctx context.Context, _ connector.Request) (connector.Page, error) {
	p := &page{Page: connector.Page{Cursor: here, More: true, Notes: map[string]int64{}, Carry: carry(nil)}}
	var err error
	switch {
	case in.ear == nil:
		err = in.listen(ctx)
	case in.mute:
		err = in.speak(ctx)
	default:
		err = in.fill(ctx, p)
	}
	if refused := err; hear.Refused(refused) {
		in.mute, p.End = true, false
		if err = in.overhear(ctx, p); err == nil && !p.some() {
			if err = refused; !in.ear.Deaf() {
				return p.Page, err // and the hearing goes on
			}
		}
	}
	if err == nil {
		return p.Page, nil
	}
	if ctx.Err() != nil { // what the broker said meanwhile is of no interest
		err = ctx.Err()
	}
	in.book.release(p.batches) // nothing of the page is taken in: what it has is to be asked for again
	return p.Page, errors.Join(err, in.Close())
}

// fill makes a page of what comes.
func (in *Source) fill(ctx context.Context, p *page) error {
	if err := in.gather(ctx, p); err != nil {
		return err
	}
	if err := in.finish(ctx, p); err != nil || !p.End {
		return err
	}
	return in.farewell(ctx)
}

// listen begins a hearing. It counts as begun only after the broker has taken what the log has to say: a broker that hears
// nothing from us is of no use. What is missing is asked for next.
func (in *Source) listen(ctx context.Context) error {
	n := in.cfg.Names
	in.ear = hear.Listen(ctx, in.cfg.Broker, in.cfg.Group, n.Data(), n.About(), n.Follow())
	if err := in.ear.Begin(ctx); err != nil {
		return err
	}
	in.hearing, in.mute = now(), false
	in.book.heard(in.hearing)
	said := in.book.saidSoFar()
	in.talk = talk{notices: said, said: said}
	_, err := in.say(ctx, in.hearing)
	if err != nil && !hear.Refused(err) && ctx.Err() == nil { // of a connection that the outage broke, which nobody had noticed
		_, err = in.say(ctx, in.hearing)
	}
	return err
}

// gather takes messages until there is a page and nothing more is waited for.
func (in *Source) gather(ctx context.Context, p *page) error {
	var linger <-chan time.Time
	for p.room() {
		next, ended := now().Add(time.Minute), in.ear.Ended()
		if in.ear.Deaf() {
			return in.atEnd(p)
		} else if isClosed(ended) { // nobody can be told anything, but what was heard is taken in first
			ended = nil
		} else if err := in.due(ctx, p, &next); err != nil {
			return err
		}
		if p.some() && linger == nil {
			t := time.NewTimer(in.cfg.Linger)
			defer t.Stop()
			linger = t.C
		}
		again := time.NewTimer(time.Until(next))
		select {
		case m := <-in.ear.Came():
			if err := in.take(ctx, p, m); err != nil {
				return err
			}
		case <-in.news:
		case <-again.C:
		case <-linger:
			return nil
		case <-ended:
		case <-ctx.Done():
			return ctx.Err()
		}
		again.Stop()
	}
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// atEnd ends a page with its hearing; if there is none, it is told why.
func (in *Source) atEnd(p *page) error {
	if p.some() {
		return nil
	}
	if err := in.ear.Err(); err != nil {
		return err
	}
	return fault.New(fault.Transient, "the broker ended the hearing")
}

// due does what is due by the clock, and lowers next to when to look again.
func (in *Source) due(ctx context.Context, p *page, next *time.Time) error {
	now := now()
	at, err := in.say(ctx, now)
	if err != nil {
		return err
	}
	*next = earlier(earlier(*next, at), in.tellUnended(now))
	p.look = in.book.looks()
	p.End = !p.some() && in.over(now)
	if len(in.ear.Came()) == 0 { // else the answer may be among them
		asks, at := in.book.asks(now, in.voice.here(now))
		for _, a := range asks {
			for _, m := range a.messages(in.cfg.Names) {
				if err := in.publish(ctx, m); err != nil {
					return err
				}
			}
		}
		*next = earlier(*next, at)
	}
	if at, err = in.takeHeld(ctx, p, now); err != nil {
		return err
	}
	*next = earlier(*next, at)
	return in.search(now, next)
}

// search looks now and then for windows that are overdue.
func (in *Source) search(now time.Time, next *time.Time) error {
	if in.cfg.LostAfter == 0 {
		return nil
	}
	every := in.cfg.LostAfter / 4
	if at := in.searched.Add(every); at.After(now) {
		*next = earlier(*next, at)
		return nil
	}
	in.searched = now
	*next = earlier(*next, now.Add(every))
	lost, err := in.book.overdue(in.cfg.LostAfter, now)
	in.lost(lost)
	return err
}

// takeHeld looks after the batches that wait for a manifest in vain: of a streamer of ours they come again, and without
// one they are those of a streamer of old. It returns when to look again.
func (in *Source) takeHeld(ctx context.Context, p *page, now time.Time) (next time.Time, err error) {
	for p.room() {
		came, ok := in.held.since()
		if !ok {
			return next, nil
		}
		ours := in.voice.ours(came)
		switch {
		case ours:
			next = came.Add(untilOther)
		case in.voice.old(now):
			if came.Before(in.hearing) { // its manifest may have been lost in the outage
				came = in.hearing
			}
			next = came.Add(untilOld)
		default:
			next = in.voice.at.Add(untilForgotten)
		}
		if next.After(now) {
			return next, nil
		}
		m := in.held.next()
		if ours {
			p.Notes["unknown_batches"]++
			err = m.Ack(ctx)
		} else {
			err = in.takeOld(ctx, p, m)
		}
		if err != nil {
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
func (in *Source) take(ctx context.Context, p *page, m connector.Heard) error {
	if m.Topic == in.cfg.Names.Data() {
		return in.takeData(ctx, p, m)
	}
	what, err := wire.Read(m.Message)
	if err != nil {
		p.Notes["spoilt_messages"]++
		return m.Ack(ctx)
	}
	now := now()
	switch a := what.(type) {
	case wire.Manifest:
		if in.listensTo(a.Epoch, "", now, p) {
			err = in.takeManifest(ctx, p, a, now)
		}
	case wire.Beacon:
		if in.listensTo(a.Epoch, a.From, now, p) {
			err = in.takeBeacon(ctx, a, now)
		}
	case wire.Gone: // also of an epoch that its streamer had before
		var lost []string
		lost, err = in.book.gone(a, now)
		in.lost(lost)
	case wire.Follow:
		err = in.takeFollow(a, now)
	}
	if fault.Is(err, fault.Conflict) || fault.Is(err, fault.Invalid) {
		p.Notes["contradictions"]++
		if text := err.Error(); in.contradicted != text {
			in.contradicted = text
			in.history.Warn("stream.contradiction", "%s: it is not taken in", text)
		}
		err = nil
	}
	if err != nil {
		return err
	}
	return m.Ack(ctx)
}

func (in *Source) takeManifest(ctx context.Context, p *page, m wire.Manifest, now time.Time) error {
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
	in.beacon = b
	in.beacon.End = b.End && !in.stale(b, now)
	lost, err := in.book.beacon(b, now)
	in.lost(lost)
	if err != nil {
		return err
	}
	c := in.book.confirmed(b.Epoch)
	idle := in.cfg.Broker.Traits().Durable && c.Epoch != "" && now.Sub(in.talk.heard) >= tellHeard
	if c.UpTo <= b.Confirmed && !idle && !b.End { // one that is at its end stays until it hears that we know
		return nil
	}
	in.talk.heard = now
	return in.answer(ctx, c.Message(in.cfg.Names))
}

// lost tells a person of windows that are lost.
func (in *Source) lost(windows []string) {
	for _, text := range windows {
		in.history.Warn("window.lost", "%s", text)
	}
}

// takeData takes a batch that a window lacks, holds one that no window knows, and drops one that is here.
func (in *Source) takeData(ctx context.Context, p *page, m connector.Heard) error {
	now := now()
	hash := wire.Hash(m.Payload)
	found, missing, known := in.book.find(hash, now)
	switch {
	case missing:
		p.add(found, m)
		return nil
	case in.voice.old(now) && in.voice.speaksOld:
		return in.takeOld(ctx, p, m)
	case known:
		p.Notes["repeated_batches"]++
		return m.Ack(ctx)
	}
	for _, dropped := range in.held.put(hash, m, now) { // it is asked for again, if it was one
		p.Notes["unknown_batches"]++
		if err := dropped.Ack(ctx); err != nil {
			return err
		}
	}
	return nil
}

// takeOld takes a batch from a streamer of old. One that says nothing as far as can be read is asked for again, and if
// that does not help, kept as it is.
func (in *Source) takeOld(ctx context.Context, p *page, m connector.Heard) error {
	at, err := wire.ParsePlace(m.Key)
	if err != nil || at.Batch >= mostOldBatches {
		p.Notes["spoilt_messages"]++
		return m.Ack(ctx)
	}
	now := now()
	rows, err := in.cfg.Parse(ctx, [][]byte{m.Payload})
	if err != nil {
		return err
	}
	from, ok := in.firstTime(rows)
	if !ok {
		found, enough := in.book.spoiltOld(at, now)
		if enough {
			p.add(found, m)
			return nil
		}
		p.Notes["spoilt_messages"]++
		return m.Ack(ctx)
	}
	in.voice.speaksOld = true
	n := int(rows.Rows.NumRows()) + len(rows.Rejected)
	found, ok := in.book.takeOld(at, oldBatch{key: at.Window, from: from, to: from.Add(in.cfg.Window),
		hash: wire.Hash(m.Payload), batches: in.cfg.OldBatches}, n, now)
	if !ok {
		p.Notes["repeated_batches"]++
		return m.Ack(ctx)
	}
	p.add(found, m)
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
func (in *Source) finish(ctx context.Context, p *page) error {
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
	p.Rows, p.Rejected, p.Filtered, p.Carry = rows.Rows, rows.Rejected, rows.Filtered, carry(p.batches)
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
func (in *Source) OnTake(tx *store.Tx, p connector.Page, t collect.Taken, done collect.Done) error {
	batches, _ := p.Carry.(carry)
	err := in.book.within(tx, func(tx *store.Tx) error {
		if err := in.book.kept(tx, batches, t, now()); err != nil {
			return err
		}
		return in.book.stored(tx, done, now())
	})
	tx.OnDurable(in.wake) // behind what the book notes then, else the news may not be seen
	return err
}

// OnSettle is the part of a delivery's commit that says which windows are stored with it.
func (in *Source) OnSettle(tx *store.Tx, done collect.Done) error {
	err := in.book.within(tx, func(tx *store.Tx) error { return in.book.stored(tx, done, now()) })
	tx.OnDurable(in.wake) // as in OnTake
	return err
}

// wake lets Fetch say what is new.
func (in *Source) wake() {
	select {
	case in.news <- struct{}{}:
	default:
	}
}
