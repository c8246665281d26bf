package app

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/job/stream/serve"
)

// Role is what a job does for its stream: streamer, ingester, processor or api; "" for a job of another kind.
func (j Job) Role() string {
	if c, ok := j.work.(*streamConfig); ok {
		return c.role()
	}
	return ""
}

// Reports answers with the reports of the stream that a job is a part of, as its API does: docs/stream-api.md. A stream whose
// API runs in another process has none here.
func (p *Plan) Reports(job string) (http.Handler, error) {
	own, _ := p.Job(job)
	c, ok := own.work.(*streamConfig)
	if !ok {
		return nil, fault.New(fault.Invalid, "job %s is no part of a stream", job)
	}
	for _, j := range p.all() {
		if w, ok := j.work.(*streamConfig); ok && w.role() == "api" && w.Database.place() == c.Database.place() {
			if s, ok := p.serves.Load(j.Name); ok {
				return http.HandlerFunc(s.(*serve.Job).ServeReports), nil
			}
		}
	}
	return nil, fault.WithHint(fault.New(fault.NotFound, "nobody in this process serves the reports of %s", job),
		"a job `stream: {api: ...}` of the same database does")
}

// StreamRows is where the rows of a stream are: the tables of its database, open for questions, and what is to be known of the
// one that has them. The caller closes it.
type StreamRows struct {
	connector.Tables
	Table, Time string
	Tags        []string // columns that, with the time, tell rows apart
}

// StreamRows opens them for a job that is a part of a stream.
func (p *Plan) StreamRows(job string) (r StreamRows, err error) {
	j, _ := p.Job(job)
	c, ok := j.work.(*streamConfig)
	if !ok {
		return r, fault.New(fault.Invalid, "job %s is no part of a stream", job)
	}
	r = StreamRows{Table: c.Table, Time: c.Rows.Time, Tags: c.Rows.Tags}
	r.Tables, err = c.Database.tables(opening{dataDir: p.Place.Dir, log: p.Log}, c.always())
	return r, err
}

// windowValues is a question of the API role as that of the control socket.
func windowValues(job string, q serve.WindowQuery) url.Values {
	v := url.Values{"limit": {strconv.Itoa(q.Limit)}}
	for key, at := range map[string]time.Time{"from": q.From, "to": q.To} {
		if !at.IsZero() {
			v.Set(key, at.Format(time.RFC3339))
		}
	}
	for key, text := range map[string]string{"job": job, "state": q.State} {
		if text != "" {
			v.Set(key, text)
		}
	}
	return v
}
