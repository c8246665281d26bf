package desk

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"holdfast/app"
	"holdfast/app/datadir"
)

// TestAWarningStaysInTheStatus: what check says of a source that may miss rows, status says while it runs.
func TestAWarningStaysInTheStatus(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.FormValue("query"), "LIMIT 0") {
			fmt.Fprint(w, "id\nUInt64\n")
		}
	}))
	t.Cleanup(srv.Close)
	for overlap, want := range map[string]bool{"": true, ", overlap: 0": false} {
		c, err := app.Parse("t.yaml", fmt.Appendf(nil, `jobs: {rows: {collect: {
  source: {clickhouse: {url: "%s", table: t, key: id%s}}, sinks: {local: {sqlite: {path: a,
	table: t}}}}}}`, srv.URL, overlap), os.LookupEnv)
		if err != nil {
			t.Fatal(err)
		}
		p := &app.Plan{Place: datadir.Place{Dir: t.TempDir(), Explicit: true}, Jobs: c.Jobs, Log: slog.New(slog.DiscardHandler)}
		d, stop := running(t, p)
		var notes [][2]string
		until(t, "the job runs", func() bool {
			rep, err := d.Status(t.Context(), "")
			if err != nil || len(rep.Jobs) == 0 {
				return false
			}
			notes = rep.Jobs[0].Notes
			return len(notes) > 0
		})
		told := slices.ContainsFunc(notes, func(n [2]string) bool { return strings.Contains(n[1], "clickhouse.overlap: is not set") })
		if told != want {
			t.Errorf("overlap %q: the notes are %q", overlap, notes)
		}
		stop()
	}
}
