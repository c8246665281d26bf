package api

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"holdfast/app/desk"
)

// liveSupervise is a supervise job that has done two actions of a log.
func liveSupervise(t *testing.T) *desk.Desk {
	t.Helper()
	dir := t.TempDir()
	log, rules := filepath.Join(dir, "app.log"), filepath.Join(dir, "rules.yaml")
	for name, text := range map[string]string{log: "", rules: fmt.Sprintf(`rules:
  - name: full
    why: the disk is full
    from: {file: %q}
    match: 'disk (?P<disk>\S+) is full'
    when: {count: 2, within: 1h}
    do: [{run: [/bin/echo, "{{disk}}"]}]
  - {name: odd, from: {file: %q}, match: odd, mode: shadow, do: [{run: [/bin/false]}]}
  - {name: bad, from: {file: %q}, match: bad, do: [{run: [/bin/false], env: {A: b}}]}
`, log, log, log)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := runConfig(t, fmt.Appendf(nil, "jobs: {box: {supervise: {rules: %q}}}", rules))
	await(t, "the watcher", func() bool {
		list, _, err := d.Events(t.Context(), "box", 10)
		return err == nil && len(list) > 0
	})
	write := func(text string) {
		f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString(text)
		}
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the actions", func() bool {
		all, err := d.Actions(t.Context(), "box", desk.ActionQuery{Max: 10})
		if err == nil && len(all.Actions) == 0 { // until it is watched: it begins at the end of the file
			write("disk a is full\nodd\ndisk a is full\nbad\n")
		}
		return err == nil && len(all.Actions) >= 2 && all.Actions[0].State.Over() && all.Actions[1].State.Over()
	})
	return d
}

// superviseAnswers asks and orders a supervise job, and returns the routes whose answers are as they are described.
func superviseAnswers(t *testing.T, doc document) map[string]bool {
	t.Helper()
	d := liveSupervise(t)
	h := Handler(d)
	const base = "/api/v1/jobs/{job}/supervise/"
	const actions, order = "GET " + base + "actions", "POST " + base + "{order}"
	failed, err := d.Actions(t.Context(), "box", desk.ActionQuery{Rule: "bad", Max: 1})
	if err != nil || len(failed.Actions) != 1 || failed.Next.IsZero() {
		t.Fatalf("%+v, %v", failed, err)
	}
	id, number := failed.Actions[0].Call.ID, fmt.Sprint(failed.Actions[0].Number)
	tried := map[string]bool{}
	type o = map[string]any
	for _, c := range []struct {
		pattern, path string
		body          any
		want          int
	}{
		{"GET " + base + "rules", "rules", nil, 200},
		{actions, "actions", nil, 200},
		{actions, "actions?rule=full&state=done&max=1&before=2100-01-01", nil, 200},
		{actions, "actions?state=lost", nil, 400},
		{actions, "actions?max=all", nil, 400},
		{"GET " + base + "actions/{id}", "actions/" + url.PathEscape(id), nil, 200},
		{"GET " + base + "actions/{id}", "actions/" + number, nil, 200},
		{"GET " + base + "actions/{id}", "actions/99999", nil, 404},
		{"GET " + base + "actions/{id}", "actions/nosuch", nil, 404},
		{"GET " + base + "explain", "explain?line=" + url.QueryEscape("disk $(reboot) is full"), nil, 200},
		{"GET " + base + "explain", "explain?line=x&source=file+/nosuch", nil, 404},
		{"GET " + base + "replay", "replay?since=1h&all=true", nil, 200},
		{"GET " + base + "replay", "replay?since=never", nil, 400},
		{order, "nosuch", o{}, 404},
		{order, "reload", o{}, 200},
		{order, "silence", o{"rule": "full", "until": "2100-01-01T00:00:00Z", "reason": "we know"}, 200},
		{order, "silence", o{"rule": "nosuch", "until": "2100-01-01T00:00:00Z", "reason": "we know"}, 400},
		{order, "silence", o{"rules": "full"}, 400},
		{"GET " + base + "silences", "silences", nil, 200},
		{order, "unsilence", o{"silence": 1}, 200},
		{order, "unsilence", o{"silence": 99}, 404},
		{order, "repeat", o{"action": number}, 200},
		{order, "abandon", o{"action": "nosuch"}, 404},
	} {
		method := http.MethodGet
		if c.pattern == order {
			method = http.MethodPost
		}
		w := request(t, h, method, "/api/v1/jobs/box/supervise/"+c.path, c.body)
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

// A rule that never fires must not look like a healthy system: what became of each is counted.
func TestRuleMetrics(t *testing.T) {
	d := liveSupervise(t)
	w := request(t, Handler(d), "GET", "/metrics", nil)
	problems, err := promlint.New(strings.NewReader(w.Body.String())).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	for _, want := range []string{`holdfast_rule_matches_total{job="box",rule="full"} [1-9]`,
		`holdfast_rule_decisions_total{job="box",outcome="acted",rule="full"} [1-9]`,
		`holdfast_rule_decisions_total{job="box",outcome="shadow",rule="odd"} [1-9]`,
		`holdfast_rule_decisions_total{job="box",outcome="limit",rule="odd"} 0`,
		`holdfast_rule_failed_actions_total{job="box",rule="bad"} [1-9]`,
		`holdfast_rule_last_match_timestamp_seconds{job="box",rule="bad"} 1\.`,
		`holdfast_actions{job="box",state="failed"} [1-9]`} {
		if !regexp.MustCompile(want).MatchString(w.Body.String()) {
			t.Errorf("%s is missing", want)
		}
	}
}
