package engine_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/engine"
)

// tells is a job that says under which name it runs, and waits.
func tells(name, as string, runs chan<- string) engine.Spec {
	return engine.Spec{Name: name, Kind: "test", New: func(context.Context, engine.Env) (engine.Job, error) {
		return work(func(ctx context.Context) error {
			runs <- as
			return waiting(ctx)
		}), nil
	}}
}

// runsNext checks which run begins next.
func runsNext(t *testing.T, runs <-chan string, want string) {
	t.Helper()
	select {
	case got := <-runs:
		if got != want {
			t.Errorf("%s runs, want %s", got, want)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("%s does not run", want)
	}
}

// TestAPauseThatIsOverAtOnce: a job that is told to go on before it has stopped goes on, and is not taken for
// one whose work is done.
func TestAPauseThatIsOverAtOnce(t *testing.T) {
	runs, resumed := make(chan string, 10), make(chan struct{})
	e, _ := run(t, t.TempDir(), new(log), engine.Spec{Name: "one", Kind: "test",
		New: func(context.Context, engine.Env) (engine.Job, error) {
			return work(func(ctx context.Context) error {
				runs <- "one"
				<-ctx.Done()
				<-resumed
				return nil
			}), nil
		}})
	runsNext(t, runs, "one")
	if err := errors.Join(e.Pause("one"), e.Resume("one")); err != nil {
		t.Fatal(err)
	}
	close(resumed)
	runsNext(t, runs, "one")
}

// TestJobsComeAndGo: one is added, one changed and one removed while another works on; a store has one owner
// at each moment, and what a removed job holds stays.
func TestJobsComeAndGo(t *testing.T) {
	dir, runs := t.TempDir(), make(chan string, 10)
	e, end := run(t, dir, new(log), tells("kept", "kept", runs))
	runsNext(t, runs, "kept")
	if err := e.Add(tells("new", "new", runs)); err != nil {
		t.Fatal(err)
	}
	runsNext(t, runs, "new")
	if err := e.Add(tells("new", "twice", runs)); !fault.Is(err, fault.Conflict) {
		t.Errorf("added twice: got %v", err)
	}
	if err := e.Replace(t.Context(), tells("new", "changed", runs)); err != nil {
		t.Fatal(err)
	}
	runsNext(t, runs, "changed")
	if err := e.Remove("new"); err != nil {
		t.Fatal(err)
	}
	if got := e.Names(); !slices.Equal(got, []string{"kept"}) {
		t.Errorf("got %v", got)
	}
	if _, err := os.Stat(engine.JobDir(dir, "new")); err != nil {
		t.Errorf("what a removed job holds: %v", err)
	}
	if err := e.Add(tells("new", "back", runs)); err != nil {
		t.Fatal(err)
	}
	runsNext(t, runs, "back")
	for _, err := range []error{e.Remove("nosuch"), e.Replace(t.Context(), tells("nosuch", "", runs))} {
		if !fault.Is(err, fault.NotFound) {
			t.Errorf("a job that is not there: got %v", err)
		}
	}
	end()
	if err := e.Add(tells("late", "late", runs)); !fault.Is(err, fault.Transient) {
		t.Errorf("behind the end: got %v", err)
	}
	if len(runs) > 0 {
		t.Errorf("%s ran though nothing about it changed", <-runs)
	}
}

// TestAJobWhoseWorkIsDoneBeginsAnew: when its specification changes.
func TestAJobWhoseWorkIsDoneBeginsAnew(t *testing.T) {
	runs := make(chan string, 10)
	done := engine.Spec{Name: "once", Kind: "test", New: func(context.Context, engine.Env) (engine.Job, error) {
		return work(func(context.Context) error { return nil }), nil
	}}
	e, _ := run(t, t.TempDir(), new(log), tells("kept", "kept", runs), done)
	runsNext(t, runs, "kept")
	until(t, "the work is done", func() bool {
		all, err := e.Status(t.Context())
		return err == nil && all[1].State == engine.Stopped
	})
	if err := e.Replace(t.Context(), tells("once", "again", runs)); err != nil {
		t.Fatal(err)
	}
	runsNext(t, runs, "again")
	if n := e.Unready(); len(n) > 1 {
		t.Errorf("not ready: %v", n)
	}
}

// TestAJobIsReplacedByManyAtOnce: whoever comes second replaces what the first one put, and no job is there twice.
func TestAJobIsReplacedByManyAtOnce(t *testing.T) {
	done := engine.Spec{Name: "once", Kind: "test", New: func(context.Context, engine.Env) (engine.Job, error) {
		return work(func(context.Context) error { return nil }), nil
	}}
	e, _ := run(t, t.TempDir(), new(log), idle("kept"), done)
	for range 10 {
		until(t, "the work is done", func() bool { return e.Unready()["once"] == "" && len(e.Undone()) == 1 })
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if err := e.Replace(t.Context(), done); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if names := e.Names(); len(names) != 2 {
			t.Fatalf("the jobs are %v", names)
		}
	}
}
