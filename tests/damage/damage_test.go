// Package damage_test damages the files of a job and holds what the job then does against what it was
// given: never a silent loss, never a job that can't start, never a file deleted without a trace.
package damage_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/sqlite"
	"holdfast/connector/wsprnet"
	"holdfast/connector/wsprnet/simulator"
	"holdfast/job/collect"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
	"holdfast/tests/testenv"
)

// job is one collect job over a simulator, in a directory that can be copied and damaged.
type job struct {
	t     *testing.T
	sim   *simulator.Simulator
	url   string
	dir   string
	write func(connector.Delivery) error // runs before each write of the sink
	log   bytes.Buffer
}

type hooked struct {
	connector.Sink
	j *job
}

func (h hooked) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	if h.j.write != nil {
		if err := h.j.write(d); err != nil {
			return connector.Verdict{}, err
		}
	}
	return h.Sink.Write(ctx, d)
}

func (j *job) spec() engine.Spec {
	return engine.Spec{Name: "spots", Kind: "collect",
		New: func(ctx context.Context, env engine.Env) (engine.Job, error) {
			src, err := wsprnet.Open(wsprnet.Config{URL: j.url + "/drupal/wsprnet/spots/json",
				MaxBytesPerSecond: -1}, wsprnet.Options{})
			if err != nil {
				return nil, err
			}
			sink, err := sqlite.New(sqlite.Config{Path: filepath.Join(j.dir, "spots.sqlite")})
			if err != nil {
				return nil, err
			}
			return collect.New(ctx, env, src, []collect.Sink{{Name: "main", Rows: 700, Sink: hooked{sink, j}}},
				collect.Config{Source: "feed", Once: true, Intake: collect.IntakeOptions{BlockRows: 100}, Noun: "spots",
					Retain: spool.Retain{Age: time.Hour}})
		}}
}

// run runs one cycle of the job and fails the test if it does not come to its end.
func (j *job) run() {
	j.t.Helper()
	ctx, cancel := context.WithTimeout(j.t.Context(), 2*time.Minute)
	defer cancel()
	e, err := engine.New(engine.Options{Dir: j.dir, Log: slog.New(slog.NewTextHandler(&j.log, nil)),
		Room:  engine.RoomLimits{Soft: 1, Hard: 1, Ballast: 1},
		Fatal: func(err error) { panic(err) }}, []engine.Spec{j.spec()})
	if err != nil {
		j.t.Fatal(err)
	}
	if err := e.Run(ctx); err != nil {
		j.t.Fatalf("%v\n%s", err, j.log.String())
	}
	if ctx.Err() != nil {
		j.t.Fatalf("the job did not come to its end:\n%s", j.log.String())
	}
}

// kinds are the kinds of files in a job, by their path below the job's directory.
var kinds = map[string]*regexp.Regexp{
	"MANIFEST":  regexp.MustCompile(`^db/MANIFEST-`),
	"marker":    regexp.MustCompile(`^db/marker\.`),
	"OPTIONS":   regexp.MustCompile(`^db/OPTIONS-`),
	"WAL":       regexp.MustCompile(`^db/\d+\.log$`),
	"table":     regexp.MustCompile(`^db/\d+\.sst$`),
	"HIGHWATER": regexp.MustCompile(`^HIGHWATER$`),
	"FORMAT":    regexp.MustCompile(`^FORMAT$`),
	"LOCK":      regexp.MustCompile(`^(db/)?LOCK$`),
}

// template runs a job a few times, lets it deliver a part, and returns a copy of its directory as a
// kill -9 in the middle of a delivery leaves it.
func template(t *testing.T, sim *simulator.Simulator, url string) string {
	t.Helper()
	j := &job{t: t, sim: sim, url: url, dir: t.TempDir()}
	crashed := filepath.Join(t.TempDir(), "crashed")
	writes := 0
	for range 3 { // each start writes tables and a MANIFEST
		j.write = func(connector.Delivery) error {
			if writes++; writes > 2 {
				return fault.New(fault.Transient, "away")
			}
			return nil
		}
		j.run()
		sim.Publish(1500)
	}
	j.write = func(connector.Delivery) error {
		if err := os.CopyFS(crashed, os.DirFS(j.dir)); err != nil {
			t.Error(err)
		}
		return fault.New(fault.Transient, "away")
	}
	j.run()
	return crashed
}

// trials is the full count for each kind of file.
const trials = 200

func TestDamageIsNeverSilent(t *testing.T) {
	sim := simulator.New(simulator.Options{Seed: 3, Rate: -1, Backlog: 3000, Holes: 0.01, PageLimit: 1000,
		Keep: -1})
	srv := httptest.NewServer(sim)
	defer srv.Close()
	crashed := template(t, sim, srv.URL)
	seed := testenv.Seed(t)
	for kind, match := range kinds {
		t.Run(kind, func(t *testing.T) {
			files := filesOf(t, crashed, match)
			n := testenv.Count(t, trials)
			if !testenv.Torture() {
				n = min(n, 3) // under the race detector a trial takes seconds
			}
			for trial := range n {
				rng := rand.New(rand.NewPCG(uint64(seed), uint64(trial)))
				damageOnce(t, sim, srv.URL, crashed, files, rng)
				if t.Failed() {
					t.Fatalf("trial %d of kind %s", trial, kind)
				}
			}
		})
	}
}

func filesOf(t *testing.T, dir string, match *regexp.Regexp) (files []string) {
	t.Helper()
	root := engine.JobDir(dir, "spots")
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, path)
		if err == nil && !e.IsDir() && match.MatchString(filepath.ToSlash(rel)) {
			files = append(files, rel)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("no file of that kind in %s (%v)", root, err)
	}
	return files
}

// damageOnce damages one file, runs the job, and looks at what became of every row.
func damageOnce(t *testing.T, sim *simulator.Simulator, url, crashed string, files []string, rng *rand.Rand) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), fmt.Sprint(rng.Uint32()))
	if err := os.CopyFS(dir, os.DirFS(crashed)); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	name := files[rng.IntN(len(files))]
	what := harm(t, filepath.Join(engine.JobDir(dir, "spots"), name), rng)
	j := &job{t: t, sim: sim, url: url, dir: dir}
	before := listing(t, dir)
	j.run()
	j.run() // what is missing is asked for a second time, and what was lost stays told
	if err := j.check(); err != nil {
		t.Errorf("%s of %s: %v\n%s", what, name, err, j.log.String())
	}
	salvaged := strings.Contains(j.log.String(), "was salvaged")
	// Damage that only reading shows is met later: until then compaction has gone on, as it should.
	met := strings.Contains(j.log.String(), "met while the job ran")
	for rel := range before {
		if met && filepath.Base(rel) != filepath.Base(name) {
			continue
		}
		if salvaged && strings.HasSuffix(rel, ".sst") && !stillThere(dir, filepath.Base(rel)) {
			t.Errorf("%s of %s: %s is gone after the salvage", what, name, rel)
		}
	}
}

// harm flips one bit of a file, or cuts it.
func harm(t *testing.T, path string, rng *rand.Rand) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) == 0 {
		b = []byte{0} // an empty marker can only grow
	}
	at := rng.IntN(len(b))
	what := fmt.Sprintf("cut at byte %d of %d", at, len(b))
	if rng.IntN(3) > 0 {
		b[at] ^= 1 << rng.IntN(8)
		what = fmt.Sprintf("flipped bit in byte %d of %d", at, len(b))
	} else {
		b = b[:at]
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return what
}

func listing(t *testing.T, dir string) map[string]bool {
	out := map[string]bool{}
	filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			out[rel] = true
		}
		return nil
	})
	return out
}

func stillThere(dir, base string) bool {
	found := false
	filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		found = found || err == nil && strings.HasPrefix(filepath.Base(path), base)
		return nil
	})
	return found
}

// check holds the table against the feed: every row is there once, or a gap tells of it.
func (j *job) check() error {
	got, err := tableIDs(filepath.Join(j.dir, "spots.sqlite"))
	if err != nil {
		return err
	}
	st, err := store.Open(engine.JobDir(j.dir, "spots"), store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer st.Close()
	var b engine.Books
	var gaps []balance.Gap
	err = st.View(j.t.Context(), func(r store.Reader) (err error) {
		if b, err = engine.ReadBooks(r, "spots"); err != nil {
			return err
		}
		sources, err := store.NamesOf(r, store.SourceName)
		if err != nil {
			return err
		}
		gaps, err = balance.ListGaps(r, sources["feed"], false, 1e6)
		return err
	})
	if err != nil {
		return err
	}
	if !b.Balanced() {
		return fmt.Errorf("the books do not balance: %v", b.Broken)
	}
	told := func(id uint64) bool {
		for _, g := range gaps {
			if g.Cause == balance.Damage && g.From <= id && id <= g.To {
				return true
			}
		}
		return false
	}
	missing := 0
	for s := range j.sim.Expected(j.sim.Oldest(), j.sim.Newest()) {
		if got[s.ID] == 0 && !told(s.ID) {
			missing++
		}
	}
	for id, n := range got {
		if n > 1 {
			return fmt.Errorf("row %d is there %d times", id, n)
		}
	}
	if missing > 0 {
		return fmt.Errorf("%d rows are lost in silence (%d are there)", missing, len(got))
	}
	if b.Sinks[0].Pending > 0 {
		return errors.New("rows are still pending")
	}
	return nil
}

func tableIDs(path string) (map[uint64]int, error) {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.Query("select id from spots")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[uint64]int{}
	for rows.Next() {
		var id uint64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		out[id]++
	}
	return out, rows.Err()
}
