package crawl

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/gate"
)

// TestShortage: however many work, while there is no room one of them tries, a few times a minute; when there is room all go on.
func TestShortage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, s := gate.New("disk", gate.Options{}), new(shortage)
		ctx, stop := context.WithCancel(t.Context())
		var full atomic.Bool
		var asked, fitted atomic.Int64
		full.Store(true)
		done := make(chan struct{})
		for range 50 {
			go func() {
				defer func() { done <- struct{}{} }()
				for {
					tries, err := s.wait(ctx, g)
					if err != nil {
						return
					}
					if asked.Add(1); full.Load() {
						s.full(g, fault.New(fault.Full, "no room"))
					} else {
						fitted.Add(1)
						s.fits(g)
					}
					if tries {
						s.tried()
					}
					time.Sleep(time.Second)
				}
			}()
		}
		time.Sleep(time.Second)
		before := asked.Load()
		if before > 50 {
			t.Errorf("%d were asked for at first, by 50", before)
		}
		const minutes = 5
		time.Sleep(minutes * time.Minute)
		if n := asked.Load() - before; n < minutes || n > 4*minutes {
			t.Errorf("%d were asked for in %d minutes", n, minutes)
		}
		if g.Status().Open {
			t.Error("it does not say so")
		}
		full.Store(false)
		time.Sleep(mostPause + time.Minute)
		if !g.Status().Open || fitted.Load() < 50*30 {
			t.Errorf("open: %v, %d fitted", g.Status().Open, fitted.Load())
		}
		stop()
		for range 50 {
			<-done
		}
	})
}
