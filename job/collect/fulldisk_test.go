package collect_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/connector"
	"holdfast/connector/wsprnet/simulator"
	"holdfast/kernel/engine"
	"holdfast/tests/testenv"
)

// counting counts what reaches the sink, and lets a delivery wait for a word.
type counting struct {
	connector.Sink
	writes *atomic.Int64
	free   <-chan struct{}
}

func (c counting) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	c.writes.Add(1)
	select {
	case <-c.free:
	case <-ctx.Done():
	}
	return c.Sink.Write(ctx, d)
}

// TestADiskThatSomebodyElseFilled: no commit can be made any more, not even of a delivery that the sink has
// taken. The job does not end for it and sends nothing twice, and goes on when there is room.
func TestADiskThatSomebodyElseFilled(t *testing.T) {
	r := newRig(t, simulator.Options{Seed: 9, Rate: -1, Backlog: 100, Keep: -1})
	r.dir = testenv.SmallDisk(t, 200<<20)
	lite := t.TempDir()
	r.cfg.Once, r.cfg.NextPoll = false, func(last time.Time) time.Time { return last.Add(time.Second) }
	var starts, writes atomic.Int64
	free := make(chan struct{})
	r.wrap = func(s connector.Sink) connector.Sink { return counting{s, &writes, free} }
	spec := r.spec()
	build := spec.New
	r.database = filepath.Join(lite, "spots.sqlite")
	spec.New = func(ctx context.Context, env engine.Env) (engine.Job, error) {
		starts.Add(1)
		return build(ctx, env)
	}
	e, err := engine.New(engine.Options{Dir: r.dir, Log: slog.New(slog.DiscardHandler),
		Room: engine.RoomLimits{Soft: 60 << 20, Hard: 40 << 20, Ballast: 1}}, []engine.Spec{spec})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	until := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("%s: not within 30 s", what)
				return
			}
		}
	}
	until("a delivery is under way", func() bool { return writes.Load() == 1 })
	var fs unix.Statfs_t
	if err := unix.Statfs(r.dir, &fs); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(r.dir, "filler")
	if err := os.WriteFile(filler, make([]byte, int64(fs.Bavail)*fs.Bsize-4<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	close(free)
	time.Sleep(2500 * time.Millisecond)
	if starts.Load() != 1 || writes.Load() != 1 {
		t.Errorf("on a full disk the job was started %d times and wrote %d times, want once", starts.Load(),
			writes.Load())
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	r.sim.Publish(50)
	until("all is delivered", func() bool { return len(r.ids()) == 150 })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n := starts.Load(); n != 1 {
		t.Errorf("the job was started %d times, want once", n)
	}
	if f := r.books().Sinks[0]; f.Delivered != 150 || f.Pending != 0 {
		t.Errorf("books at the end: %+v", f.Flow)
	}
}
