package tree

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
)

// watchEvery is the time between two tries to watch what is polled because of a limit.
const watchEvery = 10 * time.Minute

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

var (
	errAnew = errors.New("the watch missed something, and is to be made anew")
	errTry  = errors.New("it was polled long enough to try to watch again")
)

// observe keeps a session going until ctx ends.
func (t *Tree) observe(ctx context.Context, files *table) error {
	if t.since.IsZero() {
		t.since = time.Now()
	}
	kind := Start
	var limit error    // for which it is polled
	var good time.Time // the pass of a session before that need not be made again began then
	for {
		r, err := t.await(ctx)
		if err != nil {
			return err
		}
		files.stand(r)
		s := &session{t: t, root: r, files: files, seen: t.seen, good: good}
		err = s.listen(limit)
		limit = nil
		if err == nil {
			err = s.run(ctx, kind)
			s.close()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if s.opened {
			kind = CatchUp
		}
		if _, is := errors.AsType[limitError](err); is {
			limit, good = err, time.Time{}
			continue
		}
		good = s.good
		switch {
		case !s.opened:
			good = time.Time{}
		case errors.Is(err, errAnew):
			t.update(func(s *Status) { s.Remade++ })
		case errors.Is(err, errTry):
		default:
			good = time.Time{} // whatever is in the window is looked at again
		}
		if _, is := errors.AsType[rootError](err); is {
			files.stand(root{})
			t.turn(Down, err)
			if err := t.rest(ctx); err != nil {
				return err
			}
		}
	}
}

func (t *Tree) rest(ctx context.Context) error {
	timer := time.NewTimer(t.own.pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// await returns when the root is there.
func (t *Tree) await(ctx context.Context) (root, error) {
	for {
		r, err := lookRoot(t.cfg.Root)
		if err == nil && t.mount && !r.mount {
			err = fault.WithHint(fault.New(fault.Transient, "watch %s: nothing is mounted there any more", t.cfg.Root),
				"mount it; if it is to be a directory like others, start again")
		}
		if err == nil {
			t.mount = r.mount
			return r, nil
		}
		t.turn(Down, err)
		if err := t.rest(ctx); err != nil {
			return root{}, err
		}
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
		s.until = time.Now().Add(watchEvery)
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
			return rootError{fault.New(fault.Transient, "watch %s: another directory stands there now", s.t.cfg.Root)}
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

// again tries the directories that could not be read.
func (s *session) again(now time.Time) {
	s.nextRetry = now.Add(s.t.own.retry)
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

// event takes one of inotify.
func (s *session) event(e event) {
	if e.mask&unix.IN_Q_OVERFLOW != 0 {
		s.lost(fault.WithHint(fault.New(fault.Transient, "watch %s: the kernel's queue of events ran over; the tree is scanned",
			s.t.cfg.Root), "if it happens often raise fs.inotify.max_queued_events by sysctl"))
		return
	}
	n := s.watch.byWd[e.wd]
	if n == nil {
		return // of a directory that is not watched any more
	}
	at := join(n.path, e.name)
	switch {
	case e.mask&(unix.IN_IGNORED|unix.IN_UNMOUNT|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF) != 0:
		s.self(n, e.mask)
	case e.name == "":
	case e.mask&unix.IN_ISDIR != 0:
		s.directory(at, e.mask)
	case !s.t.pick.wanted(at):
	case e.mask&(unix.IN_DELETE|unix.IN_MOVED_FROM) != 0: // the next look finds nothing
	case e.mask&unix.IN_MOVED_TO != 0:
		s.touch(at, wasMoved)
	case e.mask&unix.IN_CLOSE_WRITE != 0:
		s.touch(at, wasClosed)
	default:
		s.touch(at, wasTouched)
	}
}

// self takes what happened to a directory that is watched, as against what is in it.
func (s *session) self(n *node, mask uint32) {
	if n.path == "" {
		s.broken = rootError{fault.New(fault.Transient, "watch %s: the directory was removed, moved or unmounted", s.t.cfg.Root)}
		return
	}
	if mask&unix.IN_IGNORED != 0 {
		// It is gone, with its file system perhaps; another may stand at its place.
		s.watch.detach(n)
		s.arrived(n.path)
	}
}

// directory takes an event of a directory in one that is watched.
func (s *session) directory(at string, mask uint32) {
	if s.t.pick.ignored(at) {
		return
	}
	n := s.watch.byPath[at]
	switch {
	case mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0:
		s.watch.drop(n)
		s.arrived(at)
	case mask&(unix.IN_MOVED_FROM|unix.IN_DELETE) != 0:
		s.watch.drop(n)
	case mask&unix.IN_ATTRIB != 0 && n == nil:
		s.arrived(at) // it may be readable now
	}
}

// arrived takes a directory that is new at its path: all that is in it is.
func (s *session) arrived(at string) {
	s.part(&walk{kind: ByWatch, in: anything}, at)
}

func (s *session) touch(at string, what happened) {
	if !s.files.touch(at, what) {
		s.lost(fault.WithHint(fault.New(fault.Transient, "watch %s: more than %d files wait to be taken; the tree is scanned when there is room",
			s.t.cfg.Root, s.files.limit), "nothing is missed; the receiver is slower than the files come"))
	}
}

// lost takes that events were lost.
func (s *session) lost(err error) {
	s.deafOK = true
	if s.behind {
		return
	}
	s.behind = true
	s.update(func(st *Status) { st.Overflows++; st.Overflow = err })
}

func anything(*unix.Stat_t) bool { return true }
