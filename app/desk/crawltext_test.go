package desk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/job/crawl"
)

// Reports are, to the letter, what the files beside this test say: the layouts of Heritrix 3.4, from its own reports.
func TestCrawlReportTexts(t *testing.T) {
	at := time.Date(2026, 1, 11, 23, 24, 25, 0, time.UTC)
	hosts := []crawl.HostRow{
		{Host: "com,smokebox,www,", Done: 1337, Bytes: 23877316, Left: 2, Queued: 3, Waiting: 1,
			Novelties: crawl.Novelties{NovelURLs: 1301, NovelBytes: 23877000, DuplicateURLs: 30, DuplicateBytes: 310, NotModifiedURLs: 6, NotModifiedBytes: 6}},
		{Host: "com,smokebox,www,#443", Done: 12, Bytes: 34, Due: at},
		{Host: "[2001:db8::1]#8080", Queued: 7}, {Host: "192.0.2.1"}}
	for _, rep := range []CrawlReport{
		{Name: "crawl", Crawl: &crawl.Summary{State: "FINISHED", Elapsed: time.Hour + 33*time.Minute + 38*time.Second + 651*time.Millisecond,
			Known: 1400, Queued: 50, Waiting: 5, Done: 1337, Failed: 6, Left: 2, Bytes: 23865329, Hosts: 1, Seeds: 3, SeedsCrawled: 1,
			Budget: "any number of URLs", Novelties: crawl.Novelties{NovelURLs: 1301, NovelBytes: 23865000, DuplicateURLs: 36, DuplicateBytes: 329}}},
		{Name: "seeds", Seeds: []crawl.SeedRow{{URL: "http://netarkivet.dk/", State: "done", Status: 200},
			{URL: "http://www.netarkivet.dk/", State: "done", Status: 301, Redirect: "http://netarkivet.dk/"},
			{URL: "http://nosuch.example/", State: "failed", Status: -1}, {URL: "http://waits.example/", State: "queued"}}},
		{Name: "hosts", Hosts: hosts},
		{Name: "mimetype", Types: []crawl.Tally{{Of: "text/html", N: 84, Bytes: 1234567}, {Of: "", N: 2}}},
		{Name: "responsecode", Codes: []crawl.Tally{{Of: "200", N: 1306}, {Of: "404", N: 31}, {Of: "-9998", N: 1}}},
		{Name: "source", Sources: []crawl.SourceRow{{Source: "http://netarkivet.dk/", Done: 251}}},
		{Name: "frontier", At: at, Frontier: &crawl.FrontierRow{Known: 20, Done: 5, Failed: 2, Left: 1, Queued: 11, Waiting: 1, Hosts: 4, Held: 1,
			InFlight: []crawl.Flight{{URL: "http://www.smokebox.net/a", Since: at}}, Largest: hosts[:3]}},
	} {
		rep.Job = "basic"
		var out strings.Builder
		if err := WriteCrawlReport(&out, rep, true); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", "crawlreport", rep.Name+".txt")
		if os.Getenv("HOLDFAST_UPDATE") != "" {
			if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if out.String() != string(want) {
			t.Errorf("%s: got\n%swant\n%s", rep.Name, out.String(), want)
		}
	}
}

func TestConventionalDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0ms", 19600 * time.Millisecond: "19s600ms", 72602 * time.Millisecond: "1m12s602ms",
		49*time.Hour + time.Millisecond: "2d1h0m0s1ms"} {
		if got := conventional(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
	for n, want := range map[uint64]string{0: "0 B", 1850: "1.8 KB", 12841240: "12 MB", 2421158: "2.3 MB", 89284048: "85 MB"} {
		if got := roughly(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}
