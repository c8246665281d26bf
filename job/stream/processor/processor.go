// Package processor is the role of a stream that computes reports of stored windows: the source of a collect
// job whose rows are those of reports (job/stream/report).
//
// An ingester numbers its notices of stored windows, without holes, within its epoch. The processor takes
// them in that order, asks for those that it missed, and moves on in the commit that takes the report in: the
// cursor of a page says which notice is next. So each notice makes one report, whatever the broker loses,
// doubles or changes, and whenever either side dies. What a report is computed of comes from the spool of an
// ingester in the same process, if that has what the table has, else from the database.
//
// A report has a revision, one above the highest that is known of its time: rows that come late make a new
// one, which the sinks put in the place of the old. The store remembers them, and where it does not, because
// it is new or went back, the tables of the reports are asked.
//
// The database is a dependency with a gate of its own; while that is closed, notices are heard and wait.
//
// An ingester of old sends nothing but the hour, and only once. Such a notice is used only while no ingester
// of ours is heard, because ours send both forms. It is lost if it is not heard, or if the process ends before
// its report is durable and the broker keeps nothing.
//
// A notice says how many rows there must be at least. If the database has fewer, or a notice of more rows of
// that time is to follow, the report says that it is not complete.
//
// What it does not do: it keeps no rows.
//
// Keys, in the Job space:
//
//	"processor/revision/" time(8, Unix microseconds, sign flipped)  revision(8) lineage(16)
package processor

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/job/stream/hear"
	"holdfast/job/stream/report"
	"holdfast/job/stream/wire"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/kernel/store"
)

// Config tunes a processor.
type Config struct {
	Names  wire.Names
	Broker connector.Broker
	// Group is the name under which a durable broker keeps what the processor has not heard.
	Group string
	// Table is where the rows of windows are, and Time the column of their time.
	Table, Time string
	// Reports are what is computed of them.
	Reports *report.Set
	// Tables reads the rows, and the reports that are there already.
	Tables connector.Tables
	// Window gives the rows of a window out of the spool of an ingester in the same process, among others
	// perhaps; ok is false if it does not hold what the table has of it. Nil if there is no such ingester.
	Window func(ctx context.Context, n wire.Stored, yield func(arrow.RecordBatch) error) (ok bool, err error)
	// Day is the day of the hours of an ingester of old; zero is the newest that the table has such an hour of.
	Day time.Time
	// Once ends the source when an ingester has said that there will be no more notices and all are done with; also when it
	// said so before we were restarted and is not there any more.
	Once bool
	// Ended is closed when the ingester of the same process has done its work. With Once, the source ends then and not
	// before, whatever messages say. Nil if there is no such ingester.
	Ended <-chan struct{}
}

// Source is the source of a collect job that hears of stored windows and gives their reports.
type Source struct {
	cfg      Config
	store    *store.Store
	history  *engine.History
	database *gate.Gate
	woken    chan struct{} // wakes follow: the gate of the database has changed, or the broker has no room; holds one
	// mute is the error of the last publish if the broker was full, else nil.
	mute atomic.Pointer[error]

	// Of Fetch alone.
	ear   *hear.Ear // nil while nobody listens
	waits bool      // the broker was full: the next Fetch publishes again before it follows
	inbox *inbox    // nil before the first cursor
	old   oldHours
	notes map[string]int64

	mu         sync.Mutex      // guards what stands below, which commits change
	done       map[string]mark // by epoch: what is durable
	given      map[int64]int64 // revisions of pages that are not durable yet, by time
	lastReport *time.Time      // there are no reports of a later time; nil until the tables were asked
}

// mark is how far the notices of an epoch are done with, durably.
type mark struct {
	next   uint64    // the first that is not
	flying int       // pages that are not durable yet
	told   time.Time // when the ingester was told last
	says   int       // how often it was told since next last changed
}

var _ connector.Source = (*Source)(nil)

// New returns the source. Its OnTake belongs into the options of the job's intake, and its gates into those
// that the job runs beside its own. Broker and tables are their owner's to close.
func New(env engine.Env, cfg Config) (*Source, error) {
	if err := cfg.Names.Check(); err != nil {
		return nil, fault.New(fault.Permanent, "channels: %w", err)
	}
	s := &Source{cfg: cfg, store: env.Store, history: env.History, woken: make(chan struct{}, 1),
		old: oldHours{}, notes: map[string]int64{}, done: map[string]mark{}, given: map[int64]int64{}}
	s.database = gate.New("database", gate.Options{Fastest: time.Second, Slowest: time.Second, Jitter: -1,
		OnChange: s.gateChanged,
		Probe: func(ctx context.Context) error {
			_, _, err := cfg.Tables.Newest(ctx, connector.TableQuery{Table: cfg.Table, Time: cfg.Time})
			return err
		}})
	return s, nil
}

func (s *Source) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// gateChanged wakes Fetch, and tells the history.
func (s *Source) gateChanged(g gate.Status) {
	s.wake()
	s.history.Gate(g)
}

// Gates returns the gates of what the processor needs beside its broker. The caller runs them.
func (s *Source) Gates() []*gate.Gate { return []*gate.Gate{s.database} }

// Traits: notices that are not heard can be asked for again.
func (s *Source) Traits() connector.SourceTraits { return connector.SourceTraits{Pausable: true} }

// Schema is that of the rows of all reports.
func (s *Source) Schema() record.Schema { return s.cfg.Reports.Schema() }

// Start returns the cursor of a source that has taken no notice yet.
func (s *Source) Start(uint64) []byte { return position{}.bytes() }

// Close ends the hearing.
func (s *Source) Close() error {
	if s.ear != nil {
		s.ear.Close()
		s.ear = nil
	}
	return nil
}

// Fetch waits for a notice whose report can be computed, and returns the report as a page. The first page of a
// hearing is empty, and is returned as soon as everything is heard.
func (s *Source) Fetch(ctx context.Context, r connector.Request) (connector.Page, error) {
	if s.inbox == nil {
		at, err := positionOf(r.Cursor)
		if err != nil {
			return connector.Page{}, err
		}
		s.inbox = newInbox(at)
		s.mark(at)
	}
	var p connector.Page
	var err error
	switch {
	case s.ear == nil:
		p, err = s.page(), s.listen(ctx)
	case s.waits:
		p, err = s.page(), s.say(ctx, s.latest(), time.Now())
	default:
		p, err = s.follow(ctx)
	}
	if hear.Refused(err) { // a full broker still delivers, and what is taken makes room
		p, err = s.follow(ctx)
	}
	if s.waits = hear.Refused(err); s.waits && !s.ear.Deaf() {
		return p, err // and the hearing goes on
	}
	if err != nil {
		return p, errors.Join(err, s.Close())
	}
	return p, nil
}

// page is a page without rows.
func (s *Source) page() connector.Page {
	p := connector.Page{Cursor: s.inbox.position().bytes(), More: true, Notes: s.notes}
	s.notes = map[string]int64{}
	return p
}

// listen begins a hearing, and says where we are.
func (s *Source) listen(ctx context.Context) error {
	s.ear = hear.Listen(ctx, s.cfg.Broker, s.cfg.Group, s.cfg.Names.Stored(), s.cfg.Names.Processor())
	if err := s.ear.Begin(ctx); err != nil {
		return err
	}
	s.inbox.heard()
	s.mute.Store(nil)
	epoch := s.latest()
	err := s.say(ctx, epoch, time.Now())
	if err != nil && !hear.Refused(err) && ctx.Err() == nil { // the first may have met a connection that was broken unnoticed
		err = s.say(ctx, epoch, time.Now())
	}
	return err
}

// follow takes messages and computes until there is a page. While the broker is full it also returns, with the error of
// that, once nothing is left to be done.
func (s *Source) follow(ctx context.Context) (connector.Page, error) {
	var busy *work
	defer func() { s.giveUp(busy) }()
	ended := s.cfg.Ended
	for {
		next, err := s.due(ctx, time.Now())
		if err != nil {
			return connector.Page{}, err
		}
		if busy == nil && s.database.Status().Open {
			busy = s.begin(ctx, time.Now())
		}
		if busy == nil {
			over, at := s.over(time.Now())
			if over {
				return s.last(), nil
			}
			if next = earlier(next, at); s.mute.Load() != nil {
				next = earlier(next, time.Now().Add(hear.Between))
			}
		}
		again := time.NewTimer(time.Until(next))
		select {
		case m := <-s.ear.Came():
			err = s.take(ctx, m)
		case <-busy.finished():
			if busy.err == nil {
				w := busy
				busy = nil
				again.Stop()
				return s.reported(w), nil
			}
			if err = ctx.Err(); err == nil {
				w := busy
				busy = nil
				s.failed(w)
			}
		case <-s.ear.Ended():
			if len(s.ear.Came()) == 0 {
				err = s.ear.Err()
			}
		case <-s.woken:
		case <-ended:
			ended = nil
		case <-again.C:
			if full := s.mute.Load(); full != nil && busy == nil {
				err = *full
			}
		case <-ctx.Done():
			err = ctx.Err()
		}
		again.Stop()
		if err != nil {
			return connector.Page{}, err
		}
	}
}

// over reports whether there will be no more notices, and each that came has a page. If that depends on the time alone,
// at says when to look again.
func (s *Source) over(now time.Time) (over bool, at time.Time) {
	switch {
	case !s.cfg.Once:
		return false, at
	case s.cfg.Ended != nil: // the ingester waits for us, so there are no more notices than those that came
		_, ready := s.inbox.ready()
		return !ready && isClosed(s.cfg.Ended), at
	case s.mute.Load() != nil: // the ingester can't be told
		return false, at
	case s.inbox.latest.done():
		return s.inbox.ended(now, s.said(s.latest()))
	}
	return s.inbox.gone(now)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// take takes one message.
func (s *Source) take(ctx context.Context, m connector.Heard) error {
	now := time.Now()
	if m.Topic == s.cfg.Names.Processor() {
		return s.takeOld(ctx, m, now)
	}
	what, err := wire.Read(m.Message)
	if err != nil {
		s.notes["spoilt_messages"]++
		return m.Ack(ctx)
	}
	switch a := what.(type) {
	case wire.Stored:
		if _, stale := s.stale(a.Epoch, a.Number, now); stale {
			break
		}
		l := s.meet(a.Epoch, now)
		if !l.stored(a, now) {
			s.notes["repeated_notices"]++
		}
	case wire.Told:
		if l, stale := s.stale(a.Epoch, a.Newest, now); stale {
			l.parted = a.End
			break
		}
		l := s.meet(a.Epoch, now)
		if first, last, gone := l.told(a); gone {
			s.history.Warn("notices.gone", "notices %d to %d of the ingester were not heard, and can't be "+
				"given any more: there are no reports for their windows, or old ones", first, last)
		}
		s.reached(l)
		if err := s.remind(ctx, l, now); err != nil && !hear.Refused(err) {
			return err
		}
	}
	return m.Ack(ctx)
}

// stale is inbox.stale where that matters: to a source that ends, and a broker that keeps messages.
func (s *Source) stale(epoch string, newest uint64, now time.Time) (*log, bool) {
	if !s.cfg.Once || !s.cfg.Broker.Traits().Durable {
		return nil, false
	}
	return s.inbox.stale(epoch, newest, now)
}

// meet returns the log of an ingester that is heard.
func (s *Source) meet(epoch string, now time.Time) *log {
	l, other := s.inbox.meet(epoch, now)
	if other != "" {
		s.history.Warn("ingester.second", "two ingesters are at work, of epochs %s and %s: both are followed; "+
			"stop one of them, or give it channels of its own", epoch, other)
	}
	return l
}

// due asks for what is missing, and returns when to look again.
func (s *Source) due(ctx context.Context, now time.Time) (next time.Time, err error) {
	if next, err = s.dueOld(ctx, now); err != nil {
		return next, err
	}
	if s.mute.Load() != nil || len(s.ear.Came()) > 0 { // the answer may be among them
		return next, nil
	}
	epochs, at := s.inbox.asks(now)
	for _, epoch := range epochs {
		if err := s.say(ctx, epoch, now); err != nil {
			return next, err
		}
	}
	return earlier(next, at), nil
}

// earlier returns the earlier of two times. A zero other does not count.
func earlier(t, other time.Time) time.Time {
	if other.IsZero() || t.Before(other) {
		return t
	}
	return other
}

// last is the page of the end.
func (s *Source) last() connector.Page {
	p := s.page()
	p.End = true
	return p
}
