package app

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"holdfast/base/plural"
	"holdfast/connector"
	"holdfast/kernel/engine"
)

// The fields of an event of ours. Nobody else can write them.
const (
	fieldJob  = "_JOB"
	fieldKind = "_KIND"
	fieldWarn = "_WARN"
)

// eventsConfig is the events of the other jobs of this process, told as lines.
type eventsConfig struct {
	// Job is the job whose events are told; default all others.
	Job string `yaml:"job"`
	// Kinds are kinds of events: gate.closed, job.failed; default all.
	Kinds []string `yaml:"kinds"`
}

// ownEvents is the watcher of what happens to the jobs of this process: their gates, dead letters, failures. A line is the text
// of an event.
type ownEvents struct {
	plan *Plan
	own  string // the job that watches: its own events are told only to who asks for them
	eventsConfig
}

// ownPosition is how far events were told.
type ownPosition struct {
	At string `json:"at"` // engine.Positions
	// Begun is when it was watched first: of a job that was not open then nothing older is told.
	Begun time.Time `json:"begun"`
}

const (
	// ownEvery is how often events are looked for.
	ownEvery = time.Second
	// eventsAtOnce is how many are told at once.
	eventsAtOnce = 500
)

// Watch tells the events behind a position, as connector.Watcher says.
func (w *ownEvents) Watch(ctx context.Context, after []byte, tell func(context.Context, connector.Seen) error) error {
	d := w.plan.desk.Load()
	if d == nil {
		return errNoDesk
	}
	desk := *d
	pos := ownPosition{Begun: time.Now()}
	var at engine.Positions
	var err error
	if after == nil {
		_, at, err = desk.Events(ctx, w.Job, 1)
	} else if err = json.Unmarshal(after, &pos); err == nil {
		at, err = readPositions(pos.At)
	}
	if err != nil {
		return err
	}
	tick := time.NewTicker(ownEvery)
	defer tick.Stop()
	for {
		list, next, err := desk.EventsBehind(ctx, w.Job, at, eventsAtOnce)
		if err != nil {
			return err
		}
		if len(list) > 0 || after == nil {
			seen := connector.Seen{Events: w.events(list, at, pos.Begun)}
			at, pos.At = next, next.String()
			if seen.Position, err = json.Marshal(pos); err != nil {
				return err
			}
			if err := tell(ctx, seen); err != nil {
				return err
			}
			after = seen.Position
		}
		if len(list) == eventsAtOnce {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// readPositions is engine.ParsePositions, which takes no text for no positions.
func readPositions(s string) (engine.Positions, error) {
	if s == "" {
		return engine.Positions{}, nil
	}
	return engine.ParsePositions(s)
}

// events are those that are asked for. Where a history went on without us for longer than it remembers, a gap says so.
func (w *ownEvents) events(list []engine.Event, from engine.Positions, begun time.Time) (all []connector.Event) {
	at := maps.Clone(from)
	for i := range list {
		e := &list[i]
		id := fmt.Sprintf("%s:%d.%d", e.Job, e.ID, e.At.UnixNano())
		if was := at[e.Job].ID; was != 0 && e.ID > was+1 {
			all = append(all, connector.Event{Kind: connector.EventGap, Time: e.At, ID: id,
				Cause: fmt.Sprintf("%s of job %s before %s not kept any more", plural.Of(e.ID-was-1, "event"), e.Job, e.At.UTC().Format(time.RFC3339))})
		}
		_, known := from[e.Job]
		at[e.Job] = e.Position()
		if !known && e.At.Before(begun) || !w.wants(e) {
			continue
		}
		warn := ""
		if e.Warn {
			warn = "true"
		}
		all = append(all, connector.Event{Kind: connector.EventLine, Time: e.At, ID: id, Line: []byte(e.Text),
			Fields: map[string]string{fieldJob: e.Job, fieldKind: e.Kind, fieldWarn: warn}})
	}
	return all
}

func (w *ownEvents) wants(e *engine.Event) bool {
	if w.Job == "" && e.Job == w.own {
		return false // what it does would lead to what it does
	}
	return len(w.Kinds) == 0 || slices.Contains(w.Kinds, e.Kind)
}
