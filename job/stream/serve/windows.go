package serve

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"holdfast/base/fault"
	"holdfast/job/stream/ingester"
)

const (
	usualWindows = 1_000
	mostWindows  = 10_000
)

// states are those that windows have.
var states = []string{string(ingester.Open), string(ingester.Complete), string(ingester.Lost),
	string(ingester.Stored), string(ingester.Told)}

// windows is /api/v1/windows: what the ingester knows of the windows.
func (j *Job) windows(w http.ResponseWriter, r *http.Request) {
	if j.cfg.Windows == nil {
		refuse(w, fault.WithHint(fault.New(fault.NotFound, "no ingester runs here, so nothing is known of windows"),
			"ask the process of the ingester, or let one process have both roles"))
		return
	}
	p := readParams(r)
	var q WindowQuery
	q.From, q.To = p.span()
	if q.State, _ = p.text("state"); q.State != "" && !slices.Contains(states, q.State) {
		p.bad("state: want one of %s, got %.50q", strings.Join(states, ", "), q.State)
	}
	q.Limit = p.limit(usualWindows, mostWindows)
	if err := p.err(); err != nil {
		refuse(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), j.cfg.Timeout)
	defer cancel()
	list, err := j.cfg.Windows(ctx, q)
	var text []byte
	if err == nil {
		text, err = json.Marshal(list)
	}
	switch {
	case err == nil:
	case r.Context().Err() != nil:
		panic(http.ErrAbortHandler)
	case fault.Is(err, fault.Transient), fault.Is(err, fault.Busy), ctx.Err() != nil:
		later(w, retry)
		tell(w, http.StatusServiceUnavailable, failure(err))
		return
	default:
		refuse(w, err)
		return
	}
	if string(text) == "null" {
		text = []byte("[]")
	}
	w.Header().Set("Content-Type", jsonType)
	_, _ = w.Write(slices.Concat([]byte(`{"windows":`), text, []byte("}\n")))
}
