package streamer

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/connector"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

func TestMain(m *testing.M) {
	_, _ = unpack(pack([]byte("x"))) // what these make at their first use must not belong to one test's bubble
	goleak.VerifyTestMain(m)
}

// soon bounds every wait.
const soon = 2 * time.Minute

// rig runs a streamer in one directory, again and again.
type rig struct {
	t    *testing.T
	dir  string
	b    connector.Broker
	cfg  Config
	src  func() connector.Source
	room engine.RoomLimits
	soon time.Duration // until the job ends by itself

	mu  sync.Mutex // guards job
	job *Job
}

func newRig(t *testing.T, b connector.Broker, src func() connector.Source) *rig {
	return &rig{t: t, dir: t.TempDir(), b: b, src: src, cfg: Config{Names: names, Group: "streamer", DataSet: "test"},
		room: engine.RoomLimits{Soft: 1, Hard: 1, Ballast: 1}, soon: soon}
}

func (r *rig) spec() engine.Spec {
	build := func(ctx context.Context, env engine.Env) (engine.Job, error) {
		cfg := r.cfg
		cfg.Broker = r.b
		j, err := New(ctx, env, r.src(), cfg)
		if err != nil {
			return nil, err
		}
		r.mu.Lock()
		r.job = j
		r.mu.Unlock()
		return j, nil
	}
	return engine.Spec{Name: "weather", Kind: "stream", New: build}
}

// start runs the job until stop is called; ended is closed when it ends by itself.
func (r *rig) start() (stop func(), ended chan struct{}) {
	r.t.Helper()
	e, err := engine.New(engine.Options{Dir: r.dir, Log: slog.New(slog.DiscardHandler), Room: r.room},
		[]engine.Spec{r.spec()})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		if err := e.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			r.t.Error(err)
		}
	}()
	return func() { cancel(); <-ended }, ended
}

// kept is what the running job says of its one sink.
func (r *rig) kept() (k engine.SinkBooks) {
	r.t.Helper()
	j := r.running()
	err := j.env.Store.Latest(func(rd store.Reader) error {
		t, err := j.Tasks(rd)
		if err == nil {
			k = t.Sinks[0]
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return k
}

// once runs the job until it ends by itself.
func (r *rig) once() {
	r.t.Helper()
	r.cfg.Once = true
	_, ended := r.start()
	r.ends(ended)
}

func (r *rig) ends(ended <-chan struct{}) {
	r.t.Helper()
	select {
	case <-ended:
	case <-time.After(r.soon):
		r.t.Fatalf("the job did not end within %v: %+v", r.soon, r.running().desk.figures())
	}
}

// running is the job of the last start.
func (r *rig) running() *Job {
	r.t.Helper()
	for deadline := time.Now().Add(soon); ; time.Sleep(time.Millisecond) {
		r.mu.Lock()
		j := r.job
		r.mu.Unlock()
		if j != nil {
			return j
		}
		if time.Now().After(deadline) {
			r.t.Fatal("the job did not start")
		}
	}
}

// until waits for something that comes without a word.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(soon); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, soon)
		}
	}
}

// open opens the store while no engine runs.
func (r *rig) open() *store.Store {
	r.t.Helper()
	st, err := store.Open(engine.JobDir(r.dir, "weather"), store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.t.Fatal(err)
	}
	return st
}

// look reads the store while no engine runs.
func (r *rig) look(f func(rd store.Reader) error) {
	r.t.Helper()
	st := r.open()
	defer st.Close()
	if err := st.View(r.t.Context(), f); err != nil {
		r.t.Fatal(err)
	}
}

// books returns the books, which must balance.
func (r *rig) books() (b engine.Books) {
	r.t.Helper()
	r.look(func(rd store.Reader) (err error) {
		b, err = engine.ReadBooks(rd, "weather")
		return err
	})
	if !b.Balanced() {
		r.t.Errorf("the books do not balance: %v", b.Broken)
	}
	return b
}

// events returns the texts of a kind.
func (r *rig) events(kind string) (out []string) {
	r.t.Helper()
	r.look(func(rd store.Reader) error {
		all, err := engine.ReadEvents(rd, 0, 10_000)
		for _, e := range all {
			if kind == cmp.Or(e.Kind) {
				out = append(out, e.Text)
			}
		}
		return err
	})
	return out
}

// letters returns the reasons of the dead letters.
func (r *rig) letters() (out []string) {
	r.t.Helper()
	r.look(func(rd store.Reader) error {
		return balance.EachDead(rd, func(d balance.DeadLetter) error {
			out = append(out, d.Reason)
			return nil
		})
	})
	return out
}
