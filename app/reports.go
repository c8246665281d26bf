package app

import (
	"net/http"

	"holdfast/base/fault"
	"holdfast/job/stream/serve"
)

// Reports answers with the reports of the stream that a job is a part of, as its API does: docs/stream-api.md. A stream whose API runs in
// another process has none here.
func (d *Desk) Reports(job string) (http.Handler, error) {
	if _, err := d.only(job); err != nil {
		return nil, err
	}
	own, _ := d.plan.job(job)
	c, ok := own.work.(*streamConfig)
	if !ok {
		return nil, fault.New(fault.Invalid, "job %s is no part of a stream", job)
	}
	for _, j := range d.plan.all() {
		if w, ok := j.work.(*streamConfig); ok && w.role() == "api" && w.Database.place() == c.Database.place() {
			if s, ok := d.plan.serves.Load(j.Name); ok {
				return http.HandlerFunc(s.(*serve.Job).ServeReports), nil
			}
		}
	}
	return nil, fault.WithHint(fault.New(fault.NotFound, "nobody in this process serves the reports of %s", job),
		"a job `stream: {api: ...}` of the same database does")
}
