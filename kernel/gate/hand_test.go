package gate

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/base/fault"
)

// A person opens a gate at once, also where the dependency asked for an hour; what work meets closes it again.
func TestOpen(t *testing.T) {
	running(t, Options{}, func(t *testing.T, g *Gate, d *dependency, c *changes) {
		other := New("other", Options{Probe: d.probe})
		slow := fault.WithWait(errors.New("slow down"), time.Hour)
		g.Report(slow)
		d.set(down)
		if g.Kick(); g.Status().Open {
			t.Fatal("a try opened it")
		}
		if err := Open("sink", other, g); err != nil {
			t.Fatal(err)
		}
		if s := g.Status(); !s.Open || !s.Forced {
			t.Errorf("it is closed, or seems to be back: %+v", s)
		}
		time.Sleep(2 * time.Hour)
		if n := d.count(); n != 0 {
			t.Errorf("%d canaries flew behind the time that was asked for: it should be forgotten", n)
		}
		if err := Open("sink", other, g); !fault.Is(err, fault.Conflict) {
			t.Errorf("an open gate was opened: %v", err)
		}
		g.Report(down)
		if g.Status().Open {
			t.Error("work does not close it again")
		}
		if err := Open("nosuch", other, g); !fault.Is(err, fault.NotFound) || !strings.Contains(fault.HintOf(err), "other, sink") {
			t.Errorf("got %v", err)
		}
		c.want(t, "throttled", "open", "outage")
	})
}

// What the canary does first nobody can stand in for, and a gate without one holds no work.
func TestOpenIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := errors.New("what it has is not known")
		never := New("never", Options{Closed: true, Probe: func(context.Context) error { return asked }})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- never.Run(ctx) }()
		time.Sleep(time.Minute)
		told := New("told", Options{})
		told.Report(down)
		for _, name := range []string{"never", "told"} {
			if err := Open(name, never, told); !fault.Is(err, fault.Conflict) || fault.HintOf(err) == "" {
				t.Errorf("%s was opened: %v", name, err)
			}
		}
		if never.Status().Open || told.Status().Open {
			t.Error("a gate is open")
		}
		cancel()
		<-ended
	})
}
