package crawl

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/tests/testenv"
)

// TestOutage: a server that freezes, one that goes down and comes back, and one that is slow, lose no URL and get none twice that was
// answered. Nobody asks a server that is down again and again.
func TestOutage(t *testing.T) {
	t.Parallel()
	r := pairRig(t)
	want := r.reference()
	before := map[string]int{}
	for _, s := range r.sites {
		maps.Copy(before, s.Counts())
	}
	r.runs("settings: {min_delay: 2ms, delay_factor: 0, retry_after: 1s}")
	r.reaches(50)
	down, frozen := r.sites[0], r.sites[1]
	down.Down()
	frozen.Freeze()
	testenv.Until(t, soon, "URLs are put off", func() bool { return r.waiting() > 0 })
	asked := len(frozen.Requests())
	frozen.Latency(time.Millisecond)
	frozen.Thaw()
	testenv.Until(t, soon, "the frozen one goes on", func() bool { return len(frozen.Requests()) > asked+50 })
	r.p.Kill() // when what was put off is tried again survives it
	down.Up()
	r.runs("settings: {min_delay: 2ms, delay_factor: 0, retry_after: 1s}")
	testenv.Until(t, soon, "all is fetched", func() bool { return r.done() >= len(want) })
	r.stop()
	if got := r.archived(); !maps.Equal(got, want) {
		t.Error(differ(got, want))
	}
	for _, s := range r.sites {
		refetched := 0
		for url, n := range s.Counts() {
			refetched += max(0, n-before[url]-1)
		}
		if n := s.AtOnce(); n > 4 { // of the reference
			t.Errorf("%s was asked %d times at once", s.URL, n)
		}
		const uncommitted = 20 // of a host that is asked every 2 ms, while a commit is under way: when it went down, and at the kill
		if refetched > uncommitted {
			t.Errorf("%s was asked %d times for what it had been asked for", s.URL, refetched)
		}
	}
}

// runs starts the crawl by a configuration, which does not end by itself.
func (r *rig) runs(more string) {
	r.t.Helper()
	config := filepath.Join(r.t.TempDir(), "holdfast.yaml")
	text := fmt.Sprintf("data_dir: %s\nlisten: none\njobs:\n  %s:\n    crawl:\n      seeds: [%s]\n      contact: test@example.org\n"+
		"      %s\n", r.dir, job, strings.Join(r.seeds(), ", "), more)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if r.p != nil {
		r.said = append(r.said, r.p.Output())
	}
	r.p = testenv.Start(r.t, r.command("run", "-c", config))
}

// waiting is how many URLs are put off, as the running crawl says.
func (r *rig) waiting() (n int) {
	s, _ := r.status()
	for _, note := range s.Notes {
		if note[0] == "URLs" {
			_, _ = fmt.Sscanf(note[1], "%d known: %d done, %d queued, %d put off", new(int), new(int), new(int), &n)
		}
	}
	return n
}
