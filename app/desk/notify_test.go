package desk

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/app"
	"holdfast/app/datadir"
	"holdfast/base/secret"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// What a running job suffers from reaches the target, and is remembered before it does.
func TestNotifyTellsOfARunningJob(t *testing.T) {
	place := datadir.Place{Dir: t.TempDir(), Explicit: true}
	got := make(chan string, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if _, err := os.Stat(notifiedFile(place.Dir)); err != nil {
			t.Errorf("told before it is remembered: %v", err)
		}
		got <- string(b)
	}))
	defer hook.Close()
	c, err := app.Parse("t.yaml", []byte(configText("http://127.0.0.1:1/spots")), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	p := &app.Plan{Place: place, Jobs: c.Jobs, Log: slog.New(slog.DiscardHandler), Alerts: app.Alerts{Gate: 1},
		Notify: map[string]secret.Text{"ops": secret.Text("generic+" + hook.URL)}}
	eng, err := p.Engine(func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	d := New(p, eng)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	runs := func(f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	defer wg.Wait()
	defer cancel()
	runs(eng.Run)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		gates, err := d.Gates(ctx, "")
		if err == nil && len(gates) > 0 && !gates[0].Open && time.Since(gates[0].Since) > time.Second {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %v, %v", gates, err)
		}
	}
	runs(d.Notify)
	select {
	case text := <-got:
		if !strings.Contains(text, "Holdfast: job spots: wsprnet is away") {
			t.Errorf("got %q", text)
		}
	case <-time.After(30 * time.Second):
		t.Error("nobody was told")
	}
}

// Damage that a job met before anybody was to be told, while its store was not open at first, is no news. What it meets from
// then on is.
func TestOldDamageIsNoNews(t *testing.T) {
	place := datadir.Place{Dir: t.TempDir(), Explicit: true}
	c := parsed(t, "jobs: {docs: {crawl: {seeds: ['http://127.0.0.1:1/'], contact: me@example.org}}}")
	p := &app.Plan{Place: place, Jobs: c.Jobs, Log: slog.New(slog.DiscardHandler)}
	met := func(text string) func(*store.Store) error {
		return func(st *store.Store) error {
			engine.HistoryOf(st, "docs", p.Log).Warn("damage.met", "%s", text)
			return nil
		}
	}
	if err := newDesk(p).atRest("docs", met("long ago")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Millisecond) // the process that runs begins later
	d, stop := running(t, p)
	defer stop()
	if err := d.with(t.Context(), "docs", met("just now")); err != nil {
		t.Fatal(err)
	}
	a := newAlarms(p.Alerts)
	a.book.Heard = "other:1.0" // all that was open when somebody looked first
	q := make(chan string, 10)
	d.alarm(t.Context(), a, []chan string{q})
	close(q)
	told := ""
	for text := range q {
		told += text + "\n"
	}
	if strings.Contains(told, "long ago") || !strings.Contains(told, "just now") {
		t.Errorf("told is:\n%s", told)
	}
}
