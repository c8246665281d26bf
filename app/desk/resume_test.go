package desk

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/app"
	"holdfast/app/datadir"
	"holdfast/base/fault"
	"holdfast/connector/wsprnet/simulator"
	"holdfast/kernel/engine"
)

// A login that the feed refused is not tried again for an hour, but at once when somebody says so.
func TestResumeTriesARefusedLoginAgain(t *testing.T) {
	sim := simulator.New(simulator.Options{Rate: -1, Backlog: 20, Keep: -1, Username: "AA1A",
		Password: "geheim123"})
	srv := httptest.NewServer(sim)
	t.Cleanup(srv.Close)
	sim.SetFaults(func(f *simulator.Faults) { f.Refuse = true })
	t.Setenv("USER_NAME", "AA1A")
	t.Setenv("SECRET", "geheim123")
	text := strings.Replace(configText(srv.URL+simulator.SpotsPath), "max_bytes",
		`username: "${USER_NAME}", password: "${SECRET}", max_bytes`, 1)
	c, err := app.Parse("t.yaml", []byte(text), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	p := &app.Plan{Place: datadir.Place{Dir: t.TempDir(), Explicit: true}, Jobs: c.Jobs,
		Log: slog.New(slog.DiscardHandler)}
	d, stop := running(t, p)
	until(t, "the login is refused", func() bool {
		all, err := d.Gates(t.Context(), "spots") // closed by that: else there is nothing to try again
		return err == nil && len(all) > 0 && all[0].Kind == "credentials"
	})
	sim.SetFaults(func(f *simulator.Faults) { f.Refuse = false })
	until(t, "the job can be told", func() bool { return d.Resume("spots") == nil })
	until(t, "the spots are there", func() bool {
		a, err := d.Audit(t.Context(), "spots", false, nil)
		return err == nil && a.Jobs[0].Accepted == 20
	})
	stop()
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("10 s, and not yet: %s", what)
		}
	}
}

// A crawl that can't start, and waits for its next try, can be resumed all the same; questions about it are answered at once,
// with where to look.
func TestResumeOfACrawlThatWaitsForItsNextTry(t *testing.T) {
	place := datadir.Place{Dir: t.TempDir(), Explicit: true}
	file := filepath.Join(place.Dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := parsed(t, fmt.Sprintf("jobs: {docs: {crawl: {seeds: ['http://127.0.0.1/'], contact: me@example.org, "+
		"warc: {directory: %q}}}}", filepath.Join(file, "warc")))
	d, stop := running(t, &app.Plan{Place: place, Jobs: c.Jobs, Log: slog.New(slog.DiscardHandler)})
	defer stop()
	until(t, "the job has failed often", func() bool {
		rep, err := d.Status(t.Context(), "docs")
		return err == nil && rep.Jobs[0].State == engine.BackOff && rep.Jobs[0].Restarts >= 2
	})
	began := time.Now()
	_, err := d.CrawlCounts(t.Context(), "docs")
	if fault.Is(err, fault.Transient) && !strings.Contains(fault.HintOf(err), "holdfast status docs") {
		t.Errorf("got %v, %q", err, fault.HintOf(err))
	}
	if took := time.Since(began); took > openFor*4/5 {
		t.Errorf("that it can't be asked was told after %v", took)
	}
	if err := d.Resume("docs"); err != nil {
		t.Errorf("resume: %v", err)
	}
}

// What a crawl knows can be asked for when its work is done, beside an engine that runs other jobs.
func TestAJobWhoseWorkIsDoneCanBeAsked(t *testing.T) {
	place := datadir.Place{Dir: t.TempDir(), Explicit: true}
	c := parsed(t, "jobs: {docs: {crawl: {seeds: ['http://127.0.0.1:1/'], contact: me@example.org}}, "+
		"other: {crawl: {seeds: ['http://127.0.0.1:1/'], contact: me@example.org}}}")
	d, stop := running(t, &app.Plan{Place: place, Jobs: c.Jobs, Log: slog.New(slog.DiscardHandler)})
	defer stop()
	until(t, "the crawl obeys", func() bool {
		_, err := d.CrawlOrder(t.Context(), "docs", "terminate", CrawlOrder{}, nil)
		return err == nil
	})
	until(t, "the crawl has ended", func() bool { return d.eng.State("docs") == engine.Stopped })
	began := time.Now()
	n, err := d.CrawlCounts(t.Context(), "docs")
	if err != nil || n.Known == 0 {
		t.Errorf("got %+v, %v; want its seed", n, err)
	}
	if took := time.Since(began); took > openFor*4/5 {
		t.Errorf("that took %v", took)
	}
}
