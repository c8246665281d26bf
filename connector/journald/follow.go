package journald

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/base/lines"
	"holdfast/connector"
)

// follower is one Watch of a journal. One goroutine uses it.
type follower struct {
	cfg   Config
	bells *Bells
	at    *place // behind what was told; nil before the first look
	boot  bool   // it begins at the boot, and nothing was told yet
	tell  func(context.Context, connector.Seen) error
	kept  *files
	join  *lines.Joiner[connector.Event] // nil if entries stand alone

	said  []connector.Event // notes and gaps that are not told yet
	texts []connector.Event // joined ones
	told  []byte
	notes int // so far

	grace time.Duration // how long an entry may be on its way
	fails int           // lives of children in which nothing was read
}

// The waiting between two children, and how often it is tried.
const (
	pauseFirst = 100 * time.Millisecond
	pauseMost  = 10 * time.Second
	mostFails  = 6
	graceMost  = 2 * time.Second
)

func newFollower(c Config, at *place, tell func(context.Context, connector.Seen) error) *follower {
	f := &follower{cfg: c, bells: new(Bells), at: at, tell: tell, kept: c.files(), grace: min(graceMost, c.Watchdog)}
	if c.Join != nil {
		f.join = lines.NewJoiner[connector.Event](*c.Join.Rule())
	}
	if at != nil {
		f.told = at.bytes()
		if f.join == nil { // entries were joined, and are no more: what was begun is told as it is
			for _, o := range at.Open {
				f.texts = append(f.texts, o.event())
			}
		} else {
			restore(f.join, at.Open)
		}
		if at.choose(strings.Join(c.filter(), "\x00")) {
			f.say(connector.EventNote, "the journal is read on from "+at.when()+": something else is chosen of it from there on")
		}
	}
	return f
}

func (f *follower) run(ctx context.Context) error {
	f.kept.look()
	if f.at == nil {
		if err := f.first(ctx); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		read, err := f.live(ctx)
		if err != nil {
			return err
		}
		if f.fails++; read {
			f.fails = 0
		}
		if f.fails >= mostFails {
			return fault.New(fault.Transient, "watch the journal: journalctl ended %d times and read nothing", f.fails)
		}
		if err := f.flush(ctx, nil); err != nil {
			return err
		}
		_ = connector.Sleep(ctx, min(pauseFirst<<f.fails, pauseMost)) // the loop looks at ctx
	}
	return nil
}

// first finds the place to begin at, and tells it, so that a restart misses nothing.
func (f *follower) first(ctx context.Context) error {
	f.at = &place{Version: placeVersion}
	f.at.choose(strings.Join(f.cfg.filter(), "\x00"))
	since, err := f.cfg.since()
	switch {
	case err != nil:
		return fault.As(fault.Permanent, err)
	case f.cfg.Since == "boot":
		f.boot = true
		return nil
	case !since.IsZero():
		f.at.Micro = since.UnixMicro() - 1
	default:
		now := time.Now().UnixMicro()
		end, err := ask(ctx, f.cfg, 1)
		if err != nil {
			return err
		}
		f.at.Micro = now
		if len(end) > 0 {
			f.at.Cursor, f.at.Micro = end[0].cursor, end[0].micro
		}
	}
	return f.flush(ctx, nil)
}

// check makes sure that the journal has the entry of the cursor. Where it has not, it is read on by time.
func (f *follower) check(ctx context.Context) error {
	if f.at.Cursor == "" {
		return nil
	}
	there, err := ask(ctx, f.cfg, 1, "--cursor="+f.at.Cursor)
	if err == nil && len(there) > 0 && there[0].cursor == f.at.Cursor {
		return nil
	}
	if err != nil { // it may be no cursor at all, or the journal can't be read
		if _, e := ask(ctx, f.cfg, 1); e != nil {
			return e
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	next := "nothing newer yet"
	if newer, err := ask(ctx, f.cfg, 1, place{Micro: f.at.Micro}.from()...); err == nil && len(newer) > 0 {
		next = "the next that is there is of " + place{Micro: newer[0].micro}.when()
	}
	f.say(connector.EventGap, fmt.Sprintf("the journal no longer has the entry of %s that was the last one read (%s); what was behind it and was "+
		"removed can't be read any more; %s", f.at.when(), f.at.Cursor, next))
	f.at.Cursor = ""
	return nil
}

func (f *follower) say(kind connector.EventKind, cause string) {
	f.notes++
	now := time.Now()
	f.said = append(f.said, connector.Event{Kind: kind, Time: now, ID: fmt.Sprintf("%d-%d", now.UnixNano(), f.notes), Cause: cause})
}

// live is the life of one child. It reports whether it read anything; an error is one of tell, or of what no other child
// would do better.
func (f *follower) live(ctx context.Context) (read bool, err error) {
	if err := f.check(ctx); err != nil {
		return false, f.mend(err)
	}
	cfg := f.cfg
	var stale <-chan struct{}
	if b, err := f.bells.hang(f.kept.roots); err == nil { // without it lines come later by a quarter of a second
		defer b.remove()
		stale, cfg.Directory, cfg.Namespace = b.stale, b.dir, ""
	}
	args := append(append(cfg.journal(), f.cfg.output(), "--follow", "--no-tail"), f.cfg.filter()...)
	if f.boot {
		id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			return false, fault.New(fault.Transient, "ask which boot this is: %w", err)
		}
		args = append(args, "_BOOT_ID="+strings.ReplaceAll(strings.TrimSpace(string(id)), "-", ""))
	} else {
		args = append(args, f.at.from()...)
	}
	c, err := start(f.cfg.Command, args...)
	if err != nil {
		return false, f.mend(err)
	}
	stop := make(chan struct{})
	in := incomingOf(c, f.cfg.MaxLine, stop)
	defer c.kill()
	defer close(stop)
	w := &watch{f: f, c: c, in: in, stale: stale}
	err = w.run(ctx)
	return w.read, err
}

// mend makes a note of an error that another try may mend.
func (f *follower) mend(err error) error {
	if fault.Is(err, fault.Transient) {
		f.say(connector.EventNote, err.Error())
		return nil
	}
	return err
}

// watch is the watching over one child.
type watch struct {
	f     *follower
	c     *child
	in    *incoming
	stale <-chan struct{} // closed when the journal is elsewhere too
	read  bool
	fresh bool // something came since the last look
	deaf  bool // the journal has an entry that did not come; it has until the next look
	turns uint64
	spare int    // looks that the child was taken at its word
	state string // of the journal's files, at the last look
	asked string // and when the child was asked last
}

func (w *watch) run(ctx context.Context) error {
	f := w.f
	look := time.NewTimer(f.cfg.Watchdog)
	defer look.Stop()
	quiet := time.NewTimer(time.Hour)
	defer quiet.Stop()
	notes := w.c.notes
	for {
		if f.join != nil {
			if due, open := f.join.Due(); open {
				quiet.Reset(max(0, time.Until(due)))
			}
		}
		var err error
		select {
		case <-ctx.Done():
			return nil
		case b, ok := <-w.in.batches:
			if !ok {
				return w.over()
			}
			w.read, w.fresh = w.read || len(b.events) > 0, true
			err = f.take(ctx, b)
			w.in.free <- b
		case note, ok := <-notes:
			if !ok {
				notes = nil
				continue
			}
			f.say(connector.EventNote, note)
			err = f.flush(ctx, nil)
		case <-w.stale:
			w.read = true // its end is no failure
			return nil
		case <-quiet.C:
			f.join.Quiet(time.Now(), f.text)
			err = f.flush(ctx, nil)
		case <-look.C:
			var next time.Duration
			if next, err = w.look(ctx); next == 0 && err == nil {
				return nil
			}
			look.Reset(next)
		}
		if err != nil {
			return err
		}
	}
}

// over says how a child ended that nobody ended.
func (w *watch) over() error {
	cause := "its output ended"
	if w.in.err != nil && !errors.Is(w.in.err, io.EOF) {
		cause = w.in.err.Error()
	}
	w.c.kill()
	if w.c.err != nil {
		cause = w.c.err.Error()
	}
	for note := range w.c.notes {
		w.f.say(connector.EventNote, note)
	}
	w.f.say(connector.EventNote, "journalctl ended and is started again: "+cause)
	return nil
}

// look asks the journal what a silent child misses. It returns when to look again, 0 if the child is deaf and is to be
// replaced.
func (w *watch) look(ctx context.Context) (time.Duration, error) {
	f := w.f
	now := time.Now()
	if w.fresh || f.boot || !w.doubtful() {
		if !w.fresh && !f.boot {
			f.at.Until = max(f.at.Until, now.Add(-f.grace).UnixMicro())
		}
		w.fresh, w.deaf = false, false
		return f.cfg.Watchdog, f.flush(ctx, nil)
	}
	// The end of the journal is asked for first: if then nothing is behind the cursor, all up to that end was seen.
	end, err := ask(ctx, f.cfg, 1)
	var newer []entry
	if err == nil {
		newer, err = ask(ctx, f.cfg, 2, append(f.cfg.filter(), f.at.from()...)...)
	}
	switch {
	case ctx.Err() != nil:
		return f.cfg.Watchdog, nil
	case err != nil:
		f.say(connector.EventNote, err.Error())
		return f.cfg.Watchdog, f.flush(ctx, nil)
	case f.at.has(newer) && w.deaf:
		f.say(connector.EventNote, "journalctl is silent though the journal has newer entries; another is started")
		return 0, f.flush(ctx, nil)
	case f.at.has(newer):
		w.deaf = true
		return f.grace, nil
	}
	w.deaf = false
	if len(end) > 0 && end[0].micro >= f.at.Micro {
		was := *f.at
		f.at.Cursor, f.at.Micro = end[0].cursor, end[0].micro
		if s, is := f.kept.passed(was, *f.at); is {
			f.say(connector.EventGap, overtaken(was, s))
		}
	}
	return f.cfg.Watchdog, f.flush(ctx, nil)
}

// mostSpare is how often a child that wakes when something is written is not asked for what it tells.
const mostSpare = 9

// doubtful reports whether the child is to be asked, which takes two more: something was written since, and it did not
// wake; or its place is in a file that will be removed one day, or was; or it was not asked for long; or nothing more was
// written since the last look. For one that looks while the last entry is being linked to what it asks for (an entry is
// counted before that is done) does not see it, and does not look again until another one comes.
func (w *watch) doubtful() bool {
	f := w.f
	if !f.kept.newer(*f.at) {
		return false
	}
	state := f.kept.state()
	hushed := state == w.state && state != w.asked
	w.state = state
	turns := w.c.turns()
	awake := turns > w.turns
	w.turns = turns
	if w.spare++; awake && !hushed && w.spare <= mostSpare && !w.deaf && len(f.kept.gone) == 0 && !f.kept.rotated(*f.at) {
		return false
	}
	w.spare, w.asked = 0, state
	return true
}

// has reports whether one of some entries is behind the place.
func (p *place) has(all []entry) bool {
	for _, e := range all {
		if e.cursor != p.Cursor && e.micro >= p.Micro {
			return true
		}
	}
	return false
}

// take tells a batch. The entry at the cursor was told already.
func (f *follower) take(ctx context.Context, b *batch) error {
	if b.bad > 0 {
		f.say(connector.EventGap, fmt.Sprintf("of what journalctl wrote %d parts are no entries", b.bad))
	}
	events, micro := b.events, b.micro
	if len(events) > 0 && events[0].ID == f.at.Cursor {
		events, micro = events[1:], micro[1:]
	}
	f.kept.look()
	events = f.gaps(events, micro)
	if n := len(micro); n > 0 {
		f.at.Cursor, f.at.Micro, f.boot = events[len(events)-1].ID, micro[n-1], false
	}
	if f.join != nil {
		now := time.Now()
		for _, e := range events {
			if e.Kind == connector.EventGap {
				f.texts = append(f.texts, e)
				continue
			}
			f.join.Add(streamOf(e.Fields), own(e), e.Line, e.Cut, now, f.text)
		}
		events = nil
	}
	return f.flush(ctx, events)
}

// gaps puts a gap between entries where the end of a file lay that is gone.
func (f *follower) gaps(events []connector.Event, micro []int64) []connector.Event {
	if len(f.kept.gone) == 0 {
		return events
	}
	all := make([]connector.Event, 0, len(events)+1)
	at := *f.at
	for i, e := range events {
		next := place{Cursor: e.ID, Micro: micro[i]}
		if s, is := f.kept.passed(at, next); is {
			all = append(all, connector.Event{Kind: connector.EventGap, Time: time.Now(), ID: e.ID + "-gap", Cause: overtaken(at, s)})
		}
		all, at = append(all, e), next
	}
	return all
}

func overtaken(p place, s span) string {
	return fmt.Sprintf("what was in %s between %s and %s may be missing: it was removed, and may not have been read to its end", s.chain,
		p.when(), place{Micro: s.until}.when())
}

func (f *follower) text(t lines.Text[connector.Event]) {
	e := t.First
	e.Line, e.Cut = t.Text, t.Cut
	f.texts = append(f.texts, e)
}

// flush tells what is there and where it stands.
func (f *follower) flush(ctx context.Context, events []connector.Event) error {
	if f.boot {
		return nil // there is no place yet
	}
	f.at.Open = save(f.join)
	position := f.at.bytes()
	all := events
	if len(f.said)+len(f.texts) > 0 {
		all = slices.Concat(f.said, f.texts, events)
	}
	if len(all) == 0 && string(position) == string(f.told) {
		return nil
	}
	if err := f.tell(ctx, connector.Seen{Events: all, Position: position}); err != nil {
		return err
	}
	f.said, f.texts, f.told = nil, nil, position
	return nil
}
