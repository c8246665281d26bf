package collect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/kernel/balance"
	"holdfast/kernel/store"
)

// runIntake polls the source until ctx ends, or for one cycle. The next page is fetched while the last
// one is committed; only the commit moves the cursor that survives.
func (j *Job) runIntake(ctx context.Context) error {
	defer close(j.intakeDone)
	for failed := false; ; {
		if !failed { // else the gate says when
			if err := j.untilDue(ctx); err != nil {
				return err
			}
		}
		if err := j.poll(ctx); err != nil {
			if !j.sourceFailed(ctx, err) {
				return err
			}
			if j.cfg.Once {
				return nil // the sinks still get what is here; the gate says why there is no more
			}
			failed = true
			continue
		}
		failed = false
		if j.over {
			return nil
		}
		if err := j.fill(ctx); err != nil && !j.sourceFailed(ctx, err) {
			return err
		}
		if j.cfg.Once {
			return nil
		}
	}
}

// sourceEnded reports whether no more rows will come.
func (j *Job) sourceEnded() bool {
	select {
	case <-j.intakeDone:
		return true
	default:
		return false
	}
}

// untilEnd is ctx, which also ends when no more rows will come.
func (j *Job) untilEnd(ctx context.Context) context.Context {
	ctx, stop := context.WithCancel(ctx)
	go func() { // ends with ctx
		defer stop()
		select {
		case <-j.intakeDone:
		case <-ctx.Done():
		}
	}()
	return ctx
}

// sourceFailed reports an error to the gate of the source if it speaks of the source. Other errors, of the store for example,
// end the job.
func (j *Job) sourceFailed(ctx context.Context, err error) bool {
	if ctx.Err() != nil || !isSourceError(err) {
		return false
	}
	j.gate.Report(err)
	return true
}

// sourceError marks what Fetch returned.
type sourceError struct{ error }

func (e sourceError) Unwrap() error { return e.error }

func isSourceError(err error) bool { _, ok := err.(sourceError); return ok }

// nextPoll returns when a feed is asked again that was last asked at a time.
func (j *Job) nextPoll(last time.Time) time.Time {
	if j.cfg.NextPoll == nil {
		return last.Add(2 * time.Minute)
	}
	return j.cfg.NextPoll(last)
}

// untilDue waits for the time of the next poll, which a restart does not bring forward: a process that
// fails again and again must not become a storm. One cycle by hand is due at once.
func (j *Job) untilDue(ctx context.Context) error {
	if j.cfg.Once {
		return nil
	}
	return j.whenRoom(ctx, func() error {
		err := j.due.Wait(ctx)
		if fault.Is(err, fault.Full) {
			j.due.Kick() // it is due as before
		}
		return err
	})
}

// whenRoom repeats f as long as the disk has no room for its commit. Somebody else may have filled it, so ending the job would
// help nobody.
func (j *Job) whenRoom(ctx context.Context, f func() error) error {
	for {
		err := f()
		if !fault.Is(err, fault.Full) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(time.Second):
		}
	}
}

// poll reads all pages that the source has now.
func (j *Job) poll(ctx context.Context) error {
	cursor, err := j.cursor(ctx)
	if err != nil {
		return err
	}
	return connector.ReadAhead(ctx, func(ctx context.Context) (p connector.Page, more bool, err error) {
		p, err = j.fetch(ctx, cursor)
		cursor = p.Cursor
		return p, p.More && len(p.Cursor) > 0 && !p.End, err
	}, func(p connector.Page) error { return j.takePage(ctx, p) })
}

// cursor returns where to go on: the committed cursor, else behind what the sinks hold already.
func (j *Job) cursor(ctx context.Context) ([]byte, error) {
	c, err := j.intake.Cursor(ctx)
	if err != nil || c != nil {
		return c, err
	}
	highest, _, err := j.intake.Highest(ctx)
	if err != nil {
		return nil, err
	}
	if s := j.src.Schema(); s.Key >= 0 && !s.TextKeyed() { // else no sink can tell, and nobody need wait for one that is away
		known, err := j.sinksHighest(ctx)
		if err != nil {
			return nil, err
		}
		highest = max(highest, known)
	}
	if highest > 0 && j.beyondFeed(ctx, highest) {
		highest = 0
	}
	if highest > 0 {
		if err := j.intake.setFloor(highest); err != nil {
			return nil, err
		}
	}
	return j.src.Start(highest), nil
}

// meetFor is how long a source without a cursor waits for what the sinks have. One that is frozen must not hold
// up what is for the others.
const meetFor = 5 * time.Second

// sinksHighest asks all sinks at once for the highest key of any.
func (j *Job) sinksHighest(ctx context.Context) (highest uint64, err error) {
	bounded, cancel := context.WithTimeout(ctx, meetFor)
	defer cancel()
	answers, failed := make([]uint64, len(j.sinks)), make([]error, len(j.sinks))
	var asking sync.WaitGroup
	for i, d := range j.sinks {
		asking.Go(func() {
			failed[i] = fault.Catch(func() error {
				answers[i] = d.highest(bounded)
				return nil
			})
		})
	}
	asking.Wait()
	return slices.Max(append(answers, 0)), errors.Join(append(failed, ctx.Err())...)
}

// feedReach is how far a key from elsewhere may be above the oldest page of the feed; it is worth months of it.
const feedReach = 1_000_000_000

// beyondFeed reports whether a key that a sink or an old file holds can't be one of the feed: to go on after it would mean to
// collect nothing, without an error. A feed that is away or empty can't tell.
func (j *Job) beyondFeed(ctx context.Context, highest uint64) bool {
	if !j.src.Traits().DenseKeys {
		return false
	}
	j.fetchMu.Lock()
	p, err := j.ask(ctx, j.src.Start(0))
	j.fetchMu.Unlock()
	if err != nil || p.Rows == nil {
		return false
	}
	keys, _ := record.Keys(j.src.Schema(), p.Rows)
	if len(keys) == 0 || highest-min(highest, slices.Max(keys)) < feedReach {
		return false
	}
	j.env.History.Warn("cursor.refused", "the highest id that the sinks and old files hold is %d, and the feed "+
		"is at %d: it can't be the feed's, and all that the feed keeps is collected", highest, slices.Max(keys))
	return true
}

// fetch asks for the page behind cursor, once the source's gate is open and the disk has room.
func (j *Job) fetch(ctx context.Context, cursor []byte) (connector.Page, error) {
	if err := j.env.Room.Wait(ctx, j.env.History); err != nil {
		return connector.Page{}, err
	}
	if !j.cfg.Once {
		if err := j.gate.Wait(ctx); err != nil {
			return connector.Page{}, err
		}
	}
	return j.next(ctx, cursor)
}

// next returns the page that the canary fetched, or asks for the page behind cursor.
func (j *Job) next(ctx context.Context, cursor []byte) (connector.Page, error) {
	j.fetchMu.Lock()
	defer j.fetchMu.Unlock()
	if p := j.stash; p != nil {
		j.stash = nil
		return *p, nil
	}
	return j.readOn(ctx, cursor)
}

// readOn asks for the page behind cursor, and remembers how far that goes. Called with fetchMu held.
func (j *Job) readOn(ctx context.Context, cursor []byte) (connector.Page, error) {
	p, err := j.ask(ctx, cursor)
	if err == nil && len(p.Cursor) > 0 {
		j.readTo = p.Cursor
	}
	return p, err
}

// ask asks for the page behind cursor. Called with fetchMu held.
func (j *Job) ask(ctx context.Context, cursor []byte) (connector.Page, error) {
	p, err := j.src.Fetch(ctx, connector.Request{Cursor: cursor})
	if err != nil && ctx.Err() == nil {
		err = sourceError{err}
	}
	return p, err
}

// probeSource is the canary of the source's gate: it fetches the page that is due. The page is kept for the poll that waits,
// because the feed does not like the same question twice. A person may have opened the gate meanwhile, so that the poll has
// gone on: then the page is the one behind what the poll has read, else its rows would come in twice.
func (j *Job) probeSource(ctx context.Context) error {
	cursor, err := j.cursor(ctx)
	if err != nil {
		return err
	}
	j.fetchMu.Lock()
	defer j.fetchMu.Unlock()
	if j.stash != nil { // the poll has not taken the last one yet
		return nil
	}
	if j.readTo != nil {
		cursor = j.readTo
	}
	p, err := j.readOn(ctx, cursor)
	if err == nil {
		j.stash = &p
	}
	return err
}

// takePage commits a page as soon as neither a quota nor a full disk holds it back.
func (j *Job) takePage(ctx context.Context, p connector.Page) error {
	if err := j.holdForQuotas(ctx); err != nil {
		return err
	}
	if m := p.Missed; m != nil { // before the commit of the cursor, which knows nothing of it any more
		j.env.History.Warn("source.missed", "the source was not heard all the time from %s to %s: what came while it "+
			"was not is lost, and nobody knows how much", m.From.UTC().Format(time.RFC3339),
			m.To.UTC().Format(time.RFC3339))
	}
	p.Lost += j.overload.uncounted
	t, err := j.takeIn(ctx, p, Follow)
	if err != nil {
		return err
	}
	if p.Taken != nil {
		p.Taken(ctx)
	}
	p.Lost += j.overload.untold
	j.overload, j.over = overload{}, p.End
	j.answered(t.Accepted)
	j.tell(p, t)
	return nil
}

// takeIn commits a page as soon as there is room for it. Until then it is in memory, and the source keeps it too.
func (j *Job) takeIn(ctx context.Context, p connector.Page, m Mode) (t Taken, err error) {
	err = j.whenRoom(ctx, func() error {
		err := j.env.Room.Intake(pageBytes(p))
		if err == nil {
			t, err = j.intake.Take(ctx, p, m)
		}
		if fault.Is(err, fault.Full) {
			err = errors.Join(err, j.env.Room.Wait(ctx, j.env.History))
		}
		return err
	})
	return t, err
}

func pageBytes(p connector.Page) int {
	n := 4096
	if p.Rows != nil {
		n += int(p.Rows.NumRows()) * 64
	}
	for _, r := range p.Rejected {
		n += len(r.Raw) + 256
	}
	return n
}

// tell says what became of a page: to the log, and while a sink is away, that rows are kept.
func (j *Job) tell(p connector.Page, t Taken) {
	j.notesMu.Lock()
	for name, n := range p.Notes {
		j.notes[name] += n
	}
	j.notesMu.Unlock()
	if t.Accepted > 0 {
		j.env.Log.Info(fmt.Sprintf("Collected %d %s (%d duplicate, %d rejected)", t.Accepted, j.cfg.Noun,
			t.Duplicate, t.Rejected))
	}
	if t.Rejected > 0 {
		j.env.History.Warn("dead.intake", "%d of %d %s can't be taken in: they are dead letters, see "+
			"`holdfast dead ls %s`", t.Rejected, t.Read, j.cfg.Noun, j.env.Name)
	}
	if p.Lost > 0 {
		j.env.History.Warn("overload.lost", "%d %s of the source were lost: they came faster than they could be "+
			"kept", p.Lost, j.cfg.Noun)
	}
	if t.Gap != nil {
		j.env.Log.Info(fmt.Sprintf("gap: %d ids between %d and %d are missing", t.Gap.Missing, t.Gap.From,
			t.Gap.To))
	}
	for _, d := range j.sinks {
		if g := d.gate.Status(); t.Accepted > 0 && !g.Open && g.Kind != "" {
			d.cached.taken(t)
		}
	}
}

// lost records rows that one sink will not get, as a gap that can't be filled.
func (in *Intake) lost(tx *store.Tx, c balance.Cause, sink string, from, to, rows uint64, why string) error {
	now := time.Now().UTC()
	return balance.PutGap(tx, balance.Gap{Source: in.id, From: from, To: to, Missing: rows, Cause: c,
		State: balance.GapLost, Found: now, Next: now, Sink: sink, SinkID: in.sinks[sink], Note: why})
}
