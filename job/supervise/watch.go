package supervise

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/job/supervise/decide"
	"holdfast/job/supervise/rule"
	"holdfast/kernel/gate"
	"holdfast/kernel/store"
)

// watch is a source that is being watched.
type watch struct {
	j       *Job
	source  *rule.Source
	watcher connector.Watcher // nil until it could be opened
	gate    *gate.Gate
	stop    context.CancelFunc
	ended   chan struct{}
}

// watch starts watching the sources of the present rules and stops watching all others. Sources that are watched already
// go on undisturbed. It does nothing before Run has begun, which calls it, and after its end.
func (j *Job) watch() {
	j.watching.Lock()
	defer j.watching.Unlock()
	if j.running == nil || j.running.Err() != nil {
		return
	}
	j.mu.Lock()
	set := j.set // the present one: that of a reload which was overtaken by another one may be older
	j.mu.Unlock()
	for id, w := range j.watches {
		if !slices.ContainsFunc(set.Sources, func(s *rule.Source) bool { return s.ID == id }) {
			w.stop()
			<-w.ended
			delete(j.watches, id)
			if !w.gate.Status().Open { // nobody waits for it any more
				w.gate.OpenByHand()
			}
		}
	}
	for _, s := range set.Sources {
		if j.watches[s.ID] != nil {
			continue
		}
		w := &watch{j: j, source: s, ended: make(chan struct{}), gate: gate.New(s.Title, gate.Options{OnChange: j.env.History.Gate})}
		var own context.Context
		own, w.stop = context.WithCancel(j.running)
		j.watches[s.ID] = w
		j.group.Go(func() { w.run(own) })
	}
}

// longestPause is how long a watcher that failed again and again is left alone.
const longestPause = time.Minute

// run watches until ctx ends. A watcher that fails, panics or ends by itself begins again where it was.
func (w *watch) run(ctx context.Context) {
	defer close(w.ended)
	pause := backoff.NewExponentialBackOff()
	pause.MaxInterval = longestPause
	for ctx.Err() == nil {
		begun := time.Now()
		err := fault.Catch(func() error { return w.once(ctx) })
		if ctx.Err() != nil || w.j.isBroken() {
			return
		}
		if err == nil {
			err = fault.New(fault.Transient, "it ended by itself")
		}
		w.gate.Report(err)
		if time.Since(begun) > longestPause {
			pause.Reset()
		}
		wait := time.NewTimer(pause.NextBackOff())
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
		}
	}
}

func (w *watch) once(ctx context.Context) (err error) {
	if w.watcher == nil { // a program that is not there yet may come
		if w.watcher, err = w.j.cfg.Watcher(w.source); err != nil {
			return err
		}
	}
	var position []byte
	err = w.j.env.Store.Latest(func(r store.Reader) error {
		_, err := r.Look(positionKey(w.source.ID), func(v []byte) error {
			position = append([]byte{}, v...)
			return nil
		})
		return err
	})
	if err != nil {
		return err
	}
	return w.watcher.Watch(ctx, position, w.tell)
}

// tell shows the rules what was seen, and commits what follows from it.
func (w *watch) tell(ctx context.Context, seen connector.Seen) error {
	w.notice(seen.Events)
	w.origins(seen.Events)
	j := w.j
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	return j.commit(w.source.ID, seen.Position, func(m *decide.Machine, all *found) {
		for i := range seen.Events {
			seen.Events[i].ID = eventID(w.source, seen.Events[i].ID)
			all.add(m.Step(w.source.ID, &seen.Events[i], now))
		}
	})
}

// origins marks the lines that our own actions wrote, as far as that is known.
func (w *watch) origins(events []connector.Event) {
	known, file, writes := w.j.tools.Origins, "", ""
	for i := range events {
		e := &events[i]
		if e.Kind != connector.EventLine {
			continue
		}
		id := known.Of(e.Fields, e.Time)
		if at := e.Fields["_PATH"]; at != "" {
			if at != file {
				file, writes = at, known.Writes(at)
			}
			id = writes
		}
		if id != "" { // lines may share their fields
			e.Fields = maps.Clone(e.Fields)
			e.Fields[decide.ActionField] = id
		}
	}
}

// eventID is an ID of an event that is unique among those of all sources, former configurations of the same source included: a
// watcher that begins anew may count from 1 again.
func eventID(s *rule.Source, id string) string { return s.ID[len(s.Kind)+1:][:6] + ":" + id }

// notice tells people of what a watcher says of itself.
func (w *watch) notice(events []connector.Event) {
	h := w.j.env.History
	known := true
	for i := range events {
		switch e := &events[i]; e.Kind {
		case connector.EventGap:
			h.Warn("watch.gap", "%s: %s", w.source.Title, e.Cause)
		case connector.EventNote:
			h.Note("watch.note", "%s: %s", w.source.Title, e.Cause)
		case connector.EventLook:
			if known = e.Failed == ""; !known {
				w.gate.Report(fault.New(fault.Transient, "%s", e.Failed))
			}
		}
	}
	if known && !w.gate.Status().Open {
		w.gate.OpenByHand()
	}
}
