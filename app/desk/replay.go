package desk

import (
	"context"
	"time"

	"holdfast/base/fault"
	"holdfast/base/strictyaml"
	"holdfast/job/collect"
)

// Replay has the retained rows of a range of time delivered to a sink again; zero times are no bound.
// What it orders is durable when it returns, and is delivered as any backlog is.
func (d *Desk) Replay(ctx context.Context, job, sink string, from, to time.Time, tell func(Progress)) (
	out collect.Replayed, err error) {
	if sink == "" {
		return out, fault.New(fault.Invalid, "which sink? name it")
	}
	if !to.IsZero() && !from.Before(to) {
		return out, fault.New(fault.Invalid, "the time from which on rows come again is not before the one up to "+
			"which they do")
	}
	w := d.begin(job, "replaying to "+sink, tell)
	defer w.end()
	o := collect.Replay{Sink: sink, From: from, To: to}
	at := func(done, all uint64) { w.at(int64(done), int64(all)) }
	if d.eng != nil {
		j, ok := d.plan.Running(job)
		if !ok {
			return out, fault.New(fault.Transient, "job %s does not run now; try again", job)
		}
		return j.Replay(ctx, o, at)
	}
	err = d.intake(ctx, job, func(in *collect.Intake) error {
		out, err = in.ReplayTo(ctx, o, at)
		return err
	})
	return out, err
}

// Replayed is the answer to a replay.
type Replayed = collect.Replayed

// timeLayouts are how people write a time; without a zone it is UTC.
var timeLayouts = []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05",
	time.DateOnly}

// ParseTime reads a time: a date, a date with a time of day, or how long ago it is (90m, 7d). Empty is zero.
func ParseTime(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	if ago, err := strictyaml.Duration(s); err == nil {
		return now.Add(-ago), nil
	}
	return time.Time{}, fault.NewUsage("write it as 2026-01-31, 2026-01-31T12:00:00Z, or 7d for seven days ago",
		"%q is not a time", s)
}
