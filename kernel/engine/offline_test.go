package engine_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"holdfast/kernel/engine"
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
