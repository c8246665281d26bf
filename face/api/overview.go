package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"holdfast/app/desk"
	"holdfast/base/fault"
	"holdfast/kernel/engine"
)

const (
	// lookEvery is the time between two looks at the jobs while anybody follows the overview.
	lookEvery = time.Second
	// lookFor is how long one look may take: a store on a disk that does not answer must not make the others unknown for ever.
	lookFor = 5 * time.Second
	// shownEvents is how many events an overview has: the newest.
	shownEvents = 40
	// maxOverviews is how many clients may follow the overview at once. All of them share one look.
	maxOverviews = 64
)

// Overview is all that the front page of a console shows. To who follows it each one that comes has only what is not
// as it was in the one before.
type Overview struct {
	At    time.Time `json:"at"`
	Names []string  `json:"names"` // of all jobs
	// Process is a desk.Report without its jobs.
	Process json.RawMessage `json:"process,omitempty"`
	Machine json.RawMessage `json:"machine,omitempty"`
	// Verdict is a desk.Verdict.
	Verdict json.RawMessage `json:"verdict,omitempty"`
	// Jobs are engine.Statuses without the list of gaps.
	Jobs   map[string]json.RawMessage `json:"jobs"`
	Events json.RawMessage            `json:"events,omitempty"` // the newest, oldest first
}

// Machine is what the process takes, and what is left.
type Machine struct {
	Free   uint64 `json:"disk_free"`
	Total  uint64 `json:"disk_total"`
	Soft   uint64 `json:"disk_soft"` // with less free than this, sources that can wait are paused
	Hard   uint64 `json:"disk_hard"` // and with less than this, nothing is taken in
	Short  bool   `json:"disk_short"`
	Memory uint64 `json:"memory"` // that the process holds in RAM
}

// overviews looks at the jobs for all who follow them: at most once in lookEvery, however many there are, and not at
// all while nobody does. No goroutine runs for that: whoever is first looks.
type overviews struct {
	d     *desk.Desk
	taken chan struct{} // of room for maxOverviews

	looking chan struct{} // holds one, who may touch what is below
	at      time.Time
	turn    uint64 // how often somebody looked
	err     error  // of the last look
	names   []string
	parts   map[string]part
}

// part is a part of an overview, and the turn that it changed in.
type part struct {
	text json.RawMessage
	turn uint64
}

// The parts beside the jobs, whose names have no slash.
const (
	processPart = "/process"
	machinePart = "/machine"
	verdictPart = "/verdict"
	eventsPart  = "/events"
)

func newOverviews(d *desk.Desk) *overviews {
	return &overviews{d: d, taken: make(chan struct{}, maxOverviews), looking: make(chan struct{}, 1),
		parts: map[string]part{}}
}

// serve answers with an overview; as server-sent events it goes on with what changes, until the client goes away.
func (o *overviews) serve(ctx context.Context, c *call) (any, error) {
	if !strings.Contains(c.Header.Get("Accept"), eventStream) {
		view, _, err := o.behind(ctx, 0)
		return view, err
	}
	select {
	case o.taken <- struct{}{}:
		defer func() { <-o.taken }()
	default:
		return nil, fault.WithHint(fault.New(fault.Throttled, "%d clients follow the overview already", maxOverviews),
			"close a page of the console")
	}
	return nil, o.follow(ctx, &sseStream{c})
}

func (o *overviews) follow(ctx context.Context, to *sseStream) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for have := uint64(0); ; {
		view, turn, err := o.behind(ctx, have)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			err = to.message("trouble", failure(err))
		default:
			have = turn
			err = to.message("overview", view)
		}
		if err != nil {
			return nil // nobody is there to be told
		}
		select {
		case <-ctx.Done():
			return nil // the engine or the client ends
		case <-tick.C:
		}
	}
}

// message sends one event of a name.
func (s *sseStream) message(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.send(fmt.Sprintf("event: %s\ndata: %s\n\n", name, b))
}

// behind returns what has changed behind a turn, all of it behind turn 0, and the turn that it is of.
func (o *overviews) behind(ctx context.Context, turn uint64) (view Overview, now uint64, err error) {
	select {
	case o.looking <- struct{}{}:
		defer func() { <-o.looking }()
	case <-ctx.Done():
		return view, 0, ctx.Err()
	}
	// A little less than lookEvery: else who comes a moment early would wait for a whole turn.
	if time.Since(o.at) > lookEvery*4/5 {
		err := o.look(ctx)
		if ctx.Err() != nil {
			return view, 0, ctx.Err() // who looked has gone: the next one looks
		}
		o.at, o.err = time.Now(), err
	}
	if o.err != nil {
		return view, 0, o.err
	}
	view = Overview{At: o.at.UTC(), Names: o.names, Jobs: map[string]json.RawMessage{}}
	for key, p := range o.parts {
		if p.turn <= turn {
			continue
		}
		switch key {
		case processPart:
			view.Process = p.text
		case machinePart:
			view.Machine = p.text
		case verdictPart:
			view.Verdict = p.text
		case eventsPart:
			view.Events = p.text
		default:
			view.Jobs[key] = p.text
		}
	}
	return view, o.turn, nil
}

// look reads everything.
func (o *overviews) look(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	all, names, err := o.read(short)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fault.WithHint(fault.New(fault.Transient, "the stores have not answered for %v", lookFor),
			"look at the disk under the data directory")
	}
	if err != nil {
		return err
	}
	o.turn++
	o.names = names
	fresh := map[string]part{}
	for key, v := range all {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		fresh[key] = part{text, o.turn}
		if was, ok := o.parts[key]; ok && bytes.Equal(was.text, text) {
			fresh[key] = was
		}
	}
	o.parts = fresh
	return nil
}

func (o *overviews) read(ctx context.Context) (all map[string]any, names []string, err error) {
	rep, err := o.d.Status(ctx, "")
	if err != nil {
		return nil, nil, err
	}
	events, _, err := o.d.Events(ctx, "", shownEvents)
	if err != nil {
		return nil, nil, err
	}
	g, err := o.d.Gauges(ctx)
	if err != nil {
		return nil, nil, err
	}
	all = map[string]any{eventsPart: append([]engine.Event{}, events...), machinePart: Machine{Free: g.Disk.Free, Total: g.Disk.Total,
		Soft: g.Marks.Soft, Hard: g.Marks.Hard, Short: g.Short, Memory: resident()}}
	all[verdictPart] = desk.Judge(rep, time.Now())
	for _, s := range rep.Jobs {
		s.Balance.Gaps = s.Balance.Gaps[:0] // they are pages of their own
		all[s.Name] = s
		names = append(names, s.Name)
	}
	rep.Jobs = rep.Jobs[:0]
	all[processPart] = rep
	slices.Sort(names)
	return all, append([]string{}, names...), nil
}

// resident is how many bytes of RAM the process holds, 0 if nobody knows.
func resident() uint64 {
	var size, pages uint64
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}
