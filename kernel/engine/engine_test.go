package engine_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/kernel/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// work is a job that does what its function does.
type work func(ctx context.Context) error

func (w work) Run(ctx context.Context) error            { return w(ctx) }
func (w work) Gates() []gate.Status                     { return nil }
func (w work) Notes() [][2]string                       { return nil }
func (w work) Quotas() []engine.Quota                   { return nil }
func (w work) OpenGate(name string) error               { return gate.Open(name) }
func (w work) Promises() map[string]string              { return nil }
func (w work) Tasks(store.Reader) (engine.Tasks, error) { return engine.Tasks{}, nil }
func (w work) Command(context.Context, string, []string) (string, error) {
	return "", errors.New("it knows no command")
}

// waiting works until it is stopped.
func waiting(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// log keeps what is logged.
type log struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// run runs an engine in dir until the returned function is called.
func run(t *testing.T, dir string, l *log, specs ...engine.Spec) (*engine.Engine, func()) {
	t.Helper()
	e, err := engine.New(engine.Options{Dir: dir, Log: slog.New(slog.NewTextHandler(l, nil)),
		Room: engine.RoomLimits{Soft: 1, Hard: 1, Ballast: 1}}, specs)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run engine: %v", err)
		}
	})
	t.Cleanup(stop)
	return e, stop
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

func state(t *testing.T, e *engine.Engine, job string) engine.Status {
	t.Helper()
	all, err := e.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Name == job {
			return s
		}
	}
	t.Fatalf("there is no job %s", job)
	return engine.Status{}
}

// TestAPanicRestartsItsJobAlone lets one job panic everywhere it can: it is started again from its
// store, and the other job never notices.
func TestAPanicRestartsItsJobAlone(t *testing.T) {
	var starts, others atomic.Int64
	key := store.Meta.K().Str("test-starts")
	newBad := func(_ context.Context, env engine.Env) (engine.Job, error) {
		n := starts.Add(1)
		if n == 1 {
			panic("a bug while it is built")
		}
		return work(func(ctx context.Context) error {
			err := env.Store.Update(func(tx *store.Tx) error {
				v, _, err := tx.Get(key)
				tx.Set(key, append(bytes.Clone(v), 'x'))
				return err
			})
			if err != nil {
				return err
			}
			g, ctx := engine.NewGroup(ctx)
			g.Go(func() error { return waiting(ctx) })
			g.Go(func() error {
				if n == 2 {
					panic("a bug in a goroutine of its group")
				}
				return waiting(ctx)
			})
			g.Go(func() error {
				if n == 3 {
					return errors.New("an error")
				}
				return waiting(ctx)
			})
			return g.Wait()
		}), nil
	}
	bad := engine.Spec{Name: "bad", Kind: "test", New: newBad}
	good := engine.Spec{Name: "good", Kind: "test", New: func(context.Context, engine.Env) (engine.Job,
		error) {
		others.Add(1)
		return work(waiting), nil
	}}
	l := &log{}
	e, stop := run(t, t.TempDir(), l, bad, good)
	until(t, "the job was started again each time", func() bool {
		return starts.Load() == 4 && state(t, e, "bad").State == engine.Running
	})
	for _, want := range []string{"a bug while it is built", "a bug in a goroutine of its group",
		"an error", "engine_test.go"} {
		if !strings.Contains(l.String(), want) {
			t.Errorf("the log does not tell of %q:\n%s", want, l)
		}
	}
	if s := state(t, e, "good"); s.State != engine.Running || s.Error != "" || others.Load() != 1 {
		t.Errorf("the other job: %+v, started %d times; want it to run undisturbed", s, others.Load())
	}
	if s := state(t, e, "bad"); !strings.Contains(s.Error, "an error") {
		t.Errorf("the status of the job does not tell why it failed last: %+v", s)
	}
	until(t, "the store of the job has what each of its three runs wrote", func() bool {
		var kept []byte
		_ = e.WithStore("bad", func(st *store.Store) error {
			return st.Latest(func(r store.Reader) error {
				v, _, err := r.Get(key)
				kept = bytes.Clone(v)
				return err
			})
		})
		return string(kept) == "xxx"
	})
	stop()
}

// TestAPauseSurvivesARestart pauses a job, which then waits through restarts until it is resumed.
func TestAPauseSurvivesARestart(t *testing.T) {
	dir, l := t.TempDir(), &log{}
	var running atomic.Int64
	spec := engine.Spec{Name: "one", Kind: "test", New: func(context.Context, engine.Env) (engine.Job,
		error) {
		return work(func(ctx context.Context) error {
			running.Add(1)
			defer running.Add(-1)
			return waiting(ctx)
		}), nil
	}}
	e, stop := run(t, dir, l, spec)
	until(t, "it runs", func() bool { return running.Load() == 1 })
	if err := e.Pause("one"); err != nil {
		t.Fatal(err)
	}
	until(t, "it is paused", func() bool {
		return running.Load() == 0 && state(t, e, "one").State == engine.Paused
	})
	stop()
	e, stop = run(t, dir, l, spec)
	until(t, "it is paused after the restart", func() bool {
		return state(t, e, "one").State == engine.Paused
	})
	if running.Load() != 0 {
		t.Error("a paused job runs after a restart")
	}
	if err := e.Resume("one"); err != nil {
		t.Fatal(err)
	}
	until(t, "it goes on", func() bool { return running.Load() == 1 })
	if err := e.Pause("none"); err == nil {
		t.Error("a job that is not there was paused")
	}
	stop()
}

// TestAPauseWhileTheJobBegins: one that comes before there is work to stop is not lost.
func TestAPauseWhileTheJobBegins(t *testing.T) {
	var begun, running atomic.Int64
	goOn := make(chan struct{})
	e, stop := run(t, t.TempDir(), &log{}, engine.Spec{Name: "one", Kind: "test",
		New: func(context.Context, engine.Env) (engine.Job, error) {
			if begun.Add(1) == 2 {
				<-goOn
			}
			return work(func(ctx context.Context) error {
				running.Add(1)
				defer running.Add(-1)
				return waiting(ctx)
			}), nil
		}})
	defer stop()
	until(t, "it runs", func() bool { return running.Load() == 1 })
	if err := e.Pause("one"); err != nil {
		t.Fatal(err)
	}
	until(t, "it is paused", func() bool { return state(t, e, "one").State == engine.Paused })
	if err := e.Resume("one"); err != nil {
		t.Fatal(err)
	}
	until(t, "it begins again", func() bool { return begun.Load() == 2 })
	err := e.Pause("one")
	close(goOn)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the second pause", func() bool {
		n := 0
		err := e.WithStore("one", func(st *store.Store) error {
			return st.View(t.Context(), func(r store.Reader) error {
				all, err := engine.ReadEvents(r, 0, 100)
				for _, ev := range all {
					if ev.Kind == "job.paused" {
						n++
					}
				}
				return err
			})
		})
		return err == nil && n == 2
	})
	if running.Load() != 0 {
		t.Error("a paused job runs")
	}
}
