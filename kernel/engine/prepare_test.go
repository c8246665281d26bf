package engine_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"holdfast/kernel/engine"
)

// prepared is a job that has something to do in front of a checkpoint.
type prepared struct {
	work
	did *atomic.Int64
}

func (p prepared) Prepare(context.Context, string) error { p.did.Add(1); return nil }

// TestPrepareWhileAJobBegins: what comes in front of a checkpoint is done by the job, or in its place, but never while it
// begins: both would have its files open.
func TestPrepareWhileAJobBegins(t *testing.T) {
	begins, goOn := make(chan struct{}), make(chan struct{})
	var did atomic.Int64
	e, stop := run(t, t.TempDir(), &log{}, engine.Spec{Name: "a", New: func(context.Context, engine.Env) (engine.Job, error) {
		close(begins)
		<-goOn
		return prepared{waiting, &did}, nil
	}})
	<-begins
	done := make(chan error)
	go func() {
		done <- e.Prepare(context.Background(), "a", "cp", func() error { return errors.New("it was done in the place of the job") })
	}()
	select {
	case err := <-done:
		t.Errorf("it did not wait: %v", err)
	default:
	}
	close(goOn)
	if err := <-done; err != nil || did.Load() != 1 {
		t.Errorf("got %v, done %d times", err, did.Load())
	}
	stop()
	atRest := 0
	if err := e.Prepare(context.Background(), "a", "cp", func() error { atRest++; return nil }); err != nil || atRest != 1 {
		t.Errorf("at rest: %v, done %d times", err, atRest)
	}
}
