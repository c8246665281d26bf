package bench

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"holdfast/tests/testenv"
	pages "holdfast/tests/testenv/site"
)

// TestCrawl has PostgreSQL's documents and Debian's handbook, of this machine, fetched into WARC files with an index: by Holdfast, whose
// commits are durable, and by wget and wget2, which sync nothing. Rounds take turns; it is the ratio of a round that counts.
func TestCrawl(t *testing.T) {
	sites := []*pages.Site{pages.Docs(t, pages.Postgres(t), pages.Options{}), pages.Docs(t, pages.Handbook(t), pages.Options{})}
	var urls []string
	for i, s := range sites {
		urls = append(urls, s.URL+[]string{"index.html", "en-US/index.html"}[i])
	}
	asked := func() (n int) {
		for _, s := range sites {
			for _, times := range s.Counts() {
				n += times
			}
		}
		return n
	}
	binary := testenv.PlainBinary(t)
	peers := []struct {
		name string
		args func(dir string) []string
	}{
		{"holdfast", func(dir string) []string {
			return append([]string{binary, "crawl", "--job", "docs", "--contact", "bench@example.org", "--data-dir", dir, "--min-delay", "0s",
				"--delay-factor", "0", "--per-host", "8", "--workers", "16"}, urls...)
		}},
		{"wget", func(dir string) []string {
			return append([]string{"wget", "-q", "-r", "-l", "inf", "-e", "robots=off", "-P", dir, "--warc-file=" + filepath.Join(dir, "docs"),
				"--warc-cdx"}, urls...)
		}},
		{"wget2", func(dir string) []string {
			return append([]string{"wget2", "-q", "-r", "-l", "inf", "--robots=off", "-P", dir, "--max-threads=8"}, urls...)
		}},
	}
	const rounds = 3
	for round := range rounds {
		var ours float64
		for _, p := range peers {
			dir, before := t.TempDir(), asked()
			argv := p.args(dir)
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Stdout, cmd.Stderr = io.Discard, os.Stderr
			began := time.Now()
			err := cmd.Run()
			took := time.Since(began)
			if err != nil && p.name == "holdfast" {
				t.Fatal(err)
			} // wget ends with 8 where a page is missing
			n := asked() - before
			use := cmd.ProcessState.SysUsage().(*syscall.Rusage)
			rate := float64(n) / took.Seconds()
			if p.name == "holdfast" {
				ours = rate
			}
			t.Logf("round %d: %-8s %5d URLs in %6v: %5.0f/s, CPU %5v (%3.0f µs a URL), %4d MiB%s", round+1, p.name, n, took.Round(time.Millisecond),
				rate, (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Round(time.Millisecond),
				float64((cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()).Microseconds())/float64(n), use.Maxrss>>10,
				ratio(ours, rate, p.name))
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func ratio(ours, theirs float64, name string) string {
	if name == "holdfast" {
		return ""
	}
	return fmt.Sprintf("; ours is %.2f times that", ours/theirs)
}
