package desk

import (
	"context"
	"time"

	"holdfast/base/fault"
	"holdfast/job/stream/ingester"
	"holdfast/kernel/store"
)

// Window is a window of a stream as people see it.
type Window struct {
	Job string `json:"job"`
	ingester.View
}

// Windows returns what the ingesters of streams know, or one of them; of each job the newest first. Of one job next is where
// the next page begins, "" if there is none.
func (d *Desk) Windows(ctx context.Context, job string, q ingester.Query) (out []Window, next string, err error) {
	names, err := d.only(job)
	if err != nil {
		return nil, "", err
	}
	out = []Window{}
	for _, name := range names {
		j, _ := d.plan.Job(name)
		if j.Role() != "ingester" {
			if job != "" {
				return nil, "", fault.New(fault.NotFound, "job %s is no ingester of a stream, which has windows", job)
			}
			continue
		}
		err := d.view(ctx, name, func(r store.Reader) error {
			list, more, err := ingester.ReadPage(r, q)
			if next = more; job == "" {
				next = ""
			}
			for _, v := range list {
				out = append(out, Window{name, v})
			}
			return err
		})
		if err != nil {
			return nil, "", err
		}
	}
	return out, next, nil
}

// WindowQuery reads which windows are meant.
func WindowQuery(from, to, state, after string, limit int) (q ingester.Query, err error) {
	if q.After = after; after != "" {
		if err := ingester.CheckPlace(after); err != nil {
			return q, err
		}
	}
	for _, t := range []struct {
		key, text string
		at        *time.Time
	}{{"from", from, &q.From}, {"to", to, &q.To}} {
		if t.text == "" {
			continue
		}
		if *t.at, err = time.Parse(time.RFC3339, t.text); err != nil {
			if *t.at, err = time.Parse(time.DateOnly, t.text); err != nil {
				return q, fault.New(fault.Invalid, "%s: want a time such as 2023-09-19T07:00:00Z, or a day, got %q", t.key,
					t.text)
			}
		}
	}
	switch q.State = ingester.State(state); q.State {
	case "", ingester.Open, ingester.Complete, ingester.Lost, ingester.Stored, ingester.Told:
	default:
		return q, fault.New(fault.Invalid, "state: want open, complete, lost, stored or told, got %q", state)
	}
	q.Limit = limit
	return q, nil
}
