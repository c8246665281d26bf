package crawl

import (
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/base/weburl"
	"holdfast/connector/web"
	"holdfast/job/crawl/archive"
	"holdfast/job/crawl/scope"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
	"holdfast/tests/testenv"
	pages "holdfast/tests/testenv/site"
)

// TestNasty crawls a site of all that goes wrong on the web, whose data says what a right crawler makes of it.
func TestNasty(t *testing.T) {
	t.Parallel()
	n := pages.NewNasty(t, testenv.Seed(t))
	dir := t.TempDir()
	f, err := web.New(web.Config{UserAgent: "holdfast (+mailto:test@example.org)", MaxBytes: pages.MaxBytes, Dir: t.TempDir(), HTTP2: true,
		HeaderTimeout: pages.HeaderTimeout, Silence: pages.Silence, Timeout: pages.Timeout}) // the seeds are addresses, and no other is allowed
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	retries, after, cookies := pages.Retries, time.Duration(pages.RetryAfter), true
	cfg := Config{Seeds: n.Seeds, Fetch: f, Rules: weburl.Rules{}, Workers: 60, Logs: filepath.Join(dir, "logs"), Once: true,
		Archive: archive.Options{Dir: filepath.Join(dir, "warc"), Name: "nasty"}, Settings: Settings{MinDelay: new(time.Duration),
			MaxDelay: new(time.Duration), DelayFactor: new(float64), Retries: &retries, RetryAfter: &after, Cookies: &cookies},
		Scope: append(scope.Default(), scope.Rule{Reject: &scope.Test{Type: []string{"video/*"}}})}
	st, err := store.Open(filepath.Join(dir, "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	log := slog.New(slog.DiscardHandler)
	room, err := engine.NewRoom(dir, engine.RoomLimits{Soft: 1, Hard: 1}, log)
	if err != nil {
		t.Fatal(err)
	}
	crawl := func() map[string]pages.Outcome {
		t.Helper()
		j, err := New(engine.Env{Name: "nasty", Dir: dir, Store: st, Log: log, Room: room, History: engine.HistoryOf(st, "nasty", log)}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		return outcomes(t, dir)
	}
	for _, wrong := range n.Judge(crawl(), true) {
		t.Error(wrong)
	}
	cfg.Again, cfg.Seeds = true, n.Again
	for _, wrong := range n.JudgeAgain(crawl()) {
		t.Error(wrong)
	}
}

// outcomes are what a crawl made of each URL, by its WARC files and its log.
func outcomes(t *testing.T, dir string) map[string]pages.Outcome {
	t.Helper()
	out := map[string]pages.Outcome{}
	files, err := filepath.Glob(filepath.Join(dir, "warc", "*.gz"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range testenv.Records(t, files...) {
		if wrong := r.Wrong(); len(wrong) > 0 {
			t.Errorf("%s of %.200s: %v", r.Type(), r.URI(), wrong)
		}
		if r.Type() != "response" && r.Type() != "revisit" {
			continue
		}
		o := out[r.URI()]
		o.Archived, o.Payload = true, r.Get("WARC-Payload-Digest")
		if r.Type() == "response" { // of a revisit the payload is left out on purpose
			o.Truncated = r.Get("WARC-Truncated")
		}
		out[r.URI()] = o
	}
	text, err := os.ReadFile(filepath.Join(dir, "logs", crawlLog))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 12 {
			t.Fatalf("this is no line of crawl.log: %q", line)
		}
		o := out[fields[3]]
		if o.Status, err = strconv.Atoi(fields[1]); err != nil {
			t.Fatal(err)
		}
		out[fields[3]] = o
	}
	return out
}
