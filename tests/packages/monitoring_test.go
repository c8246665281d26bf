package packages

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/tests/testenv"
)

const monitoring = "../../packaging/monitoring"

// query is one that an alert or a panel asks.
type query struct{ where, expr string }

// promtool runs Prometheus' own checker in a directory.
func promtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		testenv.Missing(t, "Debian's prometheus", err)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out)
	}
}

func text(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Prometheus accepts the rules and the example of its configuration, and each alert fires when it should, and then only.
func TestAlertRules(t *testing.T) {
	rules, dir := text(t, filepath.Join(monitoring, "holdfast.rules.yml")), t.TempDir()
	promtool(t, monitoring, "check", "rules", "holdfast.rules.yml")
	// What alerts say in words is no part of what is wanted.
	write(t, filepath.Join(dir, "holdfast.rules.yml"), regexp.MustCompile(`(?m)^ {8}annotations:\n(?: {10}.*\n)+`).ReplaceAllString(rules, ""))
	write(t, filepath.Join(dir, "prometheus.yml"),
		strings.ReplaceAll(text(t, filepath.Join(monitoring, "prometheus.yml")), "/usr/share/holdfast/monitoring/", ""))
	promtool(t, dir, "check", "config", "prometheus.yml")
	wanted := ""
	for _, name := range []string{"minutes.yml", "hours.yml", "weeks.yml"} {
		wanted += text(t, filepath.Join("testdata", name))
		write(t, filepath.Join(dir, name), text(t, filepath.Join("testdata", name)))
		promtool(t, dir, "test", "rules", name)
	}
	for _, alert := range regexp.MustCompile(`(?m)- alert: (\w+)`).FindAllStringSubmatch(rules, -1) {
		if !strings.Contains(wanted, "alertname: "+alert[1]+"\n        exp_alerts:\n") {
			t.Errorf("no test has %s fire", alert[1])
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// panels are the queries of the dashboard, with what Grafana puts in the place of its variables.
func panels(t *testing.T) (all []query) {
	t.Helper()
	var d struct {
		Panels []struct {
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(text(t, filepath.Join(monitoring, "grafana-dashboard.json"))), &d); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$instance", ".*", "$job", ".*", "$__rate_interval", "5m", "$__range", "6h")
	for i, p := range d.Panels {
		for _, target := range p.Targets {
			all = append(all, query{p.Title, variables.Replace(target.Expr)})
		}
		for _, q := range d.Panels[:i] {
			a, b := p.GridPos, q.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H || a.X+a.W > 24 {
				t.Errorf("%s lies on %s, or beside the page", p.Title, q.Title)
			}
		}
	}
	if len(all) < 20 {
		t.Fatalf("the dashboard has only %d queries", len(all))
	}
	return all
}

// Prometheus understands each query of the dashboard.
func TestDashboard(t *testing.T) {
	rules := "groups:\n- name: dashboard\n  rules:\n"
	for i, q := range panels(t) {
		rules += fmt.Sprintf("  - {record: 'q%d', expr: '%s'}\n", i, strings.ReplaceAll(q.expr, "'", "''"))
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "queries.yml"), rules)
	promtool(t, dir, "check", "rules", "queries.yml")
}

// Every metric that an alert or the dashboard asks for is one that the tour, which has a job of each kind, exposes; so is each
// label that it is asked by.
func TestMetricsAreThere(t *testing.T) {
	exposed := scraped(t)
	all := panels(t)
	for _, m := range regexp.MustCompile(`(?m)expr: (>-\n(?: {10}.*\n)+|.*)`).FindAllStringSubmatch(text(t,
		filepath.Join(monitoring, "holdfast.rules.yml")), -1) {
		all = append(all, query{"an alert", m[1]})
	}
	for _, alert := range regexp.MustCompile(`holdfast_\w+`).FindAllString(text(t, "../../docs/operations.md"), -1) {
		if !strings.HasSuffix(alert, "_") { // holdfast_quota_*
			all = append(all, query{"docs/operations.md", alert})
		}
	}
	seen := map[string]bool{}
	for _, q := range all {
		for _, m := range regexp.MustCompile(`((?:holdfast|process)_\w+)(?:\{([^}]*)\})?`).FindAllStringSubmatch(q.expr, -1) {
			seen[m[1]] = true
			labels, ok := exposed[m[1]]
			if !ok {
				t.Errorf("%s: there is no metric %s", q.where, m[1])
				continue
			}
			for _, l := range regexp.MustCompile(`(\w+)(?:=~|!=|=)"([^"]*)"`).FindAllStringSubmatch(m[2], -1) {
				values, ok := labels[l[1]]
				switch {
				case l[1] == "instance" || l[1] == "job": // those that Prometheus gives, or the job of any name
				case !ok:
					t.Errorf("%s: %s has no label %s", q.where, m[1], l[1])
				default:
					for _, want := range strings.Split(l[2], "|") {
						if !slices.Contains(values, want) {
							t.Errorf("%s: %s never has %s=%q, but %v", q.where, m[1], l[1], want, values)
						}
					}
				}
			}
		}
	}
	if len(seen) < 25 {
		t.Errorf("only %d metrics were looked at", len(seen))
	}
}

// scraped are the labels of the metrics of the tour, with their values.
func scraped(t *testing.T) map[string]map[string][]string {
	t.Helper()
	p := testenv.Start(t, testenv.Command{Path: testenv.PlainBinary(t), Args: []string{"demo", "--data-dir", t.TempDir(),
		"--listen", testenv.Address(t)}})
	console := p.WaitFor(t, `the console.*http://\S+/#token=\S+`, time.Minute)
	url, token, _ := strings.Cut(console, "/#token=")
	url = url[strings.Index(url, "http"):]
	out := map[string]map[string][]string{}
	testenv.Until(t, time.Minute, "every job tells of itself", func() bool {
		body := get(t, url+"/metrics", strings.TrimSpace(token))
		for _, m := range regexp.MustCompile(`(?m)^(\w+)(?:\{(.*)\})? `).FindAllStringSubmatch(body, -1) {
			if out[m[1]] == nil {
				out[m[1]] = map[string][]string{}
			}
			for _, l := range regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`).FindAllStringSubmatch(m[2], -1) {
				if !slices.Contains(out[m[1]][l[1]], l[2]) {
					out[m[1]][l[1]] = append(out[m[1]][l[1]], l[2])
				}
			}
		}
		return out["holdfast_rule_last_match_timestamp_seconds"] != nil && out["holdfast_delivered_bytes_total"] != nil &&
			out["holdfast_sink_lag_seconds"] != nil && out["holdfast_queue_tasks"] != nil && out["holdfast_quota_level"] != nil
	})
	p.Kill()
	return out
}

func get(t *testing.T, url, token string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return ""
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
