package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/base/fault"
)

// dependency is what a canary meets: an error that a test sets, and when it was asked.
type dependency struct {
	mu    sync.Mutex // guards what is below
	err   error
	takes time.Duration
	deaf  bool // does not heed its context
	asked []time.Time
}

func (d *dependency) set(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

func (d *dependency) probe(ctx context.Context) error {
	d.mu.Lock()
	d.asked = append(d.asked, time.Now())
	takes, deaf := d.takes, d.deaf
	d.mu.Unlock()
	if deaf {
		ctx = context.WithoutCancel(ctx)
	}
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

func (d *dependency) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.asked)
}

func (d *dependency) first() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[0]
}

// changes collects what OnChange was told.
type changes struct {
	mu  sync.Mutex // guards all
	all []string
}

func (c *changes) add(s Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.Open {
		c.all = append(c.all, "open")
	} else {
		c.all = append(c.all, s.Kind)
	}
}

func (c *changes) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait() // a gate opens before it tells
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(c.all, want) {
		t.Errorf("told %v, want %v", c.all, want)
	}
}

// running runs a test in a bubble of virtual time with a gate that is driven.
func running(t *testing.T, o Options, f func(t *testing.T, g *Gate, d *dependency, c *changes)) {
	t.Helper()
	with(t, o, &dependency{}, f)
}

// with is running with a dependency that is not well from the start.
func with(t *testing.T, o Options, d *dependency,
	f func(t *testing.T, g *Gate, d *dependency, c *changes)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &changes{}
		o.Probe, o.OnChange = d.probe, c.add
		g := New("sink", o)
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() {
			if err := g.Run(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("run: %v", err)
			}
		})
		f(t, g, d, c)
		cancel()
		run.Wait()
	})
}

var down = fault.New(fault.Transient, "connection refused")

// opens waits for the gate and returns how long that took.
func opens(t *testing.T, g *Gate) time.Duration {
	t.Helper()
	begun := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if err := g.Wait(ctx); err != nil {
		t.Fatalf("the gate stays closed: %+v", g.Status())
	}
	return time.Since(begun)
}

func TestOutage(t *testing.T) {
	running(t, Options{}, func(t *testing.T, g *Gate, d *dependency, c *changes) {
		if err := g.Wait(t.Context()); err != nil {
			t.Fatalf("a new gate: %v", err)
		}
		time.Sleep(time.Hour)
		if n := d.count(); n != 0 {
			t.Errorf("an open gate was probed %d times", n)
		}
		d.set(down)
		begun := time.Now()
		for range 50 { // many workers meet it at once
			g.Report(fault.WithHint(fmt.Errorf("insert: %w", down), "look at the server"))
		}
		s := g.Status()
		if s.Open || s.Kind != "outage" || s.Cause != "insert: connection refused" ||
			s.Hint != "look at the server" || !s.Since.Equal(begun) || s.Next.Before(begun) {
			t.Errorf("status: %+v", s)
		}
		time.Sleep(10 * time.Minute)
		if s := g.Status(); s.Open || !s.Since.Equal(begun) {
			t.Errorf("status after ten minutes: %+v", s)
		}
		if n := d.count(); n < 600 || n > 6000 {
			t.Errorf("%d canaries in ten minutes", n)
		}
		d.set(nil)
		if took := opens(t, g); took > 800*time.Millisecond {
			t.Errorf("open %v after recovery", took)
		}
		c.want(t, "outage", "open")
	})
}

// TestRecoveryIsQuick: at whatever moment the dependency recovers, work goes on within a second.
func TestRecoveryIsQuick(t *testing.T) {
	for i := range 40 {
		d := &dependency{err: down, takes: 50 * time.Millisecond}
		with(t, Options{}, d, func(t *testing.T, g *Gate, d *dependency, _ *changes) {
			g.Report(down)
			time.Sleep(time.Duration(i*i) * 97 * time.Millisecond)
			d.set(nil)
			if took := opens(t, g); took > time.Second {
				t.Errorf("open %v after recovery", took)
			}
		})
	}
}

// TestSlowCanary: canaries that take their time set out as often as others, and do not follow at each other's heels.
func TestSlowCanary(t *testing.T) {
	for _, c := range []struct{ takes, apart time.Duration }{
		{0, time.Second}, {300 * time.Millisecond, time.Second}, {5 * time.Second, 5500 * time.Millisecond},
	} {
		o := Options{Closed: true, Fastest: time.Second, Slowest: time.Second, Jitter: -1}
		with(t, o, &dependency{err: down, takes: c.takes}, func(t *testing.T, _ *Gate, d *dependency, _ *changes) {
			time.Sleep(10*c.apart + c.takes + time.Millisecond)
			if n := d.count(); n != 11 {
				t.Errorf("%d canaries that take %v in %v, want one each %v", n, c.takes, 10*c.apart, c.apart)
			}
		})
	}
}

func TestPauses(t *testing.T) {
	for _, c := range []struct {
		name       string
		err        error
		first      time.Duration // no canary before
		fewest     int           // in an hour
		most       int
		whenItIsOK time.Duration // at most so long after recovery
	}{
		{"credentials", fault.New(fault.Credentials, "wrong password"), time.Minute, 59, 61, time.Minute},
		{"permanent", fault.New(fault.Permanent, "no column"), time.Minute, 59, 61, time.Minute},
		{"corrupt", fault.New(fault.Corrupt, "malformed"), time.Minute, 59, 61, time.Minute},
		{"conflict", fault.New(fault.Conflict, "other hash"), time.Minute, 59, 61, time.Minute},
		{"told to wait", fault.WithWait(errors.New("slow down"), 90*time.Second), 90 * time.Second,
			39, 41, 90 * time.Second},
		{"throttled", fault.New(fault.Throttled, "slow down"), 10 * time.Second,
			350, 361, 10 * time.Second},
		{"full", fault.New(fault.Full, "no room"), 0, 3600, 40_000, 800 * time.Millisecond},
		{"unknown", errors.New("what"), 0, 3600, 40_000, 800 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			running(t, Options{}, func(t *testing.T, g *Gate, d *dependency, ch *changes) {
				d.set(c.err)
				g.Report(c.err)
				begun := time.Now()
				time.Sleep(time.Hour)
				if n := d.count(); n < c.fewest || n > c.most {
					t.Errorf("%d canaries in an hour, want %d to %d", n, c.fewest, c.most)
				}
				if first := d.first().Sub(begun); first < c.first {
					t.Errorf("first canary after %v, want %v", first, c.first)
				}
				ch.want(t, fault.KindOf(c.err).String()) // told once
				d.set(nil)
				if took := opens(t, g); took > c.whenItIsOK {
					t.Errorf("open %v after recovery, want %v", took, c.whenItIsOK)
				}
			})
		})
	}
}

// TestAskedForTime: nothing that other workers meet makes the canary fly before the time that the
// dependency asked for.
func TestAskedForTime(t *testing.T) {
	running(t, Options{}, func(t *testing.T, g *Gate, d *dependency, c *changes) {
		g.Report(fault.WithWait(errors.New("slow down"), time.Minute))
		begun := time.Now()
		time.Sleep(time.Second)
		g.Report(down)
		g.Report(fault.WithWait(errors.New("slow down"), time.Second))
		g.Kick()
		if took := opens(t, g); took != 59*time.Second {
			t.Errorf("open after %v, want 59s", took)
		}
		if n := d.count(); n != 1 || d.first().Sub(begun) != time.Minute {
			t.Errorf("%d canaries, the first after %v", n, d.first().Sub(begun))
		}
		c.want(t, "throttled", "outage", "throttled", "open")
		g.Report(fault.New(fault.Throttled, "slow down")) // the old time does not count any more
		if took := opens(t, g); took != 10*time.Second {
			t.Errorf("open after %v, want 10s", took)
		}
		g.Report(fault.WithWait(errors.New("slow down"), time.Hour))
		g.OpenByHand() // a person knows better
		g.Report(down)
		if took := opens(t, g); took > time.Second {
			t.Errorf("open after %v", took)
		}
		time.Sleep(2 * time.Second)
		d.set(fault.New(fault.Throttled, "slow down"))
		before := d.count()
		g.Report(fault.WithWait(errors.New("slow down"), time.Minute))
		time.Sleep(2*time.Minute - time.Second)
		if n := d.count() - before; n != 6 {
			t.Errorf("%d canaries, want one after a minute and then one in 10 s", n)
		}
	})
}

// TestReportsDoNotHoldUpTheCanary: workers that go on meeting the outage don't put it off.
func TestReportsDoNotHoldUpTheCanary(t *testing.T) {
	running(t, Options{}, func(t *testing.T, g *Gate, d *dependency, c *changes) {
		d.set(down)
		for range 6000 {
			g.Report(down)
			time.Sleep(10 * time.Millisecond)
		}
		if n := d.count(); n < 60 {
			t.Errorf("%d canaries in a minute", n)
		}
		d.set(nil)
		opens(t, g)
		time.Sleep(time.Minute)
		d.set(down)
		n := d.count()
		g.Report(down)
		time.Sleep(151 * time.Millisecond)
		if d.count() == n {
			t.Error("after a recovery the first canary flies as late as in a long outage")
		}
	})
}

// TestKindChanges: a server that goes down while its password is wrong is probed as an outage, and
// both are told.
func TestKindChanges(t *testing.T) {
	running(t, Options{}, func(t *testing.T, g *Gate, d *dependency, c *changes) {
		wrong := fault.New(fault.Credentials, "wrong password")
		d.set(wrong)
		g.Report(wrong)
		since := g.Status().Since
		time.Sleep(5 * time.Second)
		d.set(down)
		g.Report(down)
		time.Sleep(5 * time.Second)
		if n := d.count(); n < 5 {
			t.Errorf("%d canaries in five seconds of outage", n)
		}
		if s := g.Status(); !s.Since.Equal(since) {
			t.Errorf("closed since %v, want %v", s.Since, since)
		}
		d.set(wrong)
		time.Sleep(2 * time.Second)
		c.want(t, "credentials", "outage", "credentials")
		n := d.count()
		time.Sleep(50 * time.Second)
		if d.count() != n {
			t.Errorf("%d canaries within a minute of wrong credentials", d.count()-n)
		}
	})
}

func TestKickAndOpenByHand(t *testing.T) {
	running(t, Options{}, func(t *testing.T, g *Gate, d *dependency, c *changes) {
		g.Report(fault.New(fault.Credentials, "wrong password"))
		time.Sleep(time.Second)
		g.Kick()
		if took := opens(t, g); took != 0 {
			t.Errorf("open %v after a kick", took)
		}
		d.set(down)
		g.Report(fault.New(fault.Permanent, "no column"))
		g.OpenByHand()
		g.OpenByHand()
		if !g.Status().Open {
			t.Error("closed after OpenByHand")
		}
		time.Sleep(time.Hour)
		if n := d.count(); n != 1 {
			t.Errorf("%d canaries, want 1", n)
		}
		c.want(t, "credentials", "open", "permanent", "open")
	})
}

// TestKickOfAnOpenGate: a canary beside the work would ask the dependency what the work asks.
func TestKickOfAnOpenGate(t *testing.T) {
	running(t, Options{}, func(t *testing.T, g *Gate, d *dependency, c *changes) {
		g.Kick()
		time.Sleep(time.Hour)
		if n := d.count(); n != 0 || !g.Status().Open {
			t.Errorf("%d canaries of an open gate, want none; %+v", n, g.Status())
		}
		c.want(t)
	})
}

func TestBeginsClosed(t *testing.T) {
	if s := New("sink", Options{Closed: true}).Status(); s.Open || s.Cause != "not tried yet" {
		t.Errorf("status: %+v", s)
	}
	running(t, Options{Closed: true}, func(t *testing.T, g *Gate, d *dependency, c *changes) {
		if took := opens(t, g); took != 0 {
			t.Errorf("open after %v", took)
		}
		c.want(t) // no news
	})
	d := &dependency{err: down}
	with(t, Options{Closed: true}, d, func(t *testing.T, g *Gate, d *dependency, c *changes) {
		time.Sleep(time.Second)
		c.want(t, "outage")
		d.set(nil)
		opens(t, g)
		c.want(t, "outage", "open")
	})
}

// TestHangingProbe: a canary that ignores its time-out is told, no second one flies beside it, and
// its late answer counts.
func TestHangingProbe(t *testing.T) {
	o := Options{Closed: true, ProbeTimeout: 5 * time.Second}
	deaf := &dependency{takes: time.Hour, deaf: true}
	with(t, o, deaf, func(t *testing.T, g *Gate, d *dependency, c *changes) {
		time.Sleep(30 * time.Minute)
		if n := d.count(); n != 1 {
			t.Errorf("%d canaries at a time", n)
		}
		c.want(t, "outage")
		if s := g.Status(); s.Open || s.Kind != "outage" {
			t.Errorf("status: %+v", s)
		}
		opens(t, g)
	})
	slow := &dependency{takes: time.Hour} // heeds its context
	with(t, o, slow, func(t *testing.T, g *Gate, d *dependency, c *changes) {
		time.Sleep(30 * time.Second)
		c.want(t, "outage")
		if n := d.count(); n < 5 {
			t.Errorf("%d canaries in half a minute", n)
		}
	})
}

// TestDeafProbeDoesNotHoldTheEnd: Run ends soon, and says why it left something behind.
func TestDeafProbeDoesNotHoldTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dependency{takes: time.Hour, deaf: true}
		g := New("sink", Options{Closed: true, Probe: d.probe})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		err := g.Run(ctx)
		if took := time.Since(begun); took > 5*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("run ended after %v with %v", took, err)
		}
		time.Sleep(2 * time.Hour)
	})
}

// TestProbedWhileOpen finds an outage that no worker has met.
func TestProbedWhileOpen(t *testing.T) {
	running(t, Options{Every: time.Minute}, func(t *testing.T, g *Gate, d *dependency, c *changes) {
		time.Sleep(10*time.Minute + time.Second)
		if n := d.count(); n != 10 {
			t.Errorf("%d canaries in ten minutes, want 10", n)
		}
		d.set(down)
		time.Sleep(time.Minute)
		c.want(t, "outage")
	})
}

// TestFlapping: where the canary succeeds and the work fails at once, openings become rare; after a
// real recovery nothing of that is left.
func TestFlapping(t *testing.T) {
	running(t, Options{}, func(t *testing.T, g *Gate, d *dependency, c *changes) {
		openings := 0
		for begun := time.Now(); time.Since(begun) < time.Hour; openings++ {
			opens(t, g)
			g.Report(down)
		}
		if openings > 100 {
			t.Errorf("%d openings in an hour", openings)
		}
		if down := time.Since(g.Status().Since); down < time.Hour {
			t.Errorf("closed for %v, want the hour for which nothing worked", down)
		}
		opens(t, g)
		time.Sleep(2 * time.Second)
		g.Report(down)
		if s := g.Status(); time.Since(s.Since) != 0 {
			t.Errorf("closed since %v, want since the end of the recovery", s.Since)
		}
		if took := opens(t, g); took > 800*time.Millisecond {
			t.Errorf("open %v after a real recovery", took)
		}
	})
}

// TestWaitEndsWithItsContext, open or closed.
func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New("sink", Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		g.Report(down)
		if err := g.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("closed: got %v", err)
		}
		g.OpenByHand()
		for range 50 {
			if err := g.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("open: got %v", err)
			}
		}
	})
}

// TestOnChangeMayCallBack, and is told each change in order however many goroutines cause them.
func TestOnChangeMayCallBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g *Gate
		var c changes
		var told atomic.Int32
		g = New("sink", Options{OnChange: func(s Status) {
			if told.Add(1) != 1 {
				t.Error("two changes are told at a time")
			}
			defer told.Add(-1)
			_ = g.Status()
			time.Sleep(time.Millisecond)
			c.add(s)
			if !s.Open {
				g.OpenByHand()
			}
		}})
		var workers sync.WaitGroup
		for range 20 {
			workers.Go(func() { g.Report(down) })
		}
		workers.Wait()
		synctest.Wait()
		for i, got := range c.all {
			if want := []string{"outage", "open"}[i%2]; got != want {
				t.Fatalf("told %v", c.all)
			}
		}
		if len(c.all) == 0 || !g.Status().Open {
			t.Errorf("told %v, open %v", c.all, g.Status().Open)
		}
	})
}

// TestJitter: pauses grow from the first to the longest, and vary by the jitter.
func TestJitter(t *testing.T) {
	for _, c := range []struct {
		jitter float64
		least  time.Duration // of the second pause, which is 3 s without jitter
		most   time.Duration
	}{{-1, 3 * time.Second, 3 * time.Second}, {0.1, 2700 * time.Millisecond, 3300 * time.Millisecond}} {
		synctest.Test(t, func(t *testing.T) {
			d := &dependency{err: fault.New(fault.Transient, "away")}
			g := New("sink", Options{Probe: d.probe, Fastest: 2 * time.Second, Slowest: 20 * time.Second,
				Jitter: c.jitter})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() { _ = g.Run(ctx) }()
			g.Report(d.err)
			time.Sleep(10 * time.Minute)
			cancel()
			synctest.Wait()
			var pauses []time.Duration
			for i, at := range d.asked[1:] {
				pauses = append(pauses, at.Sub(d.asked[i]))
			}
			if p := pauses[0]; p < c.least || p > c.most {
				t.Errorf("jitter %v: the second pause is %v, want %v to %v", c.jitter, p, c.least, c.most)
			}
			last := pauses[len(pauses)-1]
			if last > 20*time.Second || c.jitter < 0 && last != 20*time.Second {
				t.Errorf("jitter %v: the last pause is %v, want 20s", c.jitter, last)
			}
			if same := slices.Min(pauses[5:]) == slices.Max(pauses[5:]); same != (c.jitter < 0) {
				t.Errorf("jitter %v: pauses %v", c.jitter, pauses)
			}
		})
	}
}

// TestClosedInWords: a person reads why a gate is closed, what to do, and that it is not tried again at once.
func TestClosedInWords(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fault.New(fault.Transient, "connection refused"), "db: connection refused"},
		{fault.WithHint(fault.New(fault.Credentials, "who are you?"), "check user and password"),
			"db: who are you?; check user and password; tried again every 1m0s, and at once by holdfast resume"},
	} {
		g := New("db", Options{})
		g.Report(c.err)
		if got := g.Status().String(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// A bug in a canary ends Run, and with it the job, and not the process.
func TestCanaryThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New("database", Options{Closed: true, Probe: func(context.Context) error { panic("a bug") }})
		err := g.Run(t.Context())
		if bug, ok := errors.AsType[*fault.Panic](err); !ok || bug.Value != "a bug" {
			t.Errorf("got %v, want the panic", err)
		}
		if s := g.Status(); s.Open || !strings.Contains(s.Cause, "a bug") {
			t.Errorf("got %+v, want a closed gate that tells of the bug", s)
		}
	})
}
