package app

import (
	"database/sql"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/engine"
)

// Each outage is one for whoever meets it, and is over when it is switched off, or the tour ends.
func TestTourOutages(t *testing.T) {
	dir := t.TempDir()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	feed, err := OpenFeed("127.0.0.1:0", "")
	check(err)
	defer feed.Close()
	trouble, err := OpenTrouble("127.0.0.1:0")
	check(err)
	defer trouble.Close()
	site, err := OpenSite(dir, 0)
	check(err)
	defer site.Close()
	ended := make(chan error, 1)
	go func() { ended <- site.Run(t.Context()) }()
	p, err := Demo(feed, trouble, site, dir, NoListen, slog.New(slog.DiscardHandler))
	check(err)
	for _, name := range []string{demoFile, weatherFile} {
		db, err := sql.Open("sqlite", below(dir, name))
		check(err)
		_, err = db.Exec("create table t (x)")
		check(errors.Join(err, db.Close()))
	}
	tour := DemoTour(p)
	for name, met := range map[string]func() bool{
		feedAway:    func() bool { return feed.sim.Faults().Outage != "" },
		brokerAway:  func() bool { away, _, _ := trouble.state(); return away },
		brokerLossy: func() bool { _, lossy, _ := trouble.state(); return lossy },
		diskFull:    tour.diskIsFull,
		archiveAway: func() bool {
			_, err := os.Stat(DemoArchive(p))
			return errors.Is(err, fs.ErrNotExist)
		},
		siteAway: func() bool {
			resp, err := http.Get(site.URL())
			if err == nil {
				resp.Body.Close()
			}
			return err != nil
		},
		databaseAway: func() bool {
			db, err := sql.Open("sqlite", below(dir, weatherFile))
			check(err)
			defer db.Close()
			_, err = db.Exec("insert into t values (1)")
			return err != nil
		},
	} {
		for _, on := range []bool{false, true, true, false} {
			check(tour.Switch(t.Context(), name, on))
			if met() != on {
				t.Errorf("%s: switched %v, and it is %v", name, on, !on)
			}
		}
		check(tour.Switch(t.Context(), name, true))
	}
	if err := tour.Switch(t.Context(), crash, true); !fault.Is(err, fault.Conflict) {
		t.Errorf("a process that can't be started again crashes: %v", err)
	}
	crashed := make(chan bool, 1)
	tour.OnCrash(func() error { crashed <- true; return nil })
	check(tour.Switch(t.Context(), crash, true))
	select {
	case <-crashed:
	case <-time.After(10 * time.Second):
		t.Error("there was no crash")
	}
	on := 0
	for _, s := range tour.Switches() {
		if s.On != (s.Name != crash) {
			t.Errorf("%s is on: %v", s.Name, s.On)
		}
		on++
	}
	if on != len(tourSwitches) {
		t.Errorf("%d switches", on)
	}
	check(tour.Close())
	db, err := sql.Open("sqlite", below(dir, demoFile))
	check(err)
	_, err = db.Exec("insert into t values (1)")
	check(errors.Join(err, db.Close()))
	if _, err := os.Stat(DemoArchive(p)); err != nil {
		t.Error(err)
	}
}

// What a tour that was killed took away the next one brings back, with the token that a page has.
func TestATourThatWasKilled(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(below(dir, demoArchiveDir+awaySuffix), 0o755),
		os.WriteFile(below(dir, demoArchiveDir+awaySuffix+"/frame"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	var tokens []string
	for range 2 {
		feed, err := OpenFeed("127.0.0.1:0", "")
		if err != nil {
			t.Fatal(err)
		}
		site, err := OpenSite(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Demo(feed, &Trouble{}, site, dir, NoListen, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(below(dir, demoArchiveDir+"/frame")); err != nil {
			t.Error(err)
		}
		tokens = append(tokens, p.Token.Reveal())
		if err := errors.Join(feed.Close(), site.Close()); err != nil {
			t.Error(err)
		}
	}
	if tokens[0] != tokens[1] || len(tokens[0]) < 20 {
		t.Errorf("tokens %q", tokens)
	}
}

// TestBegunCrawlsGoOn: a crawl that was begun in the console is a job of the next tour, too; what can't be used stops nothing, and is told.
func TestBegunCrawlsGoOn(t *testing.T) {
	dir := t.TempDir()
	const good = "{seeds: ['http://127.0.0.1/'], contact: me@example.org}"
	for name, text := range map[string]string{"mine": "mine: {crawl: " + good + "}\n", "rows": "rows: {collect: {}}\n", "bad": "{", "pages": "pages: {crawl: " + good + "}",
		"other": "mine: {crawl: " + good + "}", "lacks": "lacks: {crawl: {proxy: '${HOLDFAST_TEST_NOSUCH}', contact: me@example.org}}", "none": ""} {
		if err := os.MkdirAll(engine.JobDir(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if name == "none" {
			continue
		}
		if err := keepBegun(dir, name, text); err != nil {
			t.Fatal(err)
		}
	}
	feed, err := OpenFeed("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	site, err := OpenSite(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer site.Close()
	p, err := Demo(feed, &Trouble{}, site, dir, NoListen, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	plain := len(p.Jobs)
	eng, err := p.Engine(func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	if names := eng.Names(); len(names) != plain+1 || !slices.Contains(names, "mine") {
		t.Errorf("jobs are %v", names)
	}
	told := strings.Join(NewDesk(p, eng).warnings(time.Time{}), "\n")
	for _, want := range []string{"jobs/rows/job.yaml can't be used", "jobs/bad/job.yaml can't be used", "jobs/other/job.yaml can't be used",
		"job pages runs as the configuration file has it", "HOLDFAST_TEST_NOSUCH is not set", "jobs/none holds a job that is not configured", "start again, or remove it"} {
		if !strings.Contains(told, want) {
			t.Errorf("%q is not told in:\n%s", want, told)
		}
	}
	s := engine.Status{Name: "mine"}
	if NewDesk(p, eng).noteBegun(&s); len(s.Notes) != 1 || !strings.Contains(s.Notes[0][1], "jobs/mine/job.yaml") {
		t.Errorf("status says %v", s.Notes)
	}
}
