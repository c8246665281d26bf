package api

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/app/desk"
)

// liveCrawl is a running crawl that has fetched its site, and waits for seeds.
func liveCrawl(t *testing.T) (d *desk.Desk, site string) {
	t.Helper()
	d, site, _ = askedCrawl(t)
	return d, site
}

// askedCrawl is liveCrawl whose site counts how often a path is asked for.
func askedCrawl(t *testing.T) (d *desk.Desk, site string, asked func(path string) int) {
	t.Helper()
	var mu sync.Mutex
	counts := map[string]int{}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		counts[r.URL.Path]++
		mu.Unlock()
		switch r.URL.Path {
		case "/":
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, `<a href="/one">1</a><a href="/2026/11">2</a>`)
		case "/robots.txt":
			_, _ = io.WriteString(w, "User-agent: *\nDisallow: /secret\nSitemap: /none\n")
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(web.Close)
	text := fmt.Appendf(nil, "jobs: {docs: {crawl: {seeds: [%q], contact: me@example.org, allow_addresses: [127.0.0.0/8], "+
		"settings: {min_delay: 0s, delay_factor: 0}, limits: {per_host: {urls: 1000}, per_pattern: 10}}}}", web.URL)
	d = runConfig(t, text)
	await(t, "the pages", func() bool {
		n, err := d.CrawlCounts(t.Context(), "docs")
		return err == nil && n.Done >= 4 && n.Queued+n.Waiting == 0
	})
	return d, web.URL, func(path string) int {
		mu.Lock()
		defer mu.Unlock()
		return counts[path]
	}
}

// A crawl that begins from a checkpoint of another one knows what that knew: nothing is fetched twice, its archive is whole and its own,
// and the other one does not notice.
func TestACrawlBeginsFromACheckpoint(t *testing.T) {
	d, site, asked := askedCrawl(t)
	h := Handler(d)
	c, err := d.CreateCheckpoint(t.Context(), "docs", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	order := func(job, name string, body any) string {
		t.Helper()
		w := request(t, h, "POST", "/api/v1/jobs/"+job+"/crawl/"+name, body)
		if w.Code != http.StatusOK {
			t.Errorf("%s of %s: got %d %s", name, job, w.Code, w.Body)
		}
		return w.Body.String()
	}
	rep, err := d.Status(t.Context(), "docs")
	if err != nil {
		t.Fatal(err)
	}
	dir := func(job string) string { return filepath.Join(rep.Place.Dir, "warc", job) }
	before := listed(t, dir("docs"))
	w := request(t, h, "POST", "/api/v1/crawls", desk.NewCrawl{Name: "again", Like: "docs", Checkpoint: c.Name})
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "1 of its 1 WARC files") {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	await(t, "the other crawl", func() bool {
		n, err := d.CrawlCounts(t.Context(), "again")
		return err == nil && n.Done >= 4
	})
	if text := order("again", "lost", desk.CrawlOrder{}); !strings.Contains(text, "all files are as they were written") {
		t.Errorf("files are lost: %s", text)
	}
	if after := listed(t, dir("docs")); !slices.Equal(before, after) {
		t.Errorf("the files of the other crawl are %v, and were %v", after, before)
	}
	if !slices.ContainsFunc(listed(t, dir("again")), func(f string) bool { return slices.Contains(before, f) }) {
		t.Errorf("the WARC file of the checkpoint is not in %s", dir("again"))
	}
	order("again", "add", map[string]any{"seeds": []string{site + "/one", site + "/fresh"}})
	await(t, "the new seed", func() bool { return asked("/fresh") == 1 })
	time.Sleep(100 * time.Millisecond)
	if n := asked("/one"); n != 1 {
		t.Errorf("/one was asked for %d times", n)
	}
}

// listed are the names of the WARC files of a directory.
func listed(t *testing.T, dir string) (names []string) {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if strings.Contains(e.Name(), ".warc") {
			names = append(names, e.Name())
		}
	}
	return names
}

// crawlAnswers asks and orders a crawl, and returns the routes whose answers are as they are described.
func crawlAnswers(t *testing.T, doc document) map[string]bool {
	t.Helper()
	d, site := liveCrawl(t)
	h := Handler(d)
	const why, report = "GET /api/v1/jobs/{job}/crawl/why", "GET /api/v1/jobs/{job}/crawl/reports/{report}"
	const order = "POST /api/v1/jobs/{job}/crawl/{order}"
	host := "127.0.0.1"
	tried := map[string]bool{}
	type o = map[string]any
	for _, c := range []struct {
		pattern, path string
		body          any
		want          int
	}{
		{why, "why?url=" + site, nil, 200},
		{why, "why?hops=L&url=" + site + "/secret/2026&via=" + site, nil, 200},
		{why, "why?url=http%3A%2F%2F", nil, 400},
		{report, "reports/crawl", nil, 200},
		{report, "reports/seeds", nil, 200},
		{report, "reports/hosts?max=1", nil, 200},
		{report, "reports/mimetype", nil, 200},
		{report, "reports/responsecode", nil, 200},
		{report, "reports/frontier", nil, 200},
		{report, "reports/source", nil, 200},
		{report, "reports/nosuch", nil, 400},
		{report, "reports/hosts?max=all", nil, 400},
		{order, "nosuch", o{}, 404},
		{order, "add", o{"seeds": []string{site + "/more"}}, 200},
		{order, "add", o{"seeds": []string{"http://"}}, 400},
		{order, "add", o{"seed": site}, 400},
		{order, "delete", o{"match": "nothing-like-this"}, 200},
		{order, "delete", o{}, 400},
		{order, "hold", o{"host": site}, 200},
		{order, "unhold", o{"host": site}, 200},
		{order, "hold", o{"host": "nowhere.example"}, 404},
		{order, "hold", o{"host": host + ":1"}, 404},
		{order, "budget", o{"urls": 100, "host_bytes": 1 << 20}, 200},
		{order, "budget", o{"urls": -1}, 400},
		{order, "set", o{"set": o{"retries": "3"}}, 409}, // it stands in a file
		{order, "recover", o{"files": []string{"/nowhere"}}, 409},
		{order, "recover", o{"files": []string{"relative"}}, 400},
		{order, "index", o{}, 200},
		{order, "index", o{"rebuild": true}, 409},
		{order, "drain", o{}, 200},
	} {
		method, path := http.MethodGet, "/api/v1/jobs/docs/crawl/"+c.path
		if c.pattern == order {
			method = http.MethodPost
		}
		w := request(t, h, method, path, c.body)
		if w.Code != c.want {
			t.Errorf("%s %v: got %d, want %d: %s", c.path, c.body, w.Code, c.want, w.Body)
		}
		if text := doc.answer(c.pattern, w); text != "" {
			t.Errorf("%s: %s\n%s", c.path, text, w.Body)
		}
		tried[c.pattern] = tried[c.pattern] || c.want == 200
	}
	return tried
}
