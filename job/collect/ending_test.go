package collect_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/sqlite"
	"holdfast/job/collect"
	"holdfast/kernel/engine"
)

// ending is a stream that comes to its end when its sink has failed.
type ending struct {
	script
	failed chan struct{}
}

func (s *ending) Fetch(ctx context.Context, r connector.Request) (connector.Page, error) {
	if s.next == len(s.pages)-1 {
		<-s.failed
	}
	return s.script.Fetch(ctx, r)
}

// failingOnce fails its first write, a moment behind the end of its source.
type failingOnce struct {
	connector.Sink
	failed chan struct{} // closed then
}

func (s failingOnce) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	select {
	case <-s.failed:
		return s.Sink.Write(ctx, d)
	default:
		close(s.failed)
		time.Sleep(100 * time.Millisecond) // the end is known when the write has failed; nothing outside shows when
		return connector.Verdict{}, fault.New(fault.Transient, "connection refused")
	}
}

// TestTheSourceEndsWhileTheSinkIsAway: what was read ahead for the sink goes with the source, and the job ends well.
func TestTheSourceEndsWhileTheSinkIsAway(t *testing.T) {
	r, pages := &rig{t: t, dir: t.TempDir()}, append(readingPages(1), readings())
	r.runSpec(engine.Spec{Name: "spots", Kind: "collect",
		New: func(ctx context.Context, env engine.Env) (engine.Job, error) {
			sink, err := sqlite.New(sqlite.Config{Path: filepath.Join(r.dir, "rows.sqlite"), Table: "rows"})
			if err != nil {
				return nil, err
			}
			failed := make(chan struct{})
			return collect.New(ctx, env, &ending{script{pages: pages}, failed},
				[]collect.Sink{{Name: "main", Sink: failingOnce{sink, failed},
					Retry: collect.Retry{Initial: 300 * time.Millisecond}}},
				collect.Config{Source: "stream", NextPoll: func(last time.Time) time.Time { return last }})
		}})
	if failed := r.events("job.failed"); len(failed) > 0 {
		t.Errorf("the job failed: %v", failed)
	}
	if b := r.books(); b.Sinks[0].Delivered != 100 || b.Sinks[0].Pending != 0 {
		t.Errorf("got %+v, want 100 rows delivered", b.Sinks[0])
	}
}
