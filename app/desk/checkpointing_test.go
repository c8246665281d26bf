package desk

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/app"
	"holdfast/app/datadir"
)

// lookedAt is a context of work at which somebody looks whenever it asks whether it is to end.
type lookedAt struct {
	context.Context
	look func()
}

func (w lookedAt) Err() error {
	w.look()
	return w.Context.Err()
}

// While a checkpoint of a crawl is made its status says so, under which name and for how long, and pages are fetched.
func TestStatusOfACrawlThatIsCheckpointed(t *testing.T) {
	asked, over := make(chan struct{}), make(chan struct{})
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/robots.txt" {
			http.NotFound(w, r)
			return
		}
		select {
		case asked <- struct{}{}:
		case <-over:
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<a href="x%s">next</a>`, strings.TrimPrefix(r.URL.Path, "/"))
	}))
	defer site.Close()
	c, err := app.Parse("t.yaml", []byte("jobs: {pages: {crawl: {seeds: [\""+site.URL+"/\"], contact: a@example.org, "+
		"settings: {min_delay: 0s, delay_factor: 0}}}}"), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	p := &app.Plan{Place: datadir.Place{Dir: t.TempDir(), Explicit: true}, Jobs: c.Jobs, Log: slog.New(slog.DiscardHandler)}
	d, stop := running(t, p)
	defer stop()
	defer close(over)
	<-asked
	began := time.Now()
	var during Report
	look := func() {
		if rep, err := d.Status(t.Context(), "pages"); err == nil && len(rep.Checkpoints) > 0 && len(during.Checkpoints) == 0 {
			during = rep
			for range 3 {
				<-asked
			}
		}
	}
	made, err := d.CreateCheckpoint(lookedAt{t.Context(), look}, "pages", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(during.Checkpoints) != 1 || during.Checkpoints[0].Name != made.Name || during.Checkpoints[0].Job != "pages" ||
		during.Checkpoints[0].Began.Before(began) {
		t.Errorf("while it made %s its status had %+v", made.Name, during.Checkpoints)
	}
	if note := during.Jobs[0].Notes[0]; note[0] != "crawl" || !strings.HasPrefix(note[1], "CHECKPOINTING "+made.Name+" for ") ||
		!strings.Contains(note[1], "RUNNING") {
		t.Errorf("while it made %s its status said %q", made.Name, note)
	}
	after, err := d.Status(t.Context(), "pages")
	if err != nil || len(after.Checkpoints) > 0 || strings.Contains(after.Jobs[0].Notes[0][1], "CHECKPOINTING") {
		t.Errorf("behind it status says %+v, %v (%v)", after.Checkpoints, after.Jobs[0].Notes, err)
	}
}
