package desk

import "net/http"

// Reports answers with the reports of the stream that a job is a part of, as its API does: docs/stream-api.md. A stream whose
// API runs in another process has none here.
func (d *Desk) Reports(job string) (http.Handler, error) {
	if _, err := d.only(job); err != nil {
		return nil, err
	}
	return d.plan.Reports(job)
}
