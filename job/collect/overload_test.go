package collect_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/sqlite"
	"holdfast/job/collect"
	"holdfast/kernel/engine"
)

// overflowing is a script that can't wait: it loses items while nobody fetches.
type overflowing struct {
	script
	lost atomic.Int64
}

func (o *overflowing) Traits() connector.SourceTraits {
	return connector.SourceTraits{Lost: func() int64 { return o.lost.Swap(0) }}
}

// TestOverloadIsCountedWhileHeld: what a source that can't wait loses while a full backlog holds intake is in the
// store before any page tells of it, so that a kill finds the number; and it is counted once.
func TestOverloadIsCountedWhileHeld(t *testing.T) {
	for name, c := range map[string]struct {
		limit int64
		quota engine.Marks
	}{"sink": {limit: 1}, "job": {quota: engine.Marks{Hard: 1}}} {
		t.Run(name, func(t *testing.T) {
			pages := readingPages(6)
			pages[2].Lost = 5
			src := &overflowing{script: script{pages: pages}}
			var away atomic.Bool
			away.Store(true)
			r := &rig{t: t, dir: t.TempDir()}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			e, err := engine.New(engine.Options{Dir: r.dir, Log: slog.New(slog.DiscardHandler),
				Room: engine.RoomLimits{Soft: 1, Hard: 1, Ballast: 1}}, []engine.Spec{{Name: "spots", Kind: "collect",
				New: func(ctx context.Context, env engine.Env) (engine.Job, error) {
					sink, err := sqlite.New(sqlite.Config{Path: filepath.Join(r.dir, "main"), Table: "rows"})
					if err != nil {
						return nil, err
					}
					return collect.New(ctx, env, src,
						[]collect.Sink{{Name: "main", Sink: &awaySink{sink, &away}, Limit: c.limit}},
						collect.Config{Source: "stream", Quota: collect.Quota{Marks: c.quota},
							NextPoll: func(last time.Time) time.Time { return last }})
				}}})
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- e.Run(ctx) }()
			lost := func() int64 {
				all, err := e.Counters(ctx)
				if err != nil || len(all) != 1 {
					return -1
				}
				return all[0].Balance.GapSums.Lost
			}
			for round := range int64(2) { // while the sink is away no page but the first is taken in
				src.lost.Add(7)
				for lost() != 7*(round+1) {
					if ctx.Err() != nil {
						t.Fatalf("%d rows are counted as lost, want %d while intake is held", lost(), 7*(round+1))
					}
					time.Sleep(10 * time.Millisecond)
				}
			}
			away.Store(false)
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			b := r.books()
			if b.GapSums.Lost != 19 || b.Accepted != 600 || b.Sinks[0].Delivered != 600 {
				t.Errorf("got %+v and %+v, want 19 lost and 600 delivered", b.GapSums, b.Sinks[0].Flow)
			}
			told := r.events("overload.lost")
			if len(told) != 2 || !strings.HasPrefix(told[0], "14 rows") || !strings.HasPrefix(told[1], "5 rows") {
				t.Errorf("the history tells %q, want of 14 rows and of 5", told)
			}
		})
	}
}

// awaySink is away for as long as it is told.
type awaySink struct {
	connector.Sink
	away *atomic.Bool
}

func (a *awaySink) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	if a.away.Load() {
		return connector.Verdict{}, fault.New(fault.Transient, "away")
	}
	return a.Sink.Write(ctx, d)
}

func (a *awaySink) Probe(ctx context.Context) error {
	if a.away.Load() {
		return fault.New(fault.Transient, "away")
	}
	return a.Sink.Probe(ctx)
}
