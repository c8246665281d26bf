package streamer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/connector"
	"holdfast/kernel/balance"
	"holdfast/kernel/identity"
	"holdfast/kernel/store"
)

const (
	// ahead is how many windows are cut before they can be sent: further rows are better left in their file.
	ahead = 2
	// idle is the pause after a page behind which there is nothing yet.
	idle = time.Second
	// looksAgain is how often a data set that was read to its end is looked at for what was added.
	looksAgain = 10 * time.Second
	// knownFor is how long a reject is known.
	knownFor = 366 * 24 * time.Hour
)

// sourceError marks an error of the source.
type sourceError struct{ error }

func (e sourceError) Unwrap() error { return e.error }

// runIntake reads the data set to its end, again and again if it is to, and what is added to it. A source that fails
// is asked again; a job that is to end by itself ends.
func (j *Job) runIntake(ctx context.Context) error {
	for {
		err := j.readOn(ctx)
		pause := time.Duration(0)
		switch _, ok := err.(sourceError); {
		case ok && ctx.Err() == nil && !j.cfg.Once:
			j.feed.Report(err)
			pause = pauseAfter(err)
		case err != nil || j.cut.state.Over && j.cfg.Once:
			return err
		case j.cut.state.Over:
			pause = looksAgain
		default: // the next lap
			continue
		}
		if err := wait(ctx, pause, j.mended); err != nil {
			return err
		}
	}
}

// lookBack tells, once for each, of files that have changed since they were read, and of files that are empty.
func (j *Job) lookBack() {
	if j.cfg.Empty != nil {
		empty := j.cfg.Empty(j.cut.state.Cursor)
		for _, file := range empty {
			if !slices.Contains(j.empty, file) {
				j.env.History.Warn("stream.empty", "%s is empty: it is passed over until it has content", file)
			}
		}
		j.empty = empty
	}
	if j.cfg.Changed == nil || j.cut.state.Cursor == nil {
		return
	}
	before, now := j.Changed(), j.cfg.Changed(j.cut.state.Cursor)
	all := map[string]string{}
	maps.Copy(all, now)
	maps.Copy(all, before)
	for _, file := range slices.Sorted(maps.Keys(now)) {
		if before[file] == "" {
			j.env.History.Warn("stream.changed", "%s", now[file])
		}
	}
	j.changed.Store(&all)
}

// Changed returns what was told of files that have changed since they were read, by file. Nothing of what they hold now was
// read.
func (j *Job) Changed() map[string]string {
	if told := j.changed.Load(); told != nil {
		return *told
	}
	return nil
}

// pauseAfter is how long a source that failed is left alone: a person needs longer than an outage.
func pauseAfter(err error) time.Duration {
	switch fault.KindOf(err) {
	case fault.Unknown, fault.Transient, fault.Full, fault.Busy:
		return idle
	case fault.Throttled:
		return max(fault.WaitOf(err), 10*time.Second)
	}
	return time.Minute
}

// readOn reads from the cursor to the end of the data set. The next page is fetched while the last one is
// committed; only the commit moves the cursor that survives.
func (j *Job) readOn(ctx context.Context) error {
	if j.src == nil {
		if err := j.reopen(); err != nil {
			return err
		}
	}
	cursor := j.cut.state.Cursor
	if cursor == nil {
		cursor = j.src.Start(0)
	}
	over, rest := false, false
	err := connector.ReadAhead(ctx, func(ctx context.Context) (p connector.Page, more bool, err error) {
		if rest { // the source had no more just now
			if err := wait(ctx, idle, nil); err != nil {
				return p, false, err
			}
		}
		p, err = j.fetch(ctx, cursor)
		if len(p.Cursor) > 0 {
			cursor = p.Cursor
		}
		rest = !p.More
		return p, !p.End, err
	}, func(p connector.Page) error {
		if err := j.takePage(ctx, p); err != nil {
			return err
		}
		j.feed.OpenByHand()
		j.lookBack()
		over = p.End
		return nil
	})
	if over {
		return nil
	}
	return err
}

// reopen begins the data set again.
func (j *Job) reopen() (err error) {
	if j.src, err = j.cfg.Reopen(); err != nil {
		return sourceError{fmt.Errorf("open the data set again: %w", err)}
	}
	return nil
}

// atEnd tells people of the end of the data set, once its last page is committed. Before another lap the source is closed.
func (j *Job) atEnd() {
	st := j.cut.state
	if st.Over {
		j.env.History.Note("stream.end", "%s was read to its end", j.cfg.DataSet)
		return
	}
	j.env.History.Note("stream.lap", "%s was read to its end and begins again, %s later", j.cfg.DataSet,
		plural.Of(st.Lap*st.Days, "day"))
	j.closeSource()
}

func (j *Job) fetch(ctx context.Context, cursor []byte) (connector.Page, error) {
	if err := j.env.Room.Wait(ctx, j.env.History); err != nil {
		return connector.Page{}, err
	}
	p, err := j.src.Fetch(ctx, connector.Request{Cursor: cursor})
	if err != nil && ctx.Err() == nil {
		err = sourceError{err}
	}
	return p, err
}

// hold waits until fewer windows wait to be sent, or confirmed.
func (j *Job) hold(ctx context.Context) error {
	for {
		full := false
		changed := j.desk.look(func() { full = j.full() })
		if !full {
			return nil
		}
		if err := wait(ctx, time.Hour, changed); err != nil {
			return err
		}
	}
}

// full reports whether enough windows wait. Windows whose time has come wait in the store for the broker, as long as there is
// room for them beside those that wait for their confirmation.
func (j *Job) full() bool {
	d := j.desk
	last := d.marks.Sent
	if j.pacer.paces() {
		last = d.released
	}
	return d.next-1-last >= ahead || d.unsent >= j.cfg.RetainBytes/2 ||
		!j.cfg.Expire && d.pending() >= j.cfg.RetainBytes
}

// takePage takes a page in: rows, cursor, windows, dead letters and counts are one commit.
func (j *Job) takePage(ctx context.Context, p connector.Page) error {
	if p.End && j.cut.state.Over && len(p.Rejected) == 0 && (p.Rows == nil || p.Rows.NumRows() == 0) { // nothing is new
		j.desk.change(func() { j.desk.over = true })
		return nil
	}
	j.cut.state.Over = false
	if err := j.hold(ctx); err != nil {
		return err
	}
	if m := p.Missed; m != nil { // before the commit of the cursor, which knows nothing of it any more
		j.env.History.Warn("source.missed", "the source was not heard all the time from %s to %s: what came while "+
			"it was not is lost, and nobody knows how much", m.From.UTC().Format(time.RFC3339),
			m.To.UTC().Format(time.RFC3339))
	}
	s := j.cut.take(p.Rows, p.Where)
	s.refused = append(p.Rejected, s.refused...)
	if len(p.Cursor) > 0 {
		j.cut.state.Cursor = p.Cursor
	}
	lap, tooLate := j.cut.state.Lap, false
	if p.End {
		tooLate = j.cut.end(s, j.cfg.Loop)
	}
	rejected, err := j.commit(ctx, p, s, lap)
	if err != nil {
		return err
	}
	j.cut.committed()
	j.desk.change(func() {
		for _, w := range s.windows {
			j.desk.keep(w.light())
		}
		j.desk.over, j.desk.building = j.cut.state.Over, j.cut.rows()
		for name, n := range p.Notes {
			j.desk.counts[name] += n
		}
	})
	if p.Taken != nil {
		p.Taken(ctx)
	}
	j.tell(p, s, rejected)
	if tooLate {
		j.env.History.Warn("stream.loop", "%s does not begin again: %s later its last window would end behind "+
			"the year %d", j.cfg.DataSet, plural.Of((lap+1)*j.cut.state.Days, "day"), lastYear)
	}
	if p.End {
		j.atEnd()
	}
	return nil
}

// commit is the one commit of a page, once there is room for it.
func (j *Job) commit(ctx context.Context, p connector.Page, s *step, lap int) (rejected int64, err error) {
	for {
		err = j.env.Room.Intake(s.bytes())
		if err == nil {
			err = j.env.Store.Update(func(tx *store.Tx) (err error) {
				rejected, err = j.write(tx, p, s, lap)
				return err
			})
		}
		if !fault.Is(err, fault.Full) {
			return rejected, err
		}
		if err := j.env.Room.Wait(ctx, j.env.History); err != nil {
			return 0, err
		}
		if err := wait(ctx, idle, nil); err != nil { // there may be room for a page, but not for this one
			return 0, err
		}
	}
}

func (j *Job) write(tx *store.Tx, p connector.Page, s *step, lap int) (rejected int64, err error) {
	j.cut.write(tx, s)
	if rejected, err = j.bury(tx, s.refused, lap); err != nil {
		return 0, err
	}
	if p.Lost > 0 {
		err := lose(tx, j.source, balance.Overload, int(p.Lost), "they came faster than they could be kept")
		if err != nil {
			return 0, err
		}
	}
	refused := int64(len(s.refused))
	return rejected, balance.AddIntake(tx, j.source, balance.Intake{Read: s.rows + refused + p.Filtered,
		Accepted: s.rows, Filtered: p.Filtered, Rejected: rejected, Duplicate: refused - rejected})
}

// bury makes dead letters of what was refused. What was refused in the first lap comes again with each later one, and is known
// then.
func (j *Job) bury(tx *store.Tx, refused []connector.Reject, lap int) (buried int64, err error) {
	now := time.Now().UTC()
	seen := make([]identity.Seen, len(refused))
	for i, r := range refused {
		seen[i] = identity.Seen{Hash: identity.HashOf([]byte(r.Key), []byte(r.Reason), r.Raw), At: now}
	}
	verdicts, err := j.known.Check(tx, seen)
	if err != nil {
		return 0, err
	}
	for i, r := range refused {
		if lap > 0 && verdicts[i] == identity.Known {
			continue
		}
		_, err := balance.Bury(tx, balance.DeadLetter{At: now, Stage: balance.AtIntake, From: j.cfg.Source,
			FromID: j.source, Key: r.Key, Reason: r.Reason, Raw: r.Raw})
		if err != nil {
			return 0, err
		}
		buried++
	}
	_, err = j.known.Add(tx, now, seen)
	return buried, err
}

// tell says what became of a page.
func (j *Job) tell(p connector.Page, s *step, rejected int64) {
	if rejected > 0 {
		j.env.History.Warn("dead.intake", "%d of %s can't be taken in: see "+
			"`holdfast dead ls`", rejected, plural.Of(s.rows+int64(len(s.refused)), "row"))
	}
	if p.Lost > 0 {
		j.env.History.Warn("overload.lost", "%s of the source lost: they came faster than they could be "+
			"kept", plural.Of(p.Lost, "row"))
	}
	rows, late := 0, 0
	for _, w := range s.windows {
		if w.Late {
			late++
			rows += w.Rows
		}
		j.env.Log.Info(fmt.Sprintf("window %d is cut: %s from %s to %s in %s", w.Number, plural.Of(w.Rows, "row"),
			w.From.Format(time.RFC3339), w.To.Format(time.RFC3339), plural.Of(len(w.Parts), "batch")))
	}
	if late > 0 {
		j.env.History.Note("stream.late", "%s came behind windows that were closed: there %s %d "+
			"more %s", plural.Of(rows, "row"), plural.Are(late), late, plural.Noun(late, "window"))
	}
}
