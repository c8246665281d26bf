package desk

import (
	"context"
	"errors"
	"maps"

	"holdfast/base/fault"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// Events returns the newest n events of one job or all, oldest first, and the positions behind them.
func (d *Desk) Events(ctx context.Context, job string, n int) ([]engine.Event, engine.Positions, error) {
	at := engine.Positions{}
	lists, err := d.histories(ctx, job, job != "", func(r store.Reader, name string) ([]engine.Event, error) {
		list, err := engine.ReadEvents(r, 0, max(n, 1)) // one at least, for the position
		if len(list) > 0 {
			at[name] = list[len(list)-1].Position()
		}
		return list, err
	})
	out := merge(lists)
	return out[len(out)-min(len(out), n):], at, err
}

// EventsBehind returns at most max events of one job or all that came behind the positions, oldest first, and
// the positions behind these.
func (d *Desk) EventsBehind(ctx context.Context, job string, from engine.Positions, max int) ([]engine.Event,
	engine.Positions, error) {
	lists, err := d.histories(ctx, job, false, func(r store.Reader, name string) ([]engine.Event, error) {
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
// it is open again. With done the store of one whose work is done is opened.
func (d *Desk) histories(ctx context.Context, job string, done bool,
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
		if d.eng == nil || done && d.eng.State(name) == engine.Stopped {
			err = d.with(ctx, name, look)
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
