package engine_test

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"testing"

	"holdfast/base/fault"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// TestAPausedJobDoesNotHoldOneCycle: a cycle from cron ends at once and says so, and the pause can be ended
// while nothing runs.
func TestAPausedJobDoesNotHoldOneCycle(t *testing.T) {
	dir := t.TempDir()
	ran := 0
	cycle := func() error {
		e, err := engine.New(engine.Options{Dir: dir, Log: slog.New(slog.DiscardHandler),
			Room: engine.RoomLimits{Soft: 1, Hard: 1, Ballast: 1}}, []engine.Spec{{Name: "one", Kind: "test",
			Once: true, New: func(context.Context, engine.Env) (engine.Job, error) {
				return work(func(context.Context) error { ran++; return nil }), nil
			}}})
		if err != nil {
			t.Fatal(err)
		}
		return e.Run(t.Context())
	}
	pause := func(paused bool) {
		st, err := store.Open(engine.JobDir(dir, "one"), store.Options{Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			err = errors.Join(engine.SetPaused(st, paused), st.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	pause(true)
	if err := cycle(); !errors.Is(err, engine.ErrPaused) || ran != 0 {
		t.Errorf("a paused cycle ended with %v and ran %d times", err, ran)
	}
	pause(false)
	if err := cycle(); err != nil || ran != 1 {
		t.Errorf("the cycle behind the pause ended with %v and ran %d times", err, ran)
	}
}

// TestUndone: once the engine was told to stop, it knows whose work was done before.
func TestUndone(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	works := func(run func(ctx context.Context) error) func(context.Context, engine.Env) (engine.Job, error) {
		return func(context.Context, engine.Env) (engine.Job, error) { return work(run), nil }
	}
	e, err := engine.New(engine.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Room: engine.RoomLimits{Soft: 1, Hard: 1, Ballast: 1}}, []engine.Spec{
		{Name: "short", Kind: "test", Once: true, New: works(func(context.Context) error { return nil })},
		{Name: "long", Kind: "test", Once: true, New: works(func(ctx context.Context) error {
			<-ctx.Done()
			return nil
		})}})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- e.Run(ctx) }()
	for slices.Contains(e.Undone(), "short") {
		runtime.Gosched()
	}
	stop()
	if err := <-ended; err != nil || !slices.Equal(e.Undone(), []string{"long"}) {
		t.Errorf("it ended with %v, undone: %v", err, e.Undone())
	}
}

// TestHopeless: a job that ends by itself does not wait for a person when it can't be built as it is meant; the process says why.
func TestHopeless(t *testing.T) {
	tries := 0
	e, err := engine.New(engine.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Room: engine.RoomLimits{Soft: 1, Hard: 1, Ballast: 1}}, []engine.Spec{{Name: "one", Kind: "test", Once: true,
		New: func(context.Context, engine.Env) (engine.Job, error) {
			if tries++; tries == 1 { // an outage passes
				return nil, fault.New(fault.Transient, "away")
			}
			return nil, fault.New(fault.Permanent, "it goes elsewhere")
		}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Run(t.Context()); !fault.Is(err, fault.Permanent) || tries != 2 {
		t.Errorf("it ended with %v after %d tries", err, tries)
	}
	e, err = engine.New(engine.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Room: engine.RoomLimits{Soft: 1, Hard: 1, Ballast: 1}}, []engine.Spec{{Name: "one", Kind: "test", // also one that may wait, if the job says so
		New: func(context.Context, engine.Env) (engine.Job, error) {
			return nil, engine.Hopeless(fault.New(fault.Conflict, "somebody else's"))
		}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Run(t.Context()); !fault.Is(err, fault.Conflict) {
		t.Errorf("it ended with %v", err)
	}
}
