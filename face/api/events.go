package api

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"holdfast/app/desk"
	"holdfast/base/fault"
	"holdfast/kernel/engine"
)

const (
	followEvery = 300 * time.Millisecond
	// pingEvery keeps the proxies between us and a silent client from giving the stream up.
	pingEvery = 15 * time.Second
	maxEvents = 10_000
	// maxStreams is how many clients may follow the events at once: each holds a connection, and asks the
	// stores three times a second.
	maxStreams = 32
	// eventStream is the media type of server-sent events.
	eventStream = "text/event-stream"
)

// streams are the clients that follow the events of a desk.
type streams struct {
	d     *desk.Desk
	taken chan struct{} // of room for maxStreams
}

func newStreams(d *desk.Desk) *streams { return &streams{d, make(chan struct{}, maxStreams)} }

// events sends a page of events: the newest, or with after those behind a position. With follow, in lines, or
// as server-sent events it goes on with each new one until the client goes away.
func (s *streams) events(ctx context.Context, c *call) (any, error) {
	max, err := c.number("max", 100)
	if err != nil {
		return nil, err
	}
	sse := strings.Contains(c.Header.Get("Accept"), eventStream)
	after := c.FormValue("after")
	if last := c.Header.Get("Last-Event-ID"); sse && last != "" {
		after = last
	}
	var began time.Time // zero for who comes back: what is behind the positions is news
	if after == "" {
		began = time.Now()
	}
	list, from, to, err := s.page(ctx, c.FormValue("job"), after, int(min(max, maxEvents)))
	switch {
	case err != nil:
		return nil, err
	case sse:
		return nil, s.follow(ctx, c, &sseStream{c}, list, from, began)
	case c.lines && c.flag("follow"):
		return nil, s.follow(ctx, c, lineStream{c}, list, from, began)
	case c.lines:
		return nil, sendAll(lineStream{c}, list, from)
	}
	return map[string]any{"items": append([]engine.Event{}, list...), "next": to.String()}, nil
}

// page returns events with the positions before and behind them.
func (s *streams) page(ctx context.Context, job, after string, max int) (list []engine.Event, from,
	to engine.Positions, err error) {
	if after == "" {
		list, to, err = s.d.Events(ctx, job, max)
		return list, to.Before(list), to, err
	}
	if from, err = engine.ParsePositions(after); err != nil {
		return nil, nil, nil, err
	}
	list, to, err = s.d.EventsBehind(ctx, job, from, max)
	return list, from, to, err
}

// stream is how events go to a client that follows them.
type stream interface {
	event(e engine.Event, at engine.Positions) error
	ping() error
}

// follow sends what there is and then each new event. The positions that go with an event are those behind it
// and behind all that was sent before: who comes back with them misses nothing and gets nothing twice. A job that was not open
// when the stream began tells what it does from then on.
func (s *streams) follow(ctx context.Context, c *call, to stream, list []engine.Event, sent engine.Positions,
	began time.Time) (err error) {
	select {
	case s.taken <- struct{}{}:
		defer func() { <-s.taken }()
	default:
		return fault.WithHint(fault.New(fault.Throttled, "%d clients follow the events already", maxStreams),
			"end one of them")
	}
	if err := to.ping(); err != nil { // the headers, so that the client knows that it is heard
		return nil
	}
	quiet, known, read := time.Now(), maps.Clone(sent), len(list)
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		if len(list) > 0 || time.Since(quiet) > pingEvery {
			quiet = time.Now()
			if err := sendAll(to, list, sent); err != nil {
				return nil // nobody is there to be told
			}
		}
		if read < maxEvents {
			select {
			case <-ctx.Done():
				return nil // the engine or the client ends: so does what there is to tell
			case <-tick.C:
			}
		}
		all, _, err := s.d.EventsBehind(ctx, c.FormValue("job"), sent, maxEvents)
		if err != nil {
			return err
		}
		var old []engine.Event
		list, old = known.News(all, began)
		for _, e := range old {
			sent[e.Job] = e.Position()
		}
		read = len(all)
	}
}

// sendAll sends events, or a sign of life if there are none, and moves the positions along.
func sendAll(to stream, list []engine.Event, sent engine.Positions) error {
	if len(list) == 0 {
		return to.ping()
	}
	for _, e := range list {
		sent[e.Job] = e.Position()
		if err := to.event(e, sent); err != nil {
			return fmt.Errorf("%w: %w", errGone, err)
		}
	}
	return nil
}

// lineStream sends events as lines.
type lineStream struct{ *call }

func (s lineStream) event(e engine.Event, _ engine.Positions) error { return s.item(e) }
func (s lineStream) ping() error                                    { return nil }

// sseStream sends events as the HTML standard says; their ids are positions.
type sseStream struct{ *call }

func (s *sseStream) event(e engine.Event, at engine.Positions) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return s.send(fmt.Sprintf("id: %s\nevent: %s\ndata: %s\n\n", at, e.Kind, b))
}

func (s *sseStream) ping() error { return s.send(": holdfast lives\n\n") }

func (s *sseStream) send(text string) error {
	if !s.told {
		s.told = true
		s.w.Header().Set("Content-Type", eventStream)
		s.w.Header().Set("Cache-Control", "no-store")
		text = "retry: 2000\n\n" + text
	}
	s.patience()
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return http.NewResponseController(s.w).Flush()
}
