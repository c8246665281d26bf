package api

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"holdfast/app"
	"holdfast/base/secret"
)

// Names, types and help are as the conventions of Prometheus ask, and the numbers those of the books.
func TestMetrics(t *testing.T) {
	d, _ := live(t)
	w := request(t, Handler(d), "GET", "/metrics", nil)
	if w.Code != http.StatusOK {
		t.Fatalf("got %d: %s", w.Code, w.Body)
	}
	text := w.Body.String()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	books, err := d.Balance(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	gather, err := newMetrics(d).gatherer(t.Context()).Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range gather {
		for _, m := range f.Metric {
			got[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	for name, want := range map[string]int64{"holdfast_intake_read_items_total": books[0].Read,
		"holdfast_intake_items_total":        books[0].Read,
		"holdfast_sink_delivered_rows_total": books[0].Sinks[0].Delivered, "holdfast_sink_backlog_rows": 0,
		"holdfast_gate_open": 2, "holdfast_job_state": 1, "holdfast_job_readable": 1, "holdfast_job_balanced": 1,
		"holdfast_build_info":         1,
		"holdfast_job_restarts_total": 0} {
		if n, ok := got[name]; !ok || n != float64(want) {
			t.Errorf("%s: got %v (%v), want %d", name, n, ok, want)
		}
	}
	if got["holdfast_disk_free_bytes"] <= 0 || got["process_resident_memory_bytes"] <= 0 {
		t.Error("the disk or the process is missing")
	}
}

// A job that can't start is named by readyz; the process lives all the same, and metrics say what it does.
func TestReadyz(t *testing.T) {
	c, err := app.Parse("t.yaml", []byte("jobs: {spots: {collect: {source: {wsprnet: {url: 'http://127.0.0.1:1/'}}, "+
		"sinks: {local: {sqlite: {path: spots.sqlite}}}}}}"), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Plan(t.TempDir(), app.NoListen, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	// A store that is a file can't be opened.
	job := filepath.Join(p.Place.Dir, "jobs", "spots")
	if err := os.MkdirAll(job, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(job, "db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h := Handler(runPlan(t, p))
	var got Readiness
	await(t, "the failure", func() bool {
		w := request(t, h, "GET", "/readyz", nil)
		got = Readiness{}
		err := json.Unmarshal(w.Body.Bytes(), &got)
		return err == nil && w.Code == http.StatusServiceUnavailable && got.Jobs["spots"] == "restarting"
	})
	if w := request(t, h, "GET", "/healthz", nil); w.Code != http.StatusOK {
		t.Errorf("healthz: got %d", w.Code)
	}
	if w := request(t, h, "GET", "/metrics", nil); !strings.Contains(w.Body.String(),
		`holdfast_job_readable{job="spots"} 0`) {
		t.Errorf("metrics do not tell of the job that can't be read")
	}
	testWithoutToken(t, h)
}

// testWithoutToken: who has none hears whether all is well, and nothing of the jobs.
func testWithoutToken(t *testing.T, h http.Handler) {
	t.Helper()
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/metrics": 401} {
		w := httptest.NewRecorder()
		Open(h, Keys{Token: secret.Text("x")}).ServeHTTP(w, httptest.NewRequest("GET", "http://10.0.0.1"+path, nil))
		if w.Code != want || strings.Contains(w.Body.String(), "spots") {
			t.Errorf("%s without a token: got %d %s, want %d and no word of the jobs", path, w.Code, w.Body, want)
		}
	}
}
