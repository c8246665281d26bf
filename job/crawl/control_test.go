package crawl

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/job/crawl/frontier"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// atRest opens the crawl's store for f, while it does not run.
func (r *rig) atRest(f func(env engine.Env)) {
	r.Helper()
	st, err := store.Open(filepath.Join(r.dir, "store"), store.Options{})
	if err != nil {
		r.Fatal(err)
	}
	defer st.Close()
	log := slog.New(slog.NewTextHandler(r.Output(), nil))
	f(engine.Env{Name: "site", Dir: r.dir, Store: st, Log: log, History: engine.HistoryOf(st, "site", log)})
}

// order gives a crawl that does not run an order.
func (r *rig) order(name string, o Order) (text string, err error) {
	r.Helper()
	b, _ := json.Marshal(o)
	r.atRest(func(env engine.Env) { text, err = AtRest(r.Context(), env, r.cfg, name, []string{string(b)}) })
	return text, err
}

// begun is a crawl of a tree that stopped when it had some URLs.
func begun(t *testing.T) *rig {
	r := newRig(t, tree(60))
	ctx, stop := context.WithCancel(t.Context())
	fetch := r.cfg.Fetch
	n := 0
	r.cfg.Workers = 1
	r.cfg.Fetch = hooked{fetch, func(string) error {
		if n++; n == 8 {
			stop()
		}
		return nil
	}}
	_ = r.run(ctx)
	r.cfg.Fetch = fetch
	if c := r.counts(); c.Queued < 3 {
		t.Fatalf("%+v: nothing is left to do", c)
	}
	return r
}

// What a person deletes is logged as Heritrix does, counted, and never asked for.
func TestDelete(t *testing.T) {
	r := begun(t)
	before := r.counts()
	if _, err := r.order("delete", Order{}); !fault.Is(err, fault.Invalid) {
		t.Errorf("an order that says nothing: %v", err)
	}
	if _, err := r.order("delete", Order{Match: "("}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a broken pattern: %v", err)
	}
	if _, err := r.order("delete", Order{Match: "."}); err != nil {
		t.Fatal(err)
	}
	c := r.counts()
	if c.Queued+c.Waiting != 0 || c.Left != before.Left+before.Queued+before.Waiting {
		t.Errorf("before %+v, then %+v", before, c)
	}
	b, err := os.ReadFile(filepath.Join(r.cfg.Logs, crawlLog))
	if n := strings.Count(string(b), " -6000 "); err != nil || uint64(n) != before.Queued+before.Waiting {
		t.Errorf("crawl.log has %d lines of URLs that were deleted, want %d: %v", n, before.Queued+before.Waiting, err)
	}
	r.logged()
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again := r.counts(); again.Done != c.Done {
		t.Errorf("%d were fetched, then %d", c.Done, again.Done)
	}
}

// A crawl that is drained empties its queues and queues nothing new; then it is over, and the next start is as any.
func TestDrain(t *testing.T) {
	r := begun(t)
	before := r.counts()
	if _, err := r.order("drain", Order{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.order("add", Order{Seeds: []string{"http://example.org/"}}); !fault.Is(err, fault.Conflict) {
		t.Errorf("a seed meanwhile: %v", err)
	}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := r.counts()
	if c.Queued+c.Waiting != 0 || c.Known != before.Known {
		t.Errorf("before %+v, then %+v", before, c)
	}
	if _, err := r.order("add", Order{Seeds: []string{r.site.URL + "/"}}); err != nil {
		t.Errorf("it is drained, and a seed is refused: %v", err)
	}
}

// Resuming ends a drain, and all is fetched.
func TestDrainEnds(t *testing.T) {
	r := begun(t)
	if _, err := r.order("drain", Order{}); err != nil {
		t.Fatal(err)
	}
	r.atRest(func(env engine.Env) {
		if err := EndDrain(env.Store); err != nil {
			t.Error(err)
		}
	})
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := r.counts(); c.Done < 60 {
		t.Errorf("%+v", c)
	}
}

// Settings that a person changes are in the store: restarts keep them, why shows them, and what is given later wins.
func TestSet(t *testing.T) {
	r := begun(t)
	why := func() (w Why) {
		r.atRest(func(env engine.Env) {
			err := env.Store.Latest(func(rd store.Reader) (err error) {
				w, err = ExplainURL(rd, r.cfg, Asked{URL: r.site.URL + "/"})
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
		return w
	}
	for key, bad := range map[string]string{"nosuch": "1", "min_delay": "soon", "retries": "-1", "max_links": "1\nretries: 2"} {
		if _, err := r.order("set", Order{Set: map[string]string{key: bad}}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s=%s: %v", key, bad, err)
		}
	}
	if _, err := r.order("set", Order{Set: map[string]string{"min_delay": "7s", "retries": "2", "robots": "ignore"}}); err != nil {
		t.Fatal(err)
	}
	w := why()
	if w.Settings["min_delay"] != "7s" || w.Settings["retries"] != "2" || w.Robots.From != "configured" || !w.Seed || w.State != "done" {
		t.Errorf("%+v", w)
	}
	if _, err := r.order("set", Order{Set: map[string]string{"retries": ""}}); err != nil {
		t.Fatal(err)
	}
	r.cfg.Given = []string{"min_delay"}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w := why(); w.Settings["min_delay"] != "0s" || w.Settings["retries"] != "30" || w.Settings["robots"] != "ignore" {
		t.Errorf("behind a start with other ones: %+v", w.Settings)
	}
	r.cfg.Fixed = true
	if _, err := r.order("set", Order{Set: map[string]string{"retries": "1"}}); !fault.Is(err, fault.Conflict) {
		t.Errorf("settings of a file: %v", err)
	}
}

// A host that is held is not asked; a budget ends the crawl, and a person's stays until the configuration has another.
func TestHoldAndBudget(t *testing.T) {
	r := begun(t)
	host := strings.TrimPrefix(r.site.URL, "http://")
	if _, err := r.order("hold", Order{Host: "nowhere.example"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("an unknown host: %v", err)
	}
	for _, x := range []struct {
		name string
		held uint64
	}{{"hold", 1}, {"unhold", 0}} {
		if _, err := r.order(x.name, Order{Host: host}); err != nil {
			t.Fatal(err)
		}
		if c := r.counts(); c.HeldHosts != x.held {
			t.Errorf("%s: %+v", x.name, c)
		}
	}
	most := r.counts().Done + 5
	if _, err := r.order("budget", Order{URLs: &most}); err != nil {
		t.Fatal(err)
	}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := r.counts()
	if c.Done+c.Failed > most || c.Queued == 0 || c.Open() != 0 {
		t.Errorf("with %d URLs allowed: %+v", most, c)
	}
	r.cfg.Budget = frontier.Budget{Crawl: frontier.Limits{URLs: 1000}}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := r.counts(); c.Queued != 0 {
		t.Errorf("with another budget: %+v", c)
	}
}

// A budget of one host alone counts until it is taken back.
func TestHostBudget(t *testing.T) {
	r := begun(t)
	host := strings.TrimPrefix(r.site.URL, "http://")
	most := r.counts().Done + 5
	if text, err := r.order("budget", Order{Host: host, URLs: &most}); err != nil || !strings.Contains(text, fmt.Sprintf("%d URLs", most)) {
		t.Fatalf("%s (%v)", text, err)
	}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := r.counts(); c.Done+c.Failed > most || c.Queued == 0 || c.ExhaustedHosts != 1 {
		t.Errorf("with %d URLs allowed: %+v", most, c)
	}
	if _, err := r.order("budget", Order{Host: host, AsOthers: true}); err != nil {
		t.Fatal(err)
	}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := r.counts(); c.Queued != 0 || c.ExhaustedHosts != 0 {
		t.Errorf("without a budget of its own: %+v", c)
	}
}

// Of URLs that differ in numbers alone, no more are queued than the budget of their pattern.
func TestPatterns(t *testing.T) {
	pages := map[string]string{}
	for n := range 40 {
		pages[fmt.Sprintf("/day/%d", n)] = fmt.Sprintf(`<a href="/day/%d">next</a>`, n+1)
	}
	pages["/"] = `<a href="/day/0">calendar</a>`
	r := newRig(t, pages)
	r.cfg.PerPattern = 10
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.archived(); got["/day/9"] != 1 || got["/day/10"] != 0 {
		t.Errorf("%v", got)
	}
}

// Every report is read, page by page, and its rows are what the counters say.
func TestReports(t *testing.T) {
	r := begun(t)
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := r.counts()
	r.atRest(func(env engine.Env) {
		read := func(name, after string, n int) (rep Report) {
			err := env.Store.Latest(func(rd store.Reader) (err error) {
				rep, err = ReadReport(rd, r.cfg, name, after, n)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return rep
		}
		if s := read("crawl", "", 1).Crawl; s.State != "FINISHED" || s.Done != c.Done || s.Elapsed < time.Millisecond || s.Seeds != 1 ||
			s.SeedsCrawled != 1 {
			t.Errorf("%+v", s)
		}
		seeds := read("seeds", "", 1)
		if len(seeds.Seeds) != 1 || seeds.Seeds[0].Status != 200 || seeds.Next == "" {
			t.Errorf("%+v", seeds)
		}
		if rest := read("seeds", seeds.Next, 1); len(rest.Seeds) != 0 || rest.Next != "" {
			t.Errorf("behind the last one: %+v", rest)
		}
		sum := uint64(0)
		for _, code := range read("responsecode", "", 0).Codes {
			sum += code.N
		}
		if sum != c.Done+c.Failed+c.Left {
			t.Errorf("the codes are %d in all: %+v", sum, c)
		}
		if h := read("hosts", "", 10).Hosts; len(h) != 1 || h[0].Done != c.Done {
			t.Errorf("%+v", h)
		}
		if s := read("source", "", 10).Sources; len(s) == 0 || s[0].Done != c.Done {
			t.Errorf("%+v", s)
		}
		if m := read("mimetype", "", 0).Types; len(m) == 0 {
			t.Errorf("%+v", m)
		}
		if f := read("frontier", "", 0).Frontier; f.Queued != 0 || f.Hosts != 1 {
			t.Errorf("%+v", f)
		}
	})
}
