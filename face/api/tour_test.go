package api

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/app"
	"holdfast/app/desk"
	"holdfast/app/tour"
)

// liveTour is a tour at work.
func liveTour(t *testing.T) *desk.Desk {
	t.Helper()
	dir := t.TempDir()
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	feed, err := tour.OpenFeed("127.0.0.1:0", "")
	fail(err)
	trouble, err := tour.OpenTrouble("127.0.0.1:0")
	fail(err)
	site, err := tour.OpenSite(dir, time.Millisecond)
	fail(err)
	tr, err := tour.Open(feed, trouble, site, dir, app.NoListen, slog.New(slog.DiscardHandler))
	fail(err)
	beside(t, feed.Run, trouble.Run, site.Run, tr.Camera().Run)
	t.Cleanup(func() { fail(errors.Join(tr.Close(), tr.Plan.Close())) })
	return runPlan(t, tr.Plan)
}

// tourAnswers asks and orders the tour, and returns the routes whose answers are as they are described.
func tourAnswers(t *testing.T, doc document) map[string]bool {
	t.Helper()
	d := liveTour(t)
	h := Handler(d)
	tried := map[string]bool{}
	try := func(pattern, path string, body any, want int) {
		t.Helper()
		method, _, _ := strings.Cut(pattern, " ")
		w := request(t, h, method, path, body)
		if w.Code != want {
			t.Errorf("%s %v: got %d, want %d: %s", path, body, w.Code, want, w.Body)
		}
		if why := doc.answer(pattern, w); why != "" {
			t.Errorf("%s: %s\n%s", path, why, w.Body)
		}
		tried[pattern] = tried[pattern] || want == http.StatusOK
	}
	const turn, open, reports = "POST /api/v1/tour/{switch}", "POST /api/v1/jobs/{job}/gates/{gate}/open", "GET /api/v1/jobs/{job}/reports"
	type o = map[string]any
	gate := func(job, name string) (open bool) {
		all, err := d.Gates(t.Context(), job)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range all {
			if g.Name == name {
				return g.Open
			}
		}
		return false
	}
	await(t, "a report", func() bool {
		w := request(t, h, "GET", "/api/v1/jobs/weather-processor/reports?table=weather_averages", nil)
		return w.Code == http.StatusOK && strings.Contains(w.Body.String(), "Ohio")
	})
	try(reports, "/api/v1/jobs/weather-streamer/reports", nil, 200)
	try(reports, "/api/v1/jobs/weather-api/reports?table=weather_averages&limit=3&format=csv", nil, 200)
	try(reports, "/api/v1/jobs/weather-ingester/reports?table=nosuch", nil, 404)
	try(reports, "/api/v1/jobs/spots/reports", nil, 400)

	try("GET /api/v1/tour", "/api/v1/tour", nil, 200)
	try(turn, "/api/v1/tour/nosuch", o{"on": true}, 404)
	try(turn, "/api/v1/tour/feed", o{"off": true}, 400)
	const gates = "/api/v1/jobs/spots/gates/"
	try(open, gates+"wsprnet/open", Order{Reason: "it is up"}, 409) // it is open
	await(t, "an open gate", func() bool { return gate("spots", "wsprnet") })
	try(turn, "/api/v1/tour/feed", o{"on": true}, 200)
	await(t, "a closed gate", func() bool { return !gate("spots", "wsprnet") })
	try(open, gates+"wsprnet/open", nil, 400) // without a reason
	try(open, gates+"nosuch/open", Order{Reason: "it is up"}, 404)
	try(open, gates+"wsprnet/open", Order{Reason: "the night shift says it is up"}, 200)
	events, _, err := d.Events(t.Context(), "spots", 100)
	if err != nil {
		t.Fatal(err)
	}
	told := false
	for _, e := range events {
		told = told || e.Kind == "gate.forced" && strings.Contains(e.Text, "the night shift says it is up")
	}
	if !told {
		t.Errorf("the history does not tell who opened the gate: %v", events)
	}
	await(t, "work that closes the gate again", func() bool { return !gate("spots", "wsprnet") })
	try(turn, "/api/v1/tour/feed", o{"on": false}, 200)
	await(t, "an open gate", func() bool { return gate("spots", "wsprnet") })

	await(t, "the pages", func() bool {
		n, err := d.CrawlCounts(t.Context(), "pages")
		return err == nil && n.Done >= 20
	})
	c, err := d.CreateCheckpoint(t.Context(), "pages", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	const begin = "POST /api/v1/crawls"
	try(begin, "/api/v1/crawls", desk.NewCrawl{Name: "again", Like: "pages", Checkpoint: c.Name}, 200)
	try(begin, "/api/v1/crawls", desk.NewCrawl{Name: "again", Like: "pages", Checkpoint: c.Name}, 409)
	try(begin, "/api/v1/crawls", desk.NewCrawl{Name: "more", Like: "pages"}, 400)
	try(begin, "/api/v1/crawls", desk.NewCrawl{Name: "more", Like: "spots", Checkpoint: c.Name}, 400)
	try(begin, "/api/v1/crawls", desk.NewCrawl{Name: "more", Like: "pages", Checkpoint: "nosuch"}, 404)
	await(t, "the other crawl", func() bool {
		n, err := d.CrawlCounts(t.Context(), "again")
		return err == nil && n.Queued+n.Waiting == 0 && n.Done > 60
	})
	return tried
}
