package app

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/base/identifier"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// Positions are positions in the histories of jobs. As text they are what a client gives back to hear what
// came since, also from another process and after a restore.
type Positions map[string]engine.Position

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
		out[job] = engine.Position{ID: id}
		if when != 0 {
			out[job] = engine.Position{ID: id, At: time.Unix(0, when).UTC()}
		}
	}
	return out, nil
}

// Before are the positions before the newest events of all jobs, where p are those behind.
func (p Positions) Before(newest []engine.Event) Positions {
	out := maps.Clone(p)
	for _, e := range slices.Backward(newest) {
		out[e.Job] = engine.Position{ID: e.ID - 1}
	}
	return out
}

// Events returns the newest max events of one job or all, oldest first, and the positions behind them.
func (d *Desk) Events(ctx context.Context, job string, max int) ([]engine.Event, Positions, error) {
	at := Positions{}
	lists, err := d.histories(ctx, job, func(r store.Reader, name string) ([]engine.Event, error) {
		list, err := engine.ReadEvents(r, 0, max)
		if len(list) > 0 {
			at[name] = list[len(list)-1].Position()
		}
		return list, err
	})
	out := merge(lists)
	return out[len(out)-min(len(out), max):], at, err
}

// EventsBehind returns at most max events of one job or all that came behind the positions, oldest first, and
// the positions behind these.
func (d *Desk) EventsBehind(ctx context.Context, job string, from Positions, max int) ([]engine.Event,
	Positions, error) {
	lists, err := d.histories(ctx, job, func(r store.Reader, name string) ([]engine.Event, error) {
		return engine.EventsBehind(r, from[name], max)
	})
	out := merge(lists)
	out = out[:min(len(out), max)]
	at := maps.Clone(from)
	for _, e := range out {
		at[e.Job] = e.Position()
	}
	return out, at, err
}

// histories calls read for each job. One that is not open just now is passed over: its events are there when
// it is open again.
func (d *Desk) histories(ctx context.Context, job string,
	read func(store.Reader, string) ([]engine.Event, error)) (lists [][]engine.Event, err error) {
	names, err := d.only(job)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		look := func(st *store.Store) error {
			return st.View(ctx, func(r store.Reader) error {
				list, err := read(r, name)
				lists = append(lists, list)
				return err
			})
		}
		if d.eng == nil {
			err = d.with(name, look)
		} else if err = d.eng.WithStore(name, look); fault.Is(err, fault.Transient) ||
			errors.Is(err, store.ErrClosed) {
			err = nil
		}
		if err != nil {
			return nil, err
		}
	}
	return lists, nil
}

// merge puts the events of several jobs in the order of their times. Those of one job stay in their order,
// whatever its clock did: a position is behind all before it.
func merge(lists [][]engine.Event) []engine.Event {
	var out []engine.Event
	for {
		first := -1
		for i, l := range lists {
			if len(l) > 0 && (first < 0 || l[0].At.Before(lists[first][0].At)) {
				first = i
			}
		}
		if first < 0 {
			return out
		}
		out = append(out, lists[first][0])
		lists[first] = lists[first][1:]
	}
}
