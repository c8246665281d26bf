package app

import (
	"context"
	"sync"
	"testing"
)

// running runs the engine of a plan until stop is called, or the test ends.
func running(t *testing.T, p *Plan) (d *Desk, stop func()) {
	t.Helper()
	eng, err := p.Engine(func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- eng.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return NewDesk(p, eng), stop
}
