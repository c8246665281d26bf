package app

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/app/datadir"
	"holdfast/base/fault"
	"holdfast/job/crawl"
	"holdfast/kernel/checkpoint"
	"holdfast/kernel/engine"
)

// TestCrawlWithoutStore: what a crawl leaves beside its store is no crawl: it begins as a new one, unless WARC files are there.
func TestCrawlWithoutStore(t *testing.T) {
	dir := t.TempDir()
	job := engine.JobDir(dir, "j")
	if err := os.MkdirAll(job, 0o755); err != nil {
		t.Fatal(err)
	}
	file := func(path string) {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file(filepath.Join(job, crawl.FlightsFile))
	flags := CrawlFlags{Job: "j", DataDir: dir, Contact: "me@example.org"}
	plan := func(seeds ...string) error {
		flags.Seeds = seeds
		_, err := Crawl(flags, func(string) (string, bool) { return "", false }, slog.New(slog.DiscardHandler))
		return err
	}
	for text, want := range map[string]string{"http://a.example/\nnot a url\n": ":2: seed not a url", "\x7fELF\x00": "is no text"} {
		flags.SeedsFile = filepath.Join(dir, "seeds")
		if err := os.WriteFile(flags.SeedsFile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, ok := errors.AsType[*fault.Usage](plan()); !ok || !strings.Contains(plan().Error(), want) {
			t.Errorf("seeds %q: %v", text, plan())
		}
	}
	flags.SeedsFile = ""
	if err := plan(); err == nil || !strings.Contains(err.Error(), "is no crawl j to go on with") {
		t.Errorf("without seeds: %v", err)
	}
	if err := plan("http://example.org/"); err != nil {
		t.Errorf("with seeds: %v", err)
	}
	warcs := filepath.Join(dir, "warc", "j")
	if err := os.MkdirAll(warcs, 0o755); err != nil {
		t.Fatal(err)
	}
	file(filepath.Join(warcs, "j-20260101000000000-00001-abcdefgh.warc.gz"))
	if err := plan("http://example.org/"); !fault.Is(err, fault.Conflict) {
		t.Errorf("with WARC files: %v", err)
	}
	flags.Beside = true
	if err := plan("http://example.org/"); err != nil {
		t.Errorf("beside them: %v", err)
	}
	flags.Beside = false
	file(filepath.Join(job, "FORMAT"))
	if err := plan(); err == nil || !strings.Contains(err.Error(), "is not known any more") {
		t.Errorf("with a store: %v", err)
	}
}

// TestCrawlFlagMistakes: what is wrong with a flag is said by its name, whatever the job is called.
func TestCrawlFlagMistakes(t *testing.T) {
	for _, job := range []string{"crawl", "j"} {
		flags := CrawlFlags{Job: job, DataDir: t.TempDir(), Contact: "nobody", MaxBytes: "x", Seeds: []string{"ftp://x/"}}
		_, err := Crawl(flags, func(string) (string, bool) { return "", false }, slog.New(slog.DiscardHandler))
		all, ok := errors.AsType[Mistakes](err)
		if !ok {
			t.Fatal(err)
		}
		for _, m := range all {
			if m.Path != "--contact" && m.Path != "--max-bytes" && m.Path != "SEED" {
				t.Errorf("job %s: %q: %s", job, m.Path, m.Text)
			}
		}
	}
}

// TestCrawlDifferences: flags that make a crawl other than it was at its checkpoint are told, and nothing else.
func TestCrawlDifferences(t *testing.T) {
	var said strings.Builder
	log := slog.New(slog.NewTextHandler(&said, nil))
	var from checkpoint.Checkpoint
	from.Name, from.Config = "here", "crawl:\n  seeds: [http://example.org/]\n  contact: me@example.org\n  settings: {min_delay: 3s, max_delay: 9s}\n"
	soon := time.Second
	f := CrawlFlags{Job: "j", From: "here", Contact: "me@example.org", MinDelay: &soon, Workers: 3, Seeds: []string{"http://example.org/"}}
	work, err := f.work(datadir.Place{Dir: t.TempDir()}, from)
	if err == nil {
		err = tellDifferences(work, from, log)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"settings.min_delay is 1s; at the checkpoint it was 3s", "workers is 3; the checkpoint does not have it"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if n := strings.Count(said.String(), "\n"); n != 2 {
		t.Errorf("it says\n%s", said.String())
	}
}
