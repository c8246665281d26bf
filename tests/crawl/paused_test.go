package crawl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// reports are the texts of all reports, by file, without the line that tells when they were written.
func (r *rig) reports() map[string]string {
	r.t.Helper()
	dir := r.t.TempDir()
	r.run(0, "crawl", "report", job, "--save", dir)
	files, err := os.ReadDir(dir)
	if err != nil {
		r.t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			r.t.Fatal(err)
		}
		text := string(b)
		if strings.HasPrefix(text, "Frontier report - ") {
			_, text, _ = strings.Cut(text, "\n")
		}
		all[f.Name()] = text
	}
	return all
}

// TestPausedReports: a crawl that is paused, checkpointed, ended and taken back to that checkpoint has the same reports to the letter,
// and its logs end where they did.
func TestPausedReports(t *testing.T) {
	t.Parallel()
	r := smallRig(t)
	r.start()
	r.reaches(100)
	r.pause()
	if _, err := r.checkpoint("here"); err != nil {
		t.Fatal(err)
	}
	was := r.reports()
	log := filepath.Join(r.dir, "logs", job, "crawl.log")
	tail, err := os.ReadFile(log + ".here")
	if err != nil || len(tail) == 0 {
		t.Fatalf("crawl.log.here has %d bytes (%v)", len(tail), err)
	}
	r.stop()
	r.start("--from", "here", "--paused")
	r.isPaused()
	now := r.reports()
	for name, text := range was {
		if now[name] != text {
			t.Errorf("%s was\n%sand is\n%s", name, text, now[name])
		}
	}
	if len(was) != 7 || len(now) != 7 {
		t.Errorf("there were %d reports, and are %d, want 7", len(was), len(now))
	}
	r.stop()
	if b, err := os.ReadFile(log + ".here"); err != nil || string(b) != string(tail) {
		t.Errorf("crawl.log.here is not what it was (%v)", err)
	}
	if info, err := os.Stat(log); err == nil && info.Size() > 0 {
		t.Errorf("crawl.log has %d bytes more", info.Size())
	}
}
