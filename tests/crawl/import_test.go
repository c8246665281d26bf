package crawl

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"holdfast/job/crawl/frontier"
	"holdfast/tests/testenv"
)

// killed runs a command that is killed so often, then to its end, and returns what it said. Each life is at most that long.
func (r *rig) killed(rnd *rand.Rand, kills int, life time.Duration, args ...string) string {
	r.t.Helper()
	hit := 0
	for range kills {
		p := testenv.Start(r.t, r.command(args...))
		end := time.NewTimer(time.Duration(rnd.Float64() * float64(life)))
		select {
		case <-end.C:
			p.Kill()
			hit++
		case <-p.Ended():
			if code := p.Wait(r.t, soon); code != 0 {
				r.t.Fatalf("%v ended with %d:\n%s", args, code, p.Output())
			}
		}
		end.Stop()
	}
	r.t.Logf("%v was killed %d times before its end", args[:2], hit)
	return r.run(0, args...)
}

// journalOf writes a recover journal of URLs of a site, of which every other one was fetched.
func (r *rig) journalOf(n int) string {
	r.t.Helper()
	name := filepath.Join(r.t.TempDir(), "frontier.recover.gz")
	f, err := os.Create(name)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	z := gzip.NewWriter(f)
	for i := range n {
		url := fmt.Sprintf("%simported/%d", r.sites[0].URL, i)
		fmt.Fprintf(z, "F+ %s L %s\n", url, r.sites[0].URL)
		if i%2 == 0 {
			fmt.Fprintf(z, "Fs %s L %s\n", url, r.sites[0].URL)
		}
	}
	if err := z.Close(); err != nil {
		r.t.Fatal(err)
	}
	return name
}

// TestKilledOrders kills the import of a recover journal, and the deletion of many URLs: what is done in the end is what was asked for,
// once, and the crawl goes on as if nothing had been.
func TestKilledOrders(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(testenv.Seed(t), 8))
	kills := testenv.Count(t, 240)
	r := smallRig(t).plain()
	r.start("--max-urls", "5", "--recover-log")
	if code := r.p.Wait(t, soon); code != 3 {
		t.Fatalf("it ended with %d", code)
	}
	r.run(0, "crawl", "budget", job, "--urls", "0")
	was := r.counts()
	const n = 60_000
	file := r.journalOf(n)
	r.killed(rnd, kills, 400*time.Millisecond, "crawl", "recover", job, file)
	if text := r.run(0, "crawl", "recover", job, file); !strings.Contains(text, "imported before") {
		t.Errorf("the same journal again: %s", text)
	}
	now := r.counts()
	if now.Known != was.Known+n || now.Done != was.Done+n/2 || now.Queued+now.Waiting != was.Queued+was.Waiting+n/2 {
		t.Errorf("the counters were %s, and are %s", jsonOf(was), jsonOf(now))
	}
	r.killed(rnd, kills, 200*time.Millisecond, "crawl", "delete", job, "--match", "/imported/")
	after := r.counts()
	if after.Known != now.Known || after.Left != n/2 || after.Queued+after.Waiting != was.Queued+was.Waiting {
		t.Errorf("the counters were %s, and are %s", jsonOf(now), jsonOf(after))
	}
	deleted := map[string]bool{}
	for url, status := range r.logged() {
		if status == frontier.StatusDeleted {
			deleted[url] = true
		}
	}
	for i := 1; i < n; i += 2 {
		if url := fmt.Sprintf("%simported/%d", r.sites[0].URL, i); !deleted[url] {
			t.Fatalf("%s is not in crawl.log as deleted", url)
		}
	}
	if len(deleted) != n/2 {
		t.Errorf("%d URLs are in crawl.log as deleted, want %d", len(deleted), n/2)
	}
	r.start("--recover-log")
	r.ends()
	for url, n := range r.archived() {
		if n != 1 || strings.Contains(url, "/imported/") {
			t.Errorf("%s is archived %d times", url, n)
		}
	}
	if lost := r.sites[0].Reachable("/").Lost(asSet(r.archived())); len(lost) > 0 {
		t.Errorf("%d URLs are in no WARC file: %v", len(lost), lost[:min(5, len(lost))])
	}
}
