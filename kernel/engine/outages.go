package engine

import (
	"slices"
	"strings"
	"time"

	"holdfast/kernel/store"
)

// Outage is a time in which something was not as it should be: a gate was closed, the disk short, or the job paused.
type Outage struct {
	What  string    `json:"what"` // the gate's name, "disk", or "paused"
	From  time.Time `json:"from"`
	To    time.Time `json:"to,omitzero"` // zero while it lasts, or if nobody knows
	Cause string    `json:"cause,omitempty"`
}

// paused is what an outage by a person's order is called.
const paused = "paused"

// searched is how many events in front of a time are read to know what lasted into it.
const searched = 5000

// Outages returns the newest outages of a job between two times, oldest first, from its history: at most so many. An outage
// that was going on when a run of the job ended counts as over: the next run finds out for itself.
func Outages(r store.Reader, from, to time.Time, most int) ([]Outage, error) {
	s := outageScan{from: from, to: to, ends: map[string]time.Time{}, known: map[string]bool{}, names: map[string]bool{}}
	seq, fail := r.ScanBack(store.Events.K(), store.Events.K().End())
	for k, v := range seq {
		e, err := decodeEvent(k, v)
		if err != nil {
			continue // an event that can't be read is reported elsewhere
		}
		if !s.step(e) || len(s.out) == most {
			break
		}
	}
	slices.Reverse(s.out)
	return merged(s.out), fail()
}

// outageScan reads a history backwards.
type outageScan struct {
	from, to time.Time
	over     time.Time            // when the run ended that came behind the event that is read; zero if it goes on
	ends     map[string]time.Time // when what began in front of it was over
	known    map[string]bool      // how it was at from
	names    map[string]bool      // of what opened behind the event that is read
	old      int                  // events in front of from
	out      []Outage             // the newest first
}

// step reads one event, and reports whether those in front of it matter.
func (s *outageScan) step(e Event) bool {
	old := e.At.Before(s.from)
	if old {
		s.old++
	}
	what, cause, begins := s.outageOf(e)
	switch {
	case s.old > searched:
		return false
	case what == "" && runs(e.Kind):
		s.over = e.At
		return !old
	case what == "" || old && s.known[what]:
	case !begins:
		s.ends[what] = e.At
		s.known[what] = old
	case e.At.After(s.to):
		delete(s.ends, what)
	default:
		end := s.ends[what]
		if what != paused && !s.over.IsZero() && (end.IsZero() || s.over.Before(end)) {
			end = s.over
		}
		if end.IsZero() || end.After(s.from) {
			s.out = append(s.out, Outage{What: what, From: e.At, To: end, Cause: cause})
		}
		delete(s.ends, what)
		s.known[what] = old
	}
	return true
}

// runs reports whether an event is the beginning or the end of a run of the job.
func runs(kind string) bool {
	return kind == "job.started" || kind == "job.stopped" || kind == "job.failed" || kind == "job.done"
}

// merged makes one outage of those of a thing whose cause changed while it lasted.
func merged(all []Outage) (out []Outage) {
	last := map[string]int{}
	for _, o := range all {
		i, ok := last[o.What]
		if ok && (out[i].To.IsZero() || !o.From.After(out[i].To)) {
			out[i].To = o.To
			continue
		}
		last[o.What] = len(out)
		out = append(out, o)
	}
	return out
}

// outageOf is what an event begins or ends, "" for nothing.
func (s *outageScan) outageOf(e Event) (what, cause string, begins bool) {
	switch e.Kind {
	case "gate.closed":
		what, cause = s.closed(e.Text)
		return what, cause, true
	case "gate.opened":
		what = strings.TrimSuffix(strings.TrimSuffix(e.Text, isBack), countsAsBack)
		s.names[what] = true
		return what, "", false
	case "disk.short":
		what, cause, _ = strings.Cut(e.Text, ": ")
		return what, cause, true
	case "disk.roomy":
		return "disk", "", false
	case "job.paused":
		return paused, "", true
	case "job.resumed":
		return paused, "", false
	}
	return "", "", false
}

// closed takes the text of a gate that closed apart. The name may have a colon in it, as that of an action does; where it ends
// is known if it opened later.
func (s *outageScan) closed(text string) (what, cause string) {
	what, cause, _ = strings.Cut(text, ": ")
	for i := len(what); i < len(text); i++ {
		if strings.HasPrefix(text[i:], ": ") && s.names[text[:i]] {
			what, cause = text[:i], text[i+len(": "):]
		}
	}
	return what, cause
}
