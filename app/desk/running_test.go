package desk

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"testing"

	"holdfast/app"
	"holdfast/app/datadir"
)

// running runs the engine of a plan until stop is called, or the test ends.
func running(t *testing.T, p *app.Plan) (d *Desk, stop func()) {
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
	return New(p, eng), stop
}

// runOnce runs jobs that end by themselves.
func runOnce(t *testing.T, place datadir.Place, c *app.Config) {
	t.Helper()
	p := &app.Plan{Place: place, Jobs: c.Jobs, Log: slog.New(slog.DiscardHandler), Once: true}
	lock, err := p.Lock()
	if err != nil {
		t.Fatal(err)
	}
	eng, err := p.Engine(func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	if err := eng.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
}

// parsed is a configuration as it is written.
func parsed(t *testing.T, text string) *app.Config {
	t.Helper()
	c, err := app.Parse("t.yaml", []byte(text), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
