package desk

import (
	"context"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/engine"
	"holdfast/kernel/series"
	"holdfast/kernel/store"
)

// Timeline is how a job went between two times.
type Timeline struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	series.Series
	Outages []engine.Outage `json:"outages"` // oldest first; the newest ones, if there are many
}

// maxOutages is how many outages a timeline has at most.
const maxOutages = 500

// Timeline reads how a job went, in at most so many points.
func (d *Desk) Timeline(ctx context.Context, job string, from, to time.Time, most int) (t Timeline, err error) {
	if !from.Before(to) {
		return t, fault.New(fault.Invalid, "from is not before to")
	}
	t = Timeline{From: from.UTC(), To: to.UTC(), Outages: []engine.Outage{}}
	err = d.view(ctx, job, func(r store.Reader) error {
		if t.Series, err = series.Read(r, from, to, time.Now(), most); err != nil {
			return err
		}
		all, err := engine.Outages(r, from, to, maxOutages)
		t.Outages = append(t.Outages, all...)
		return err
	})
	return t, err
}
