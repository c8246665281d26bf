package engine

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/base/identifier"
)

// Positions are positions in the histories of jobs. As text they are what a client gives back to hear what
// came since, also from another process and after a restore.
type Positions map[string]Position

// String returns job:id.time for each job, with commas between; the time is in nanoseconds to base 36.
func (p Positions) String() string {
	parts := make([]string, 0, len(p))
	for _, job := range slices.Sorted(maps.Keys(p)) {
		nanos := int64(0)
		if at := p[job].At; !at.IsZero() {
			nanos = at.UnixNano()
		}
		parts = append(parts, job+":"+strconv.FormatUint(p[job].ID, 10)+"."+strconv.FormatInt(nanos, 36))
	}
	return strings.Join(parts, ",")
}

// ParsePositions reads what String wrote.
func ParsePositions(s string) (Positions, error) {
	out := Positions{}
	for part := range strings.SplitSeq(s, ",") {
		job, at, _ := strings.Cut(part, ":")
		number, nanos, ok := strings.Cut(at, ".")
		id, err := strconv.ParseUint(number, 10, 64)
		when, err2 := strconv.ParseInt(nanos, 36, 64)
		if identifier.Check("job", job) != "" || !ok || errors.Join(err, err2) != nil {
			return nil, fault.New(fault.Invalid, "%q is no position in a history; want one that an answer gave",
				s)
		}
		out[job] = Position{ID: id}
		if when != 0 {
			out[job] = Position{ID: id, At: time.Unix(0, when).UTC()}
		}
	}
	return out, nil
}

// News parts events into those that are news to who began at p, at that time, and old ones: those that a job had before whose
// position was not known, for its store was not open.
func (p Positions) News(all []Event, began time.Time) (fresh, old []Event) {
	for _, e := range all {
		if _, known := p[e.Job]; known || !e.At.Before(began) {
			fresh = append(fresh, e)
		} else {
			old = append(old, e)
		}
	}
	return fresh, old
}

// Before are the positions before the newest events of all jobs, where p are those behind.
func (p Positions) Before(newest []Event) Positions {
	out := maps.Clone(p)
	for _, e := range slices.Backward(newest) {
		out[e.Job] = Position{ID: e.ID - 1}
	}
	return out
}
