package engine_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// TestOffline: work on a closed store waits for the job, and the job goes on behind it, whatever becomes
// of the work.
func TestOffline(t *testing.T) {
	runs := make(chan struct{}, 10)
	var open atomic.Bool
	e, end := run(t, t.TempDir(), new(log), engine.Spec{Name: "one", Kind: "test",
		New: func(context.Context, engine.Env) (engine.Job, error) {
			return work(func(ctx context.Context) error {
				open.Store(true)
				runs <- struct{}{}
				defer open.Store(false)
				return waiting(ctx)
			}), nil
		}})
	<-runs
	failed := errors.New("no such checkpoint")
	for _, want := range []error{nil, failed} {
		err := e.Offline(t.Context(), "one", func() error {
			if open.Load() {
				t.Error("the job is at work")
			}
			return want
		})
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
		<-runs
	}
	if err := e.Offline(t.Context(), "one", func() error { panic("bug") }); err == nil {
		t.Error("a panic of the work is no error")
	}
	<-runs
	if err := e.Offline(t.Context(), "nosuch", func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("a job that is not here: got %v", err)
	}
	end()
	if err := e.Offline(t.Context(), "one", func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("behind the end: got %v", err)
	}
}

// TestAPauseThatComesWithTheStore: a store that says it is paused, as a restored checkpoint may, pauses its
// job also when an earlier pause was ended in this process.
func TestAPauseThatComesWithTheStore(t *testing.T) {
	var runs atomic.Int64
	dir := t.TempDir()
	e, end := run(t, dir, new(log), engine.Spec{Name: "one", Kind: "test",
		New: func(context.Context, engine.Env) (engine.Job, error) {
			return work(func(ctx context.Context) error {
				runs.Add(1)
				return waiting(ctx)
			}), nil
		}})
	running := func() bool { return state(t, e, "one").State == engine.Running }
	until(t, "the job runs", running)
	if err := e.Pause("one"); err != nil {
		t.Fatal(err)
	}
	until(t, "the job is paused", func() bool { return state(t, e, "one").State == engine.Paused })
	if err := e.Resume("one"); err != nil {
		t.Fatal(err)
	}
	until(t, "the job runs again", func() bool { return runs.Load() == 2 })
	before := runs.Load()
	err := e.Offline(t.Context(), "one", func() error {
		st, err := store.Open(engine.JobDir(dir, "one"), store.Options{})
		if err != nil {
			return err
		}
		return errors.Join(engine.SetPaused(st, true), st.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the job is paused by its store", func() bool { return state(t, e, "one").State == engine.Paused })
	time.Sleep(50 * time.Millisecond)
	if n := runs.Load() - before; n != 0 || state(t, e, "one").State != engine.Paused {
		t.Errorf("a paused job ran %d times, and is %s", n, state(t, e, "one").State)
	}
	end()
}
