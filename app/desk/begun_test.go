package desk

import (
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"holdfast/app"
	"holdfast/app/datadir"
	"holdfast/kernel/engine"
)

// TestBegunCrawlsGoOn: a crawl that was begun in the console is a job of the next start, too; what can't be used stops nothing,
// and is told.
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
		if err := os.WriteFile(app.BegunFile(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const pages = "jobs: {pages: {crawl: {seeds: ['http://127.0.0.1/a'], contact: me@example.org}}}"
	c, err := app.Parse("test", []byte(pages), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.PlanAt(datadir.Place{Dir: dir}, app.NoListen, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	p.TakesBegun = true
	plain := len(p.Jobs)
	eng, err := p.Engine(func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	if names := eng.Names(); len(names) != plain+1 || !slices.Contains(names, "mine") {
		t.Errorf("jobs are %v", names)
	}
	told := strings.Join(New(p, eng).warnings(), "\n")
	for _, want := range []string{"jobs/rows/job.yaml can't be used", "jobs/bad/job.yaml can't be used", "jobs/other/job.yaml can't be used",
		"job pages runs as the configuration file has it", "HOLDFAST_TEST_NOSUCH is not set", "jobs/none holds a job that is not configured", "start again, or remove it"} {
		if !strings.Contains(told, want) {
			t.Errorf("%q is not told in:\n%s", want, told)
		}
	}
	s := engine.Status{Name: "mine"}
	if New(p, eng).noteBegun(&s); len(s.Notes) != 1 || !strings.Contains(s.Notes[0][1], "jobs/mine/job.yaml") {
		t.Errorf("status says %v", s.Notes)
	}
}
