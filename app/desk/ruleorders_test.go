package desk

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/app"
	"holdfast/app/datadir"
)

// Each order that app lets stand in rules is one that the desk carries out: of a job that is not there it says just that.
func TestRuleOrders(t *testing.T) {
	d := New(&app.Plan{Place: datadir.Place{Dir: t.TempDir()}, Log: slog.New(slog.DiscardHandler)}, nil)
	for _, order := range append(app.RuleOrders(), "nonsense") {
		_, err := d.Order(t.Context(), "nobody", order, map[string]string{"sink": "local"})
		if known := err != nil && !strings.Contains(err.Error(), "there is no order"); known != (order != "nonsense") {
			t.Errorf("%s: got %v", order, err)
		}
	}
}

// A rule hears what happens to another job of its process, and orders it something: both by the desk.
func TestARuleHearsAJobAndOrdersIt(t *testing.T) {
	_, url := feedOf(t, 5)
	dir := t.TempDir()
	rules := "rules: [{name: a, from: {holdfast: {job: spots, kinds: [job.paused]}}, " +
		"do: [{holdfast: checkpoint, job: spots, with: {name: told}}]}]\n"
	if err := os.WriteFile(filepath.Join(dir, "rules.yaml"), []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	c := parsed(t, strings.Replace(configText(url), "jobs: {", "jobs: {watch: {supervise: {rules: rules.yaml}}, ", 1))
	p := &app.Plan{Place: datadir.Place{Dir: dir, Explicit: true}, Jobs: c.Jobs, Log: slog.New(slog.DiscardHandler)}
	d, stop := running(t, p)
	defer stop()
	until(t, "a checkpoint is made of a job that is paused", func() bool {
		// Again and again: what was before the rule watched is not told.
		if d.Pause("spots") != nil || d.Resume("spots") != nil {
			return false
		}
		all, err := d.ListCheckpoints("spots")
		return err == nil && len(all) == 1 && all[0].Name == "told"
	})
}
