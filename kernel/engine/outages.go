package engine

import (
	"slices"
	"strings"
	"time"

	"holdfast/kernel/store"
)

// Outage is a time in which something was not as it should be: a gate was closed, or the job paused.
type Outage struct {
	What  string    `json:"what"` // the gate's name, or "paused"
	From  time.Time `json:"from"`
	To    time.Time `json:"to,omitzero"` // zero while it lasts, or if nobody knows
	Cause string    `json:"cause,omitempty"`
}

// paused is what an outage by a person's order is called.
const paused = "paused"

// Outages returns the newest outages of a job between two times, oldest first, from its history: at most so many.
func Outages(r store.Reader, from, to time.Time, most int) (out []Outage, err error) {
	ends := map[string]time.Time{} // when what began in front of the event that is read had ended
	seq, fail := r.ScanBack(store.Events.K(), store.Events.K().End())
	for k, v := range seq {
		e, err := decodeEvent(k, v)
		if err != nil {
			continue // a hole in the history is none of ours
		}
		old := e.At.Before(from)
		if old && len(ends) == 0 || len(out) == most {
			break
		}
		what, cause, begins := outageOf(e)
		switch {
		case what == "":
		case !begins && !old:
			if !e.At.After(to) || !ends[what].IsZero() {
				ends[what] = e.At
			}
		case begins && (!old || !ends[what].IsZero()) && !e.At.After(to):
			out = append(out, Outage{What: what, From: e.At, To: ends[what], Cause: cause})
			delete(ends, what)
		}
	}
	slices.Reverse(out)
	return merged(out), fail()
}

// merged makes one outage of those of a thing whose cause changed while it lasted: only the last of them has an end.
func merged(all []Outage) (out []Outage) {
	last := map[string]int{}
	for _, o := range all {
		if i, ok := last[o.What]; ok && out[i].To.IsZero() {
			out[i].To = o.To
			if o.To.IsZero() {
				continue
			}
			delete(last, o.What)
			continue
		}
		last[o.What] = len(out)
		out = append(out, o)
	}
	return out
}

// outageOf is what an event begins or ends, "" for nothing.
func outageOf(e Event) (what, cause string, begins bool) {
	switch e.Kind {
	case "gate.closed":
		what, cause, _ = strings.Cut(e.Text, ": ")
		return what, cause, true
	case "gate.opened":
		return strings.TrimSuffix(e.Text, " is back"), "", false
	case "job.paused":
		return paused, "", true
	case "job.resumed":
		return paused, "", false
	}
	return "", "", false
}
