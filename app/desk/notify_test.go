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
