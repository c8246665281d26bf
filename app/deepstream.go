package app

import (
	"context"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/job/stream/ingester"
	"holdfast/kernel/engine"
)

// compareStream asks the database of a stream how many rows it has. Rows of a stream have no integer key; its tags
// and time are what tells a row apart, and the database holds each once: so counting is comparing.
func (d *Desk) compareStream(ctx context.Context, c *Comparison, s engine.SinkBooks, stream *streamConfig) error {
	switch {
	case stream.Processor != nil:
		c.Note = "reports are computed of rows, which are compared, and replaced when rows come late"
		return nil
	case c.Sink != databaseName:
		return fault.New(fault.Permanent, "rows of a stream have no integer key to compare by")
	}
	windows, err := d.Windows(ctx, c.Job, ingester.Query{})
	if err != nil {
		return err
	}
	tables, err := stream.Database.tables(opening{dataDir: d.plan.Place.Dir, log: d.plan.Log}, stream.always())
	if err != nil {
		return err
	}
	defer tables.Close()
	seen := map[[2]int64]bool{} // several windows may be of one time
	for _, w := range windows {
		span := [2]int64{w.From.Unix(), w.To.Unix()}
		if w.From.IsZero() || seen[span] {
			continue
		}
		seen[span] = true
		q := connector.TableQuery{Table: stream.Table, Time: stream.Rows.Time, Columns: stream.Rows.Tags[:1], From: w.From,
			To: w.To}
		if err := tables.Rows(ctx, q, func([]any) error { c.Rows++; return nil }); err != nil {
			return err
		}
	}
	switch have, want := int64(c.Rows), s.Delivered; {
	case have < want:
		c.Missing = want - have
		c.Note = "rows with the same tags and time, which came more than once, are counted as missing"
	case have > want:
		c.Foreign = have - want
	}
	return nil
}
