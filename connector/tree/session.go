package tree

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// session is one life of a watch, or of polling, on one root.
type session struct {
	t     *Tree
	root  root
	files *table
	seen  *recent
	alone bool      // it is no part of Run: Status tells nothing of it
	watch *watch    // nil: it is polled
	until time.Time // polled because of a limit: when to try again; zero: never

	parts  []*walk // of directories that are new
	whole  *walk   // the pass that goes on
	passes int     // how many were begun
	retry  map[string]bool

	good      time.Time // the last pass that came to its end began then; what changed before is known
	opened    bool      // the first pass came to its end
	heardFrom time.Time // when it did
	behind    bool      // events were lost: a pass is to catch up
	deafOK    bool      // events were lost since the last pass: what one finds says nothing of the watch

	broken error // what an event says: the session can't go on

	nextRoot, nextScan, nextCheck, nextPoll, nextRetry, pause time.Time
}

func (s *session) update(change func(*Status)) {
	if !s.alone {
		s.t.update(change)
	}
}

// listen decides how the session is told of changes; limit is why the one before could not watch.
func (s *session) listen(limit error) error {
	t := s.t
	if t.cfg.Poll {
		t.turn(Polling, nil)
		return nil
	}
	if limit != nil {
		s.until = time.Now().Add(t.own.watch)
		t.turn(Polling, limit)
		return nil
	}
	kind, err := t.silentRoot(s.root)
	if err != nil {
		return err
	}
	if kind != "" {
		t.turn(Polling, silentFault(t.cfg.Root, kind))
		return nil
	}
	if s.watch, err = newWatch(t.cfg.Root, t.own); err != nil {
		return err
	}
	t.turn(Watching, nil)
	return nil
}

func (s *session) close() {
	for _, w := range append(s.parts, s.whole) {
		if w != nil {
			w.close()
		}
	}
	if s.watch != nil {
		s.watch.close()
	}
	s.update(func(st *Status) { st.Directories, st.Scanning = 0, "" })
}

// window is that of the first pass and of polls: by age, and what changed since we watch.
func (s *session) window(now time.Time) func(*unix.Stat_t) bool {
	w := Back(now, s.t.cfg.Within, 0)
	w.Changed = earliest(s.t.since, now, s.t.own.slack)
	return w.contains
}

// before is the time of changes that the last pass need not have seen.
func (s *session) before(now time.Time) time.Time { return earliest(s.good, now, s.t.own.slack) }

// known is the time before which the next session need not look again, by what ended this one: zero if all
// that is in the window is to be looked at.
func (s *session) known(err error) time.Time {
	if s.opened && (errors.Is(err, errAnew) || errors.Is(err, errTry)) {
		return s.good
	}
	return time.Time{}
}

// run returns when ctx ends, or the session can't go on.
func (s *session) run(ctx context.Context, kind Found) error {
	now := time.Now()
	first := &walk{kind: kind, in: s.window(now), first: true}
	if !s.good.IsZero() { // a watch made anew
		first.in = changedSince(s.before(now))
	} else {
		s.good = now
	}
	s.begin(first)
	s.nextScan, s.nextCheck = now.Add(s.t.cfg.ScanEvery), now.Add(s.t.cfg.CheckEvery)
	s.nextRetry, s.nextRoot = now.Add(s.t.own.retry), now.Add(s.t.own.pause)
	for {
		if err := s.hear(ctx); err != nil {
			return err
		}
		if err := s.plan(time.Now()); err != nil {
			return err
		}
		if err := s.forth(); err != nil {
			return err
		}
	}
}

// hear waits for events, if there is nothing else to do, and takes what came.
func (s *session) hear(ctx context.Context) error {
	var heard <-chan []byte
	if s.watch != nil {
		heard = s.watch.heard
	}
	wait := time.Until(s.due())
	if s.current() != nil && s.files.room() {
		wait = 0
	}
	var b []byte
	ok := true
	if wait <= 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case b, ok = <-heard:
		default:
		}
	} else {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case b, ok = <-heard:
		case <-s.files.freed:
		case <-timer.C:
		}
	}
	if !ok {
		return errAnew
	}
	if err := events(b, s.event); err != nil {
		return errAnew
	}
	if len(b) > 0 {
		s.count()
	}
	return s.broken
}

// due is when plan has something to do.
func (s *session) due() time.Time {
	at := s.nextRoot
	earlier := func(t time.Time) {
		if t.Before(at) {
			at = t
		}
	}
	if len(s.retry) > 0 {
		earlier(s.nextRetry)
	}
	if s.whole == nil {
		if s.watch == nil {
			earlier(s.nextPoll)
		} else {
			earlier(s.nextCheck)
			if s.t.cfg.ScanEvery > 0 {
				earlier(s.nextScan)
			}
			if s.behind && s.files.room() {
				earlier(s.pause)
			}
		}
	}
	return at
}

// plan begins what is due.
func (s *session) plan(now time.Time) error {
	if !now.Before(s.nextRoot) {
		s.nextRoot = now.Add(s.t.own.pause)
		if r, err := lookRoot(s.t.cfg.Root); err != nil {
			return rootError{err}
		} else if r != s.root {
			return rootError{s.t.away("another directory stands there now")}
		}
		if !s.until.IsZero() && now.After(s.until) && s.whole == nil {
			return errTry
		}
	}
	if len(s.retry) > 0 && !now.Before(s.nextRetry) {
		s.again(now)
	}
	if s.whole == nil {
		s.planPass(now)
	}
	return nil
}

// planPass begins the pass that is due, if one is.
func (s *session) planPass(now time.Time) {
	scan := s.watch != nil && s.t.cfg.ScanEvery > 0 && !now.Before(s.nextScan)
	switch {
	case s.watch == nil && !now.Before(s.nextPoll):
		s.begin(&walk{kind: ByPoll, in: s.window(now)})
	case s.watch == nil:
	case s.behind && s.files.room() && !now.Before(s.pause):
		s.behind = false
		s.begin(&walk{kind: CatchUp, in: changedSince(s.before(now)), news: true})
	case scan:
		s.nextScan = now.Add(s.t.cfg.ScanEvery)
		s.begin(&walk{kind: Backfill, in: Back(now, s.t.cfg.Within, s.t.cfg.Recency).contains, news: true})
	case !now.Before(s.nextCheck):
		s.begin(&walk{kind: Check, in: changedSince(s.before(now)), news: true})
	}
}

// again tries the directories that could not be read, unless walks wait for room in the table: the same ones are tried by
// those, and more would pile up for as long as nobody takes files.
func (s *session) again(now time.Time) {
	s.nextRetry = now.Add(s.t.own.retry)
	if len(s.parts) > 0 {
		return
	}
	for at := range s.retry {
		s.part(&walk{kind: CatchUp, in: s.window(now)}, at)
	}
}

// begin begins a pass.
func (s *session) begin(w *walk) {
	s.passes++
	w.whole, w.n, w.began, w.stack = true, s.passes, time.Now(), []string{""}
	s.whole = w
	s.update(func(st *Status) { st.Scanning = w.kind })
}

// part begins a walk of a directory and all below.
func (s *session) part(w *walk, at string) {
	w.began, w.stack = time.Now(), []string{at}
	s.parts = append(s.parts, w)
}

// current is the walk that goes on: what is new comes before a pass.
func (s *session) current() *walk {
	if len(s.parts) > 0 {
		return s.parts[0]
	}
	return s.whole
}

// forth makes one step, if there is room for what it may find.
func (s *session) forth() error {
	w := s.current()
	if w == nil || !s.files.room() {
		return nil
	}
	end, err := s.step(w)
	if err != nil || !end {
		return err
	}
	if !w.whole {
		s.parts[0] = nil
		s.parts = s.parts[1:]
		s.count()
		return nil
	}
	return s.ended(w)
}

// once makes one pass without a watch.
func (s *session) once(ctx context.Context, w *walk) (Pass, error) {
	defer w.close()
	s.begin(w)
	for {
		for !s.files.room() {
			select {
			case <-ctx.Done():
			case <-s.files.freed:
			}
			if ctx.Err() != nil {
				break
			}
		}
		if ctx.Err() != nil {
			return w.result(), ctx.Err()
		}
		if end, err := s.step(w); end || err != nil {
			return w.result(), err
		}
	}
}

func (w *walk) result() Pass {
	return Pass{Kind: w.kind, Began: w.began, Took: time.Since(w.began), Seen: w.seen, Unreadable: w.unreadable}
}

// ended takes the end of a pass.
func (s *session) ended(w *walk) error {
	now := time.Now()
	s.whole = nil
	if s.watch != nil {
		s.watch.prune(w.n)
		s.count()
	}
	if !s.opened {
		s.opened, s.heardFrom = true, now
	}
	if w.kind != Backfill { // that one passed over what is outside of its window
		s.good = w.began
		s.nextCheck = now.Add(s.t.cfg.CheckEvery)
	}
	deaf := w.missed > 0 && !s.deafOK
	s.deafOK = s.behind
	s.pause = now.Add(s.t.own.after)
	s.nextPoll = now.Add(max(s.t.cfg.PollEvery, 2*now.Sub(w.began)))
	s.update(func(st *Status) { st.Last, st.Scanning = w.result(), "" })
	if deaf {
		return errAnew
	}
	return nil
}

func (s *session) count() {
	n := 0
	if s.watch != nil {
		n = len(s.watch.byWd)
	}
	s.update(func(st *Status) { st.Directories = n })
}
