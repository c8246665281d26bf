// Package watchertest is what the tests of watchers share: a Keeper takes what a connector.Watcher tells as a job does,
// together with its position, and checks what the contract says of it. Only tests call it:
//
//	k := watchertest.New(t)
//	k.Start(watcher)
//	k.Tells("one", "GAP was removed", "two")
package watchertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/connector"
)

// patience bounds every wait.
const patience = 20 * time.Second

// ErrKilled is what a refusal returns that is meant as the death of who keeps.
var ErrKilled = errors.New("killed")

// Start watches behind a position until the test ends or stop is called.
func Start(t testing.TB, w connector.Watcher, after []byte, tell func(context.Context, connector.Seen) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Watch(ctx, after, tell) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, ErrKilled) {
			t.Errorf("watch: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// Keeper keeps what a watcher tells.
type Keeper struct {
	t    testing.TB
	stop func()

	mu       sync.Mutex
	position []byte
	events   []connector.Event
	ids      map[string]bool
	refuse   func() error
}

// New returns one that has no position yet.
func New(t testing.TB) *Keeper { return &Keeper{t: t, ids: map[string]bool{}, stop: func() {}} }

// Tell is the tell of Watch.
func (k *Keeper) Tell(_ context.Context, s connector.Seen) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refuse != nil {
		if err := k.refuse(); err != nil {
			return err
		}
	}
	for _, e := range s.Events {
		if e.ID == "" || k.ids[e.ID] {
			return fmt.Errorf("%q has no ID, or that of another: %q", text(e), e.ID)
		}
		k.ids[e.ID] = true
		e.Line, e.Fields = bytes.Clone(e.Line), maps.Clone(e.Fields)
		k.events = append(k.events, e)
	}
	k.position = slices.Clone(s.Position)
	return nil
}

// text is an event in a word: a line as it is, "GAP cause", "NOTE cause".
func text(e connector.Event) string {
	s := string(e.Line)
	switch e.Kind {
	case connector.EventGap:
		s = "GAP " + e.Cause
	case connector.EventNote:
		s = "NOTE " + e.Cause
	}
	if e.Cut {
		s += " (cut)"
	}
	return s
}

// Start watches behind what was kept, until the test ends or Stop is called.
func (k *Keeper) Start(w connector.Watcher) {
	k.t.Helper()
	k.stop = Start(k.t, w, k.Position(), k.Tell)
}

// Stop ends the watching.
func (k *Keeper) Stop() { k.stop() }

// Refuse has every further Tell ask first: nothing is kept of what it refuses. nil ends that.
func (k *Keeper) Refuse(ask func() error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refuse = ask
}

// Position is the last that was kept; nil before the first.
func (k *Keeper) Position() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.position)
}

// Place sets the position to begin at.
func (k *Keeper) Place(position []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.position = position
}

// Events are all that were told.
func (k *Keeper) Events() []connector.Event {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.events)
}

// Told are the events as texts: a line as it is, a gap as "GAP cause", a note as "NOTE cause"; " (cut)" behind what was cut.
func (k *Keeper) Told() (all []string) {
	for _, e := range k.Events() {
		all = append(all, text(e))
	}
	return all
}

// Lines are Told without the notes.
func (k *Keeper) Lines() []string {
	return slices.DeleteFunc(k.Told(), func(s string) bool { return strings.HasPrefix(s, "NOTE ") })
}

// Ready waits for the first position.
func (k *Keeper) Ready() {
	k.t.Helper()
	k.Until("position", func() bool { return k.Position() != nil })
}

// Until waits until something is done.
func (k *Keeper) Until(what string, done func() bool) {
	k.t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			k.t.Fatalf("no %s within %v; told: %.3000q, position %s", what, patience, k.Told(), k.Position())
		}
	}
}

// Tells waits for lines, and checks that nothing else was told but notes. A want that begins with "GAP " is a part of a
// gap's cause.
func (k *Keeper) Tells(want ...string) {
	k.t.Helper()
	k.Until(fmt.Sprintf("%.300q", want), func() bool { return len(k.Lines()) >= len(want) })
	if got := k.Lines(); !slices.EqualFunc(got, want, func(g, w string) bool {
		return g == w || strings.HasPrefix(w, "GAP ") && strings.HasPrefix(g, "GAP ") && strings.Contains(g, w[4:])
	}) {
		k.t.Fatalf("got %.3000q\nwant %.3000q", got, want)
	}
}
