package desk

import (
	"log/slog"
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
