package collect_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/sqlite"
	"holdfast/connector/wsprnet/simulator"
	"holdfast/job/collect"
	"holdfast/kernel/engine"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// events are the texts of the history of one kind.
func (r *rig) events(kind string) (out []string) {
	r.t.Helper()
	st := r.open()
	defer st.Close()
	err := st.View(r.t.Context(), func(rd store.Reader) error {
		all, err := engine.ReadEvents(rd, 0, 10_000)
		for _, e := range all {
			if e.Kind == kind {
				out = append(out, e.Text)
			}
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// quotaRig has a job that may take 16 KiB, of a feed of several times that.
func quotaRig(t *testing.T, p collect.Policy) *rig {
	r := newRig(t, simulator.Options{Seed: 5, Rate: -1, Backlog: 5000, PageLimit: 200})
	r.cfg.Quota = collect.Quota{Marks: engine.Marks{Hard: 16 << 10}, Policy: p}
	r.cfg.Retain.Age = time.Hour
	return r
}

// TestJobQuotaExpires: a sink that is away makes the oldest rows expire, as gaps, and the job stays within
// what it may take.
func TestJobQuotaExpires(t *testing.T) {
	r := quotaRig(t, collect.Expire)
	r.wrap = func(s connector.Sink) connector.Sink {
		return &failing{s, fault.New(fault.Transient, "away")}
	}
	r.run()
	b := r.books()
	main := b.Sinks[0]
	if main.Expired == 0 || main.Pending == 0 || main.Expired+main.Pending+main.Delivered != b.Accepted ||
		b.GapSums.Lost != main.Expired {
		t.Errorf("got %+v and gaps %+v, want some expired as gaps", main.Flow, b.GapSums)
	}
	// What is on its way or read ahead stays: less than one mark more.
	if main.PendingBytes > 32<<10 {
		t.Errorf("the backlog has %d bytes, the quota is 16 KiB", main.PendingBytes)
	}
	if told := r.events("quota.hard"); len(told) == 0 || !strings.Contains(told[0], "the oldest rows that wait expire") {
		t.Errorf("the history tells of the hard mark: %q", told)
	}
}

// slow is a sink that takes its time.
type slow struct{ connector.Sink }

func (s slow) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	select {
	case <-time.After(20 * time.Millisecond):
	case <-ctx.Done():
		return connector.Verdict{}, errors.Join(ctx.Err())
	}
	return s.Sink.Write(ctx, d)
}

// TestJobQuotaHolds: the intake waits for a slow sink, delivered rows go though they are young, and none is
// lost.
func TestJobQuotaHolds(t *testing.T) {
	pages := readingPages(60)
	r := &rig{t: t, dir: t.TempDir()}
	r.runSpec(engine.Spec{Name: "spots", Kind: "collect",
		New: func(ctx context.Context, env engine.Env) (engine.Job, error) {
			sink, err := sqlite.New(sqlite.Config{Path: filepath.Join(r.dir, "rows.sqlite"), Table: "rows"})
			if err != nil {
				return nil, err
			}
			return collect.New(ctx, env, &script{pages: pages},
				[]collect.Sink{{Name: "main", Sink: slow{sink}, Rows: 300}},
				collect.Config{Source: "stream", Retain: spool.Retain{Age: time.Hour},
					Quota:    collect.Quota{Marks: engine.Marks{Hard: 16 << 10}},
					NextPoll: func(last time.Time) time.Time { return last }})
		}})
	b := r.books()
	if main := b.Sinks[0]; main.Delivered != b.Accepted || b.Accepted != 6000 || main.Expired != 0 {
		t.Errorf("got %+v, want all 6000 delivered", main.Flow)
	}
	if told := len(r.events("quota.hard")); told == 0 || told > 40 {
		t.Errorf("the history tells %d times of the hard mark", told)
	}
	st := r.open()
	defer st.Close()
	err := st.View(t.Context(), func(rd store.Reader) error {
		s, err := spool.ReadStats(rd)
		if s.Bytes > 24<<10 {
			t.Errorf("the spool has %d bytes at the end, its quota is 16 KiB", s.Bytes)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestASmallQuotaDoesNotWaitForABatch: where the hard mark is below a delivery's size, rows go to a sink that is
// well before the delivery's time has come, which is in an hour; neither does intake wait for it.
func TestASmallQuotaDoesNotWaitForABatch(t *testing.T) {
	for name, c := range map[string]struct {
		limit int64
		quota engine.Marks
	}{"job": {quota: engine.Marks{Hard: 8 << 10}}, "sink": {limit: 8 << 10},
		"job, less than a page": {quota: engine.Marks{Hard: 1}}, "sink, less than a page": {limit: 1}} {
		t.Run(name, func(t *testing.T) {
			pages := readingPages(40)
			r := &rig{t: t, dir: t.TempDir()}
			r.runSpec(engine.Spec{Name: "spots", Kind: "collect",
				New: func(ctx context.Context, env engine.Env) (engine.Job, error) {
					sink, err := sqlite.New(sqlite.Config{Path: filepath.Join(r.dir, "rows.sqlite"), Table: "rows"})
					if err != nil {
						return nil, err
					}
					return collect.New(ctx, env, &script{pages: pages},
						[]collect.Sink{{Name: "main", Sink: sink, Every: time.Hour, Limit: c.limit}},
						collect.Config{Source: "stream", Quota: collect.Quota{Marks: c.quota},
							NextPoll: func(last time.Time) time.Time { return last }})
				}})
			if b := r.books(); b.Accepted != 4000 || b.Sinks[0].Delivered != 4000 {
				t.Errorf("got %+v, want all 4000 delivered", b.Sinks[0].Flow)
			}
		})
	}
}

// TestSinkSoftMark: a person is told before the limit is reached, once, and when it is over.
func TestSinkSoftMark(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 5, Rate: -1, Backlog: 5000, PageLimit: 200})
	r.limit = 1 << 20
	r.soft = 8 << 10
	r.wrap = func(s connector.Sink) connector.Sink { return &failing{s, fault.New(fault.Transient, "away")} }
	r.run()
	if told := r.events("quota.soft"); len(told) != 1 || !strings.Contains(told[0], "the backlog of sink main has") {
		t.Errorf("the history tells of the soft mark: %q, want once", told)
	}
	if told := r.events("quota.hard"); len(told) != 0 {
		t.Errorf("the hard mark was not reached: %q", told)
	}
}
