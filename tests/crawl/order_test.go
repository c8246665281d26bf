package crawl

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// until waits until the crawl has n URLs done, and returns what status says then.
func (r *rig) until(n int64) {
	r.t.Helper()
	for deadline := time.Now().Add(soon); ; time.Sleep(10 * time.Millisecond) {
		if s, ok := r.status(); ok && s.Taken > n && len(s.Notes) > 0 {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%d URLs are not known in time:\n%s", n, r.p.Output())
		}
	}
}

// narrow checks that no line has more than 80 columns.
func (r *rig) narrow(text string) {
	r.t.Helper()
	for line := range strings.Lines(text) {
		if len([]rune(line)) > 81 {
			r.t.Errorf("too wide: %q", line)
		}
	}
}

// A crawl at work is told to add, delete, hold, drain and end; status, why and reports tell of it; what is left is asked for by the
// next run.
func TestOrders(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.args = []string{"--min-delay", "20ms", "--delay-factor", "0"}
	r.start()
	r.until(20)
	r.narrow(r.run(0, "status"))
	if text := r.run(0, "crawl", "add", job, r.sites[0].URL+"/nosuch-seed"); !strings.Contains(text, "1 of 1 seed is new") {
		t.Error(text)
	}
	host := strings.TrimPrefix(strings.TrimSuffix(r.sites[1].URL, "/"), "http://")
	if text := r.run(0, "crawl", "hold", job, host); !strings.Contains(text, "held") {
		t.Error(text)
	}
	text := r.run(0, "crawl", "why", r.sites[1].URL)
	if r.narrow(text); !strings.Contains(text, "a seed") || !strings.Contains(text, "held by a person") {
		t.Error(text)
	}
	r.run(0, "crawl", "unhold", job, host)
	if text := r.run(0, "crawl", "set", job, "retries=3"); !strings.Contains(text, "retries is 3") {
		t.Error(text)
	}
	r.run(0, "crawl", "terminate", job)
	if code := r.p.Wait(t, soon); code != 3 {
		t.Fatalf("it ended with %d, want 3", code)
	}
	if text := r.run(0, "crawl", "why", "--hops", "L", r.sites[0].URL); !strings.Contains(text, "retries=3 (set while it ran)") {
		t.Error(text)
	}
	left := r.counts()
	text = r.run(0, "crawl", "delete", job, "--match", "/")
	if n := regexp.MustCompile(`(\d+) URLs are deleted`).FindStringSubmatch(text); n == nil {
		t.Error(text)
	}
	if c := r.counts(); c.Queued+c.Waiting != 0 || c.Left < left.Queued {
		t.Errorf("before %+v, then %+v", left, c)
	}
	r.run(0, "crawl", "report", job, "--save", filepath.Join(r.dir, "reports"))
	b, err := os.ReadFile(filepath.Join(r.dir, "reports", "crawl-report.txt"))
	if err != nil || !strings.Contains(string(b), "crawl status: Finished\n") {
		t.Errorf("%v: %s", err, b)
	}
	r.start()
	r.ends()
}

// A crawl that is drained ends by itself, with nothing left; one that its budget ends says so.
func TestDrainAndBudget(t *testing.T) {
	t.Parallel()
	r := pairRig(t).plain()
	r.start("--max-urls", "30")
	if code := r.p.Wait(t, soon); code != 3 || !strings.Contains(r.p.Output(), "the budget is used up") {
		t.Fatalf("it ended with %d:\n%s", code, r.p.Output())
	}
	if c := r.counts(); c.Done+c.Failed > 30 || c.Queued == 0 {
		t.Fatalf("%+v", c)
	}
	r.run(0, "crawl", "budget", job, "--urls", "0")
	r.run(0, "crawl", "drain", job)
	known := r.counts().Known
	r.start()
	r.ends()
	if c := r.counts(); c.Queued+c.Waiting != 0 || c.Known != known {
		t.Errorf("%d were known, then %+v", known, c)
	}
}
