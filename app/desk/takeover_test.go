package desk

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/app"
	"holdfast/app/datadir"
	"holdfast/connector/wsprnet/simulator"
)

// cycle runs one cycle of a job into SQLite in a place and returns its audit.
func cycle(t *testing.T, place datadir.Place, feed string) Audit {
	t.Helper()
	return cycleOf(t, place, configText(feed))
}

func configText(feed string) string {
	return fmt.Sprintf("jobs: {spots: {collect: {source: {wsprnet: {url: %q, "+
		"max_bytes_per_second: -1}}, sinks: {local: {sqlite: {path: spots.sqlite}, "+
		"batch: {every: 1ms}}}}}}", feed)
}

func cycleOf(t *testing.T, place datadir.Place, text string) Audit {
	t.Helper()
	c, err := app.Parse("t.yaml", []byte(text), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	c.Jobs[0].EndWhenDone()
	p := &app.Plan{Place: place, Jobs: c.Jobs, Log: slog.New(slog.DiscardHandler), Once: true}
	lock, err := p.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.TakeOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, n := range p.Notices {
		t.Log(n)
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
	d, err := Open(place, c)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	a, err := d.Audit(context.Background(), "", true, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func feedOf(t *testing.T, spots uint64) (*simulator.Simulator, string) {
	t.Helper()
	sim := simulator.New(simulator.Options{Rate: -1, Backlog: spots, Keep: -1})
	srv := httptest.NewServer(sim)
	t.Cleanup(srv.Close)
	return sim, srv.URL + simulator.SpotsPath
}

// delivered checks that the only sink has exactly so many rows, by the books and by looking.
func delivered(t *testing.T, a Audit, want int64) {
	t.Helper()
	s := a.Jobs[0].Sinks[0]
	if !a.Balanced || s.Delivered != want || a.Deep[0].Rows != uint64(want) {
		t.Errorf("got %d delivered, %+v (balanced: %v), want %d", s.Delivered, a.Deep[0], a.Balanced,
			want)
	}
}

// noDir returns a path at which nothing can be made, not even by root.
func noDir(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(file, "holdfast")
}

// When the default directory becomes writable, a job that exists only in the fallback is moved
// there.
func TestTakeOverMovesANewJob(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	sim, url := feedOf(t, 50)
	back, err := datadir.At(noDir(t), "")
	if err != nil {
		t.Fatal(err)
	}
	delivered(t, cycle(t, back, url), 50)
	place, err := datadir.At(filepath.Join(t.TempDir(), "holdfast"), "")
	if err != nil {
		t.Fatal(err)
	}
	sim.Publish(7)
	delivered(t, cycle(t, place, url), 57)
	if (datadir.Place{Fallback: back.Dir}).LeftBehind() {
		t.Error("the fallback still holds jobs")
	}
}

// A job that both have gets the rows of the fallback; what both have is there once.
func TestTakeOverJoinsAJob(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	sim, url := feedOf(t, 50)
	dir := filepath.Join(t.TempDir(), "holdfast")
	place, err := datadir.At(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	delivered(t, cycle(t, place, url), 50)

	back, err := datadir.At(noDir(t), "")
	if err != nil {
		t.Fatal(err)
	}
	sim.Publish(30)
	delivered(t, cycle(t, back, url), 80)

	// The feed has lost everything meanwhile: what the fallback has is all there is.
	_, empty := feedOf(t, 0)
	a := cycle(t, place, empty)
	delivered(t, a, 80)
	if in := a.Jobs[0]; in.Accepted != 80 || in.Duplicate != 50 {
		t.Errorf("got %d accepted and %d duplicate, want 80 and 50", in.Accepted, in.Duplicate)
	}
	kept, _ := filepath.Glob(filepath.Join(dir, "quarantine", "fallback-spots-*"))
	if len(kept) != 1 {
		t.Errorf("got %v, want the old store in quarantine", kept)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "spots.sqlite.fallback-*"))
	if len(files) == 0 {
		t.Error("the database of the fallback was not kept")
	}
	delivered(t, cycle(t, place, empty), 80)
}

// A fallback that is in use is left alone, and told.
func TestTakeOverLeavesWhatIsInUse(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	_, url := feedOf(t, 5)
	back, err := datadir.At(noDir(t), "")
	if err != nil {
		t.Fatal(err)
	}
	cycle(t, back, url)
	d, err := Open(back, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	place, err := datadir.At(filepath.Join(t.TempDir(), "holdfast"), "")
	if err != nil {
		t.Fatal(err)
	}
	p := &app.Plan{Place: place, Log: slog.New(slog.DiscardHandler)}
	if err := p.TakeOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(p.Notices) != 1 || !strings.Contains(p.Notices[0], "in use") || !p.Place.LeftBehind() {
		t.Errorf("got notices %v, want one that says it is in use", p.Notices)
	}
}
