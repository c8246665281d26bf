package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/base/lines"
	"holdfast/base/linetime"
	"holdfast/base/plural"
	"holdfast/connector"
	"holdfast/job/supervise"
	"holdfast/job/supervise/decide"
	"holdfast/job/supervise/rule"
)

// Past is what rules are tried on.
type Past struct {
	Since time.Time
	// File, if it is not empty, is a log whose lines all rules of lines see, whatever they watch.
	File string
}

// Would is what would have been decided.
type Would struct {
	Time    time.Time `json:"time"`
	Rule    string    `json:"rule"`
	Key     string    `json:"key,omitempty"`
	Outcome string    `json:"outcome"`
	Reason  string    `json:"reason,omitempty"`
	Actions []string  `json:"actions,omitempty"`
	Seen    string    `json:"seen"`
}

// Acts reports whether something would have been done, or would have been but for the mode of its rule or what may be done.
func (w Would) Acts() bool {
	return w.Outcome == "acted" || w.Outcome == "shadow" || w.Outcome == "refused"
}

// Tried is how rules fared on what was.
type Tried struct {
	From  time.Time              `json:"from,omitzero"`
	To    time.Time              `json:"to,omitzero"`
	Lines int64                  `json:"lines"`
	Looks int64                  `json:"looks"`
	Took  time.Duration          `json:"took"`
	Rules []supervise.RuleStatus `json:"rules"`
	// Unread is how many sources could not be read.
	Unread int `json:"unread,omitempty"`
	// Notes say what could not be read, or has no past.
	Notes []string `json:"notes,omitempty"`
}

// Try replays what was through rules, and tells what would have been decided, the oldest first. Nothing is done, and nothing is
// kept.
func Try(ctx context.Context, set *rule.Set, p Past, tell func(Would) error) (t Tried, err error) {
	begun := time.Now()
	r := &trial{set: set, machine: decide.New(set), tell: tell, now: begun}
	if p.File != "" {
		err = r.file(ctx, p.File)
	} else {
		err = r.sources(ctx, p.Since)
	}
	if err == nil {
		r.machine.Pass(begun, r.take)
		err = r.failed
	}
	r.Rules = supervise.CountsOf(set, r.machine)
	r.Took = time.Since(begun)
	return r.Tried, err
}

// trial takes what was to the rules in the order of its times.
type trial struct {
	Tried
	set     *rule.Set
	machine *decide.Machine
	tell    func(Would) error
	now     time.Time
	failed  error // of tell
}

func (r *trial) take(found decide.Result) {
	for i := range found.Decisions {
		d := &found.Decisions[i]
		w := Would{Time: d.Time, Rule: d.Rule, Key: d.Key, Outcome: d.Outcome.String(), Reason: d.Reason.String()}
		for k := range d.Calls {
			w.Actions = append(w.Actions, d.Calls[k].Words())
		}
		if d.Facts != nil {
			w.Seen = d.Facts.Seen()
		}
		if r.failed == nil {
			r.failed = r.tell(w)
		}
	}
}

// step takes one event of a source.
func (r *trial) step(source string, e *connector.Event) error {
	switch e.Kind {
	case connector.EventLine:
		r.Lines++
	case connector.EventLook:
		r.Looks++
	case connector.EventGap:
		r.Notes = append(r.Notes, e.Cause)
		return nil
	default:
		return nil
	}
	if r.From.IsZero() {
		r.From = e.Time
	}
	r.To = e.Time
	r.machine.Pass(e.Time, r.take)
	r.take(r.machine.Step(source, e, e.Time))
	return r.failed
}

// file takes the lines of a log to all rules of lines.
func (r *trial) file(ctx context.Context, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return fault.New(fault.NotFound, "read log: %w", err)
	}
	defer f.Close()
	split, buf, times := lines.NewSplitter(0, 0), make([]byte, 256<<10), linetime.Parser{Now: r.now}
	at, unknown := time.Time{}, 0
	line := func(l lines.Line) error {
		e := connector.Event{Kind: connector.EventLine, ID: fmt.Sprintf("%s:%d", name, l.Begin), Line: l.Text, Cut: l.Cut, Fields: map[string]string{}}
		if when, ok := times.Of(l.Text); ok {
			at = when
		} else if unknown++; at.IsZero() {
			at = r.now
		}
		e.Time = at
		for _, s := range r.set.Sources {
			if !s.Looks() {
				if err := r.step(s.ID, &e); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for {
		n, err := f.Read(buf)
		split.Push(buf[:n])
		for l, ok := split.Next(); ok; l, ok = split.Next() {
			if err := line(l); err != nil {
				return err
			}
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && n == 0:
			if l, ok := split.Rest(); ok {
				if err := line(l); err != nil {
					return err
				}
			}
			if unknown > 0 {
				r.Notes = append(r.Notes, fmt.Sprintf("%s without a time that is known at the beginning: taken to be of the time of the line before", plural.Of(unknown, "line")))
			}
			return nil
		}
	}
}

// flow is what one source has to tell, in the order of its times.
type flow struct {
	source *rule.Source
	more   chan []connector.Event
	head   []connector.Event
	failed error // once more is closed
}

// sources asks each source for its past, and takes all of it to the rules in the order of times.
func (r *trial) sources(ctx context.Context, since time.Time) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var g sync.WaitGroup
	var flows []*flow
	for _, s := range r.set.Sources {
		w, err := (&Plan{}).watcher("", "", s)
		if err != nil {
			return err
		}
		h, ok := w.(connector.Historian)
		if !ok {
			r.Notes = append(r.Notes, s.Title+" has no past: what rules make of it is not replayed")
			continue
		}
		f := &flow{source: s, more: make(chan []connector.Event, 4)}
		flows = append(flows, f)
		g.Go(func() {
			defer close(f.more)
			f.failed = h.Past(ctx, since, f.tell(r.now, since))
		})
	}
	err := r.merge(flows)
	stopped := ctx.Err()
	cancel()
	for _, f := range flows {
		for range f.more { // until who fills it has ended
		}
	}
	g.Wait()
	if err != nil || stopped != nil {
		return errors.Join(err, stopped)
	}
	for _, f := range flows {
		if f.failed != nil {
			r.Unread++
			r.Notes = append(r.Notes, fmt.Sprintf("%s could not be read (to its end): %v", f.source.Title, f.failed))
		}
	}
	return nil
}

// tell keeps events, which are the watcher's, for the merge.
func (f *flow) tell(now, since time.Time) func(context.Context, connector.Seen) error {
	times, at := linetime.Parser{Now: now}, time.Time{}
	return func(ctx context.Context, seen connector.Seen) error {
		all := make([]connector.Event, 0, len(seen.Events))
		for _, e := range seen.Events {
			if e.Kind == connector.EventLine {
				e.Line = []byte(string(e.Line))
				e.Fields = cloneFields(e.Fields)
			}
			if e.Time.IsZero() {
				if when, ok := times.Of(e.Line); ok {
					at = when
				} else if at.IsZero() {
					at = since
				}
				e.Time = at
			}
			if !e.Time.Before(since) {
				all = append(all, e)
			}
		}
		select {
		case f.more <- all:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func cloneFields(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[strings.Clone(k)] = strings.Clone(v)
	}
	return out
}

// next fills the head of a flow; false if there is nothing more.
func (f *flow) next() bool {
	for len(f.head) == 0 {
		var ok bool
		if f.head, ok = <-f.more; !ok {
			return false
		}
	}
	return true
}

// merge takes the events of flows to the rules, the oldest first.
func (r *trial) merge(flows []*flow) error {
	for {
		var first *flow
		for _, f := range flows {
			if f.next() && (first == nil || f.head[0].Time.Before(first.head[0].Time)) {
				first = f
			}
		}
		if first == nil {
			return nil
		}
		e := &first.head[0]
		first.head = first.head[1:]
		if err := r.step(first.source.ID, e); err != nil {
			return err
		}
	}
}
