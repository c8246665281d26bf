package collect_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/sqlite"
	"holdfast/job/collect"
	"holdfast/kernel/engine"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// frozen does not answer a write before the test is over.
type frozen struct {
	connector.Sink
	asked chan struct{} // closed by the first write
	once  *sync.Once
	over  <-chan struct{}
}

func (f frozen) Write(ctx context.Context, _ connector.Delivery) (connector.Verdict, error) {
	f.once.Do(func() { close(f.asked) })
	select {
	case <-ctx.Done():
	case <-f.over:
	}
	return connector.Verdict{}, fault.New(fault.Transient, "no answer")
}

// staged is a script that goes on behind its third page once a sink has something on its way, and that calls
// over when its last page was taken in.
type staged struct {
	script
	asked <-chan struct{}
	over  func()
}

func (s *staged) Fetch(ctx context.Context, r connector.Request) (connector.Page, error) {
	if s.next == 3 {
		select {
		case <-s.asked:
		case <-ctx.Done():
		}
	}
	if s.next == len(s.pages) {
		s.over()
		<-ctx.Done()
		return connector.Page{}, ctx.Err()
	}
	p, err := s.script.Fetch(ctx, r)
	p.End = false
	return p, err
}

// TestJobQuotaBehindWhatIsOnItsWay: the oldest blocks are in the hands of a sink that is frozen. What expires
// behind them makes room, so that the job stays within its quota and the youngest rows are kept.
func TestJobQuotaBehindWhatIsOnItsWay(t *testing.T) {
	pages := readingPages(120)
	r := &rig{t: t, dir: t.TempDir()}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	asked, over := make(chan struct{}), ctx
	e, err := engine.New(engine.Options{Dir: r.dir, Log: slog.New(slog.DiscardHandler),
		Room: engine.RoomLimits{Soft: 1, Hard: 1, Ballast: 1}}, []engine.Spec{{Name: "spots", Kind: "collect",
		New: func(ctx context.Context, env engine.Env) (engine.Job, error) {
			var sinks []collect.Sink
			for _, name := range []string{"main", "well"} {
				sink, err := sqlite.New(sqlite.Config{Path: filepath.Join(r.dir, name), Table: "rows"})
				if err != nil {
					return nil, err
				}
				sinks = append(sinks, collect.Sink{Name: name, Sink: sink, Rows: 300})
			}
			sinks[0].Sink = frozen{sinks[0].Sink, asked, new(sync.Once), over.Done()}
			return collect.New(ctx, env, &staged{script{pages: pages}, asked, cancel}, sinks,
				collect.Config{Source: "stream", Retain: spool.Retain{Age: time.Hour},
					Quota:    collect.Quota{Marks: engine.Marks{Hard: 16 << 10}, Policy: collect.Expire},
					NextPoll: func(last time.Time) time.Time { return last }})
		}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	b := r.books()
	main := b.Sinks[0]
	if main.Expired == 0 || main.Expired+main.Pending != b.Accepted || b.GapSums.Lost < main.Expired {
		t.Errorf("got %+v and gaps %+v, want some expired as gaps", main.Flow, b.GapSums)
	}
	if main.PendingBytes < 10<<10 {
		t.Errorf("%d bytes are left of what main waits for: rows expired for nothing", main.PendingBytes)
	}
	st := r.open()
	defer st.Close()
	err = st.View(t.Context(), func(rd store.Reader) error {
		s, err := spool.ReadStats(rd)
		if s.Bytes > 20<<10 || s.First != 1 {
			t.Errorf("the spool has %d bytes from block %d on, the quota is 16 KiB", s.Bytes, s.First)
		}
		return errors.Join(err, spool.Verify(t.Context(), rd, func(_, _ uint64) {}, func(seq uint64, err error) {
			t.Errorf("block %d: %v", seq, err)
		}))
	})
	if err != nil {
		t.Fatal(err)
	}
}
