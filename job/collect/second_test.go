package collect_test

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/sqlite"
	"holdfast/connector/wsprnet/simulator"
	"holdfast/job/collect"
	"holdfast/kernel/engine"
	"holdfast/tests/testenv"
)

// away is a sink that does nothing but fail, in a way of its own.
type away struct {
	how func(ctx context.Context) error
}

func (a away) Traits() connector.SinkTraits                       { return connector.SinkTraits{} }
func (a away) Prepare(ctx context.Context, _ record.Schema) error { return a.how(ctx) }
func (a away) Probe(ctx context.Context) error                    { return a.how(ctx) }
func (a away) Reader() connector.SinkReader                       { return nil }
func (a away) Close() error                                       { return nil }
func (a away) Write(ctx context.Context, _ connector.Delivery) (connector.Verdict, error) {
	return connector.Verdict{}, a.how(ctx)
}

// TestASecondSinkThatIsAway: whatever keeps it from working, the first one gets every row once, at once;
// and the second one gets them all when it is back.
func TestASecondSinkThatIsAway(t *testing.T) {
	ways := map[string]func(ctx context.Context) error{
		"down":        func(context.Context) error { return fault.New(fault.Transient, "connection refused") },
		"frozen":      func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"under load":  func(context.Context) error { return fault.WithWait(fault.New(fault.Throttled, "busy"), time.Hour) },
		"credentials": func(context.Context) error { return fault.New(fault.Credentials, "who are you?") },
	}
	for _, name := range testenv.Some(t, 2, slices.Sorted(maps.Keys(ways))) {
		how := ways[name]
		t.Run(name, func(t *testing.T) {
			r := newRig(t, simulator.Options{Seed: 21, Rate: -1, Backlog: 5000, PageLimit: 500})
			r.more = []collect.Sink{{Name: "second", Sink: away{how}, Retry: collect.Retry{Initial: time.Hour}}}
			want := r.expected()
			begun, log := time.Now(), &journal{}
			stop := r.loop(log)
			r.until(log, `Inserted (\d+) spots into sink main`, len(want))
			took := time.Since(begun)
			stop()
			if got := r.ids(); !slices.Equal(got, want) {
				t.Errorf("the first sink has %d rows, want %d", len(got), len(want))
			}
			b := r.books()
			if b.Sinks[0].Pending != 0 || b.Sinks[1].Pending != int64(len(want)) || b.Sinks[1].Delivered != 0 {
				t.Errorf("books: %+v", b.Sinks)
			}
			t.Logf("%d rows in %v", len(want), took)

			path := filepath.Join(r.dir, "second.sqlite")
			second, err := sqlite.New(sqlite.Config{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			r.cfg.Once, r.more = true, []collect.Sink{{Name: "second", Sink: second}}
			r.run()
			r.database = path
			if got := r.ids(); !slices.Equal(got, want) {
				t.Errorf("the second sink has %d rows when it is back, want %d", len(got), len(want))
			}
		})
	}
}

// first tells when it is asked for its first page.
type first struct {
	script
	asked chan struct{}
}

func (s *first) Fetch(ctx context.Context, r connector.Request) (connector.Page, error) {
	if s.next == 0 {
		close(s.asked)
	}
	return s.script.Fetch(ctx, r)
}

// TestSinkThatCantTellHoldsNoSource: where rows have no integer key, no sink knows where a new source begins, and one
// that is frozen does not hold it up.
func TestSinkThatCantTellHoldsNoSource(t *testing.T) {
	r, asked := &rig{t: t, dir: t.TempDir()}, make(chan struct{})
	frozen := func(ctx context.Context) error {
		select {
		case <-asked:
			return fault.New(fault.Transient, "connection refused")
		case <-ctx.Done():
			select {
			case <-asked:
			default:
				t.Error("the source was asked for nothing until the sink was given up")
			}
			return ctx.Err()
		}
	}
	r.runSpec(engine.Spec{Name: "spots", Kind: "collect",
		New: func(ctx context.Context, env engine.Env) (engine.Job, error) {
			return collect.New(ctx, env, &first{script{pages: readingPages(2)}, asked},
				[]collect.Sink{{Name: "main", Sink: away{frozen}}}, collect.Config{Source: "stream", Once: true})
		}})
	if b := r.books(); b.Accepted != 200 || b.Sinks[0].Pending != 200 {
		t.Errorf("got %+v, %+v", b.Intake, b.Sinks[0])
	}
}
