package processor

import (
	"context"
	"errors"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/job/stream/report"
	"holdfast/job/stream/wire"
)

// work is a notice whose report is being computed, in a goroutine of its own: a broker drops who does not take
// its messages, however slow the database is.
type work struct {
	notice wire.Stored
	old    *oldHour // nil for a notice of ours

	cancel context.CancelFunc
	done   chan struct{} // closed when what is below is set
	err    error
	made   made
}

// made is the report of a window.
type made struct {
	rows     arrow.RecordBatch // nil for none
	from     time.Time
	revision int64
	read     int64 // rows that it is computed of
	lost     int64 // rows that it lacks
	dayless  bool  // of an old notice: the table has no such hour, so its day is not known
}

// begin begins with the next notice, if there is one that can be done.
func (s *Source) begin(ctx context.Context, now time.Time) *work {
	w := &work{done: make(chan struct{})}
	var ok bool
	if w.notice, ok = s.inbox.ready(); !ok {
		w.old = s.old.take(now)
		ok = w.old != nil
	}
	if !ok {
		return nil
	}
	ctx, w.cancel = context.WithCancel(ctx)
	go func() { // follow waits for done, or giveUp does
		defer close(w.done)
		w.err = fault.Catch(func() (err error) {
			w.made, err = s.compute(ctx, w)
			return err
		})
	}()
	return w
}

// finished is closed when the work has ended; nil for no work.
func (w *work) finished() <-chan struct{} {
	if w == nil {
		return nil
	}
	return w.done
}

// giveUp ends work that is under way, waits for it, and puts its notice back.
func (s *Source) giveUp(w *work) {
	if w == nil {
		return
	}
	w.cancel()
	<-w.done
	if w.old != nil {
		s.old.add(w.old)
	}
}

// failed puts back a notice whose rows the database did not give, and reports that to the gate. A panic is passed on, as if it
// were one of Fetch itself.
func (s *Source) failed(w *work) {
	s.giveUp(w)
	if _, bug := errors.AsType[*fault.Panic](w.err); bug {
		panic(w.err)
	}
	s.database.Report(w.err)
}

// carry is what the commit of a page needs to know of it.
type carry struct{ made }

// reported is the page of a report.
func (s *Source) reported(w *work) connector.Page {
	w.cancel()
	n := w.notice
	if w.old == nil {
		s.inbox.given(n)
	}
	_, more := s.inbox.ready()
	p := s.page()
	if p.Rows = w.made.rows; p.Rows == nil {
		s.tellEmpty(w)
	} else {
		p.Carry = carry{w.made}
		s.tellShort(w)
	}
	at, revision := w.made.from.UnixMicro(), w.made.revision
	s.mu.Lock()
	if p.Rows != nil {
		s.given[at] = revision
		if s.lastReport != nil && w.made.from.After(*s.lastReport) {
			s.lastReport = &w.made.from
		}
	}
	if w.old == nil {
		m := s.done[n.Epoch]
		m.flying++
		s.done[n.Epoch] = m
	}
	s.mu.Unlock()
	p.Taken = func(ctx context.Context) {
		s.kept(at, revision)
		if w.old == nil {
			s.committed(ctx, n.Epoch, n.Number+1, more)
		} else {
			_ = w.old.ack(ctx) // it comes again
		}
	}
	return p
}

// tellEmpty tells of a window without rows.
func (s *Source) tellEmpty(w *work) {
	n, name := w.notice, w.made.from.UTC().Format(time.RFC3339)
	switch {
	case w.made.dayless:
		s.history.Warn("report.empty", "hour %d is said to be stored, and table %s has no rows", w.old.hour,
			s.cfg.Table)
	case w.old == nil && n.Rows == 0 && n.Lost == 0:
		s.history.Note("report.empty", "the window from %s has no rows, so there is no report", name)
	default:
		s.history.Warn("report.empty", "the window from %s is said to be stored, and table %s has no rows of it: "+
			"there is no report (%s came, %d lost)", name, s.cfg.Table, plural.Of(n.Rows, "row"), n.Lost)
	}
}

// tellShort tells of a table that has fewer rows of a window than the ingester saw stored: it may be another one, or somebody
// took them out.
func (s *Source) tellShort(w *work) {
	if n := w.notice; w.made.read < int64(n.Keys) {
		s.history.Warn("report.short", "of the window from %s %s should be stored, and table %s has %d: the report lacks "+
			"%s, and says so", n.From.UTC().Format(time.RFC3339), plural.Of(n.Keys, "row"), s.cfg.Table, w.made.read,
			plural.Of(w.made.lost, "row"))
	}
}

// compute makes the report of a notice. It is complete if all rows of its time came, none is to follow, and no fewer were read.
func (s *Source) compute(ctx context.Context, w *work) (m made, err error) {
	n := w.notice
	if w.old != nil {
		from, ok, err := s.dayOf(ctx, w.old.hour)
		if err != nil || !ok {
			return made{dayless: true}, err
		}
		n.From, n.To, n.Shared = from, from.Add(time.Hour), true // the spool knows nothing of it
	}
	m.from = n.From
	c, err := s.rows(ctx, n)
	if err != nil || c.Len() == 0 {
		return m, err
	}
	if m.revision, err = s.revision(ctx, n.From, n.To); err != nil {
		return m, err
	}
	m.read = c.Len()
	m.lost = int64(n.Lost) + max(int64(n.Keys)-m.read, 0)
	m.rows, err = c.Reports(report.Window{From: n.From, Revision: m.revision, Complete: m.lost == 0 && !n.More,
		Lost: m.lost})
	return m, err
}

// dayOf finds the hour that an ingester of old has told of: the newest such hour in the table that has begun,
// if no day is configured.
func (s *Source) dayOf(ctx context.Context, hour int) (from time.Time, ok bool, err error) {
	at := time.Duration(hour) * time.Hour
	if !s.cfg.Day.IsZero() {
		return startOf(s.cfg.Day).Add(at), true, nil
	}
	newest, ok, err := s.cfg.Tables.Newest(ctx, connector.TableQuery{Table: s.cfg.Table, Time: s.cfg.Time})
	if from = startOf(newest).Add(at); from.After(newest) {
		from = from.Add(-24 * time.Hour) // there are rows of the next day already
	}
	return from, ok, err
}

func startOf(day time.Time) time.Time { return day.UTC().Truncate(24 * time.Hour) }

// rows computes the rows of a window: those of the spool, if it holds them all, else those of the database.
func (s *Source) rows(ctx context.Context, n wire.Stored) (*report.Computation, error) {
	if s.cfg.Window != nil && !n.Shared {
		c := s.cfg.Reports.Begin()
		ok, err := s.cfg.Window(ctx, n, func(b arrow.RecordBatch) error {
			b, err := s.within(b, n)
			if err != nil {
				return err
			}
			return c.Add(b)
		})
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			s.history.Warn("spool.unread", "the database is asked for the window from %s, because its rows in the "+
				"spool can't be used: %v", n.From.UTC().Format(time.RFC3339), err)
		case ok && c.Len() > 0:
			return c, nil
		}
	}
	c := s.cfg.Reports.Begin()
	from := n.From
	if from.IsZero() { // which would be no bound
		from = from.Add(-1)
	}
	return c, s.cfg.Tables.Rows(ctx, connector.TableQuery{Table: s.cfg.Table, Time: s.cfg.Time,
		Columns: s.cfg.Reports.Columns(), From: from, To: n.To}, c.AddRow)
}

// within are the rows of a batch that are of a window.
func (s *Source) within(b arrow.RecordBatch, n wire.Stored) (arrow.RecordBatch, error) {
	i := b.Schema().FieldIndices(s.cfg.Time)
	if len(i) != 1 {
		return nil, fault.New(fault.Invalid, "they have no column %s", s.cfg.Time)
	}
	times, ok := b.Column(i[0]).(*array.Timestamp)
	if !ok {
		return nil, fault.New(fault.Invalid, "column %s is %s, want times", s.cfg.Time, b.Column(i[0]).DataType())
	}
	unit := times.DataType().(*arrow.TimestampType).Unit
	keep, all := make([]bool, times.Len()), true
	for row, at := range times.TimestampValues() {
		t := at.ToTime(unit)
		keep[row] = times.IsValid(row) && !t.Before(n.From) && t.Before(n.To)
		all = all && keep[row]
	}
	if all {
		return b, nil
	}
	return record.Keep(b, keep)
}
