package tour

import (
	"database/sql"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast/app"
	"holdfast/base/fault"
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
	tour, err := Open(feed, trouble, site, dir, app.NoListen, slog.New(slog.DiscardHandler))
	check(err)
	for _, name := range []string{spotsDB, weatherDB} {
		db, err := sql.Open("sqlite", filepath.Join(dir, name))
		check(err)
		_, err = db.Exec("create table t (x)")
		check(errors.Join(err, db.Close()))
	}
	for name, met := range map[string]func() bool{
		feedAway:    func() bool { return feed.sim.Faults().Outage != "" },
		brokerAway:  func() bool { away, _, _ := trouble.state(); return away },
		brokerLossy: func() bool { _, lossy, _ := trouble.state(); return lossy },
		diskFull:    tour.DiskIsFull,
		archiveAway: func() bool {
			_, err := os.Stat(tour.Archive())
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
			db, err := sql.Open("sqlite", filepath.Join(dir, weatherDB))
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
	if on != len(outages) {
		t.Errorf("%d switches", on)
	}
	check(tour.Close())
	db, err := sql.Open("sqlite", filepath.Join(dir, spotsDB))
	check(err)
	_, err = db.Exec("insert into t values (1)")
	check(errors.Join(err, db.Close()))
	if _, err := os.Stat(tour.Archive()); err != nil {
		t.Error(err)
	}
}

// What a tour that was killed took away the next one brings back, with the token that a page has.
func TestATourThatWasKilled(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, archiveDir+awaySuffix), 0o755),
		os.WriteFile(filepath.Join(dir, archiveDir+awaySuffix+"/frame"), nil, 0o644)); err != nil {
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
		tour, err := Open(feed, &Trouble{}, site, dir, app.NoListen, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, archiveDir+"/frame")); err != nil {
			t.Error(err)
		}
		tokens = append(tokens, tour.Plan.Token.Reveal())
		if err := errors.Join(feed.Close(), site.Close()); err != nil {
			t.Error(err)
		}
	}
	if tokens[0] != tokens[1] || len(tokens[0]) < 20 {
		t.Errorf("tokens %q", tokens)
	}
}
