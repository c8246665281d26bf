package desk

import (
	"context"
	"fmt"
	"strings"

	"holdfast/app"
	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/connector"
	"holdfast/job/stream/ingester"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// compareStream asks the database of a stream how many rows it has. Rows of a stream have no integer key; its tags
// and time are what tells a row apart, and the database holds each once: so counting is comparing.
func (d *Desk) compareStream(ctx context.Context, c *Comparison, b engine.Books, s engine.SinkBooks,
	role string) error {
	switch {
	case role == "processor":
		c.Note = "reports are computed of rows, which are compared, and replaced when rows come late"
		return nil
	case c.Sink != app.DatabaseSink:
		return fault.New(fault.Permanent, "rows of a stream have no integer key to compare by")
	}
	windows, _, err := d.Windows(ctx, c.Job, ingester.Query{})
	if err != nil {
		return err
	}
	stored, err := d.plan.StreamRows(c.Job)
	if err != nil {
		return err
	}
	defer stored.Close()
	seen := map[[2]int64]bool{} // several windows may be of one time
	came := int64(0)            // rows of the windows that are remembered
	for _, w := range windows {
		came += int64(w.Rows)
		span := [2]int64{w.From.Unix(), w.To.Unix()}
		if w.From.IsZero() || seen[span] {
			continue
		}
		seen[span] = true
		q := connector.TableQuery{Table: stored.Table, Time: stored.Time, Columns: stored.Tags[:1], From: w.From, To: w.To}
		if err := stored.Rows(ctx, q, func([]any) error { c.Rows++; return nil }); err != nil {
			return err
		}
	}
	want := s.Delivered
	if len(windows) >= ingester.MostPast && came < want {
		want = came
		defer func() {
			c.Note = strings.TrimPrefix(c.Note+fmt.Sprintf("; rows of windows in front of the newest %d, which are remembered, were not "+
				"compared", ingester.MostPast), "; ")
		}()
	}
	switch have := int64(c.Rows); {
	case have < want:
		c.Missing = want - have
		return d.excuseDoubles(ctx, c, b, s, stored.Tags)
	case have > want:
		c.Foreign = have - want
	}
	return nil
}

// excuseDoubles takes off the rows that came more than once: the database has them once. Of those that left the spool nobody
// knows. What is not delivered may be any of the rows, so it counts as none of the doubles.
func (d *Desk) excuseDoubles(ctx context.Context, c *Comparison, b engine.Books, s engine.SinkBooks, tags []string) error {
	return d.with(ctx, c.Job, func(st *store.Store) error {
		return st.View(ctx, func(r store.Reader) error {
			rows, different, err := ingester.CountKeys(r, tags)
			if err != nil {
				return err
			}
			before := max(0, b.Accepted-s.Accepted) // the sink was added
			n := min(c.Missing, max(0, rows-before-s.Pending-s.Dead-s.Discarded-s.Expired-different))
			c.Missing -= n
			c.Excused += n
			if n > 0 {
				c.Note = fmt.Sprintf("%s came with the tags and time of another: the database has those once, and InfluxDB "+
					"the values of the last", plural.Of(n, "row"))
			}
			if left := b.Accepted - rows; c.Missing > 0 && left > 0 {
				c.Note = fmt.Sprintf("%s left the spool before: those with the tags and time of another would be among "+
					"the missing ones", plural.Of(left, "row"))
			}
			return nil
		})
	})
}
