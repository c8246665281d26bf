package api

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"holdfast/app"
)

// liveCrawl is a running crawl that has fetched its site, and waits for seeds.
func liveCrawl(t *testing.T) (d *app.Desk, site string) {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
	return d, web.URL
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
