package app

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/app/datadir"
	"holdfast/connector/wsprnet/simulator"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// replay runs a cycle of a job that takes the cache files of a directory in first.
func replay(t *testing.T, place datadir.Place, dir string, log *slog.Logger) (books engine.Books, letters int64) {
	t.Helper()
	srv := httptest.NewServer(simulator.New(simulator.Options{Rate: -1, Keep: -1}))
	defer srv.Close()
	c, err := Parse("t.yaml", fmt.Appendf(nil,
		"jobs: {spots: {collect: {source: {wsprnet: {url: %q, max_bytes_per_second: -1}}, "+
			"sinks: {local: {sqlite: {path: spots.sqlite}, batch: {every: 1ms}}}}}}", srv.URL+simulator.SpotsPath), env)
	if err != nil {
		t.Fatal(err)
	}
	work := c.Jobs[0].work.(*collectConfig)
	work.once, work.onStart = true, caches{dirs: []string{dir}, log: log}.take
	p := &Plan{Place: place, Jobs: c.Jobs, Log: slog.New(slog.DiscardHandler), Once: true}
	eng, err := p.Engine(func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	if err := eng.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = p.AtRest("spots", func(env engine.Env) error {
		return env.Store.View(t.Context(), func(r store.Reader) error {
			var lerr error
			books, err = engine.ReadBooks(r, "spots")
			letters, lerr = balance.Letters(r)
			return errors.Join(err, lerr)
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return books, letters
}

// A cache file that is still there at the next start, because it could not be deleted or the power
// failed before, makes no second dead letter of what is cut in it, nor of its damage as a whole.
func TestCacheFileThatStays(t *testing.T) {
	const row = `[%, 1762784625, 7, "N7TUG", 47.6875, -122.375, "CN87tq", "KN0VA", 45.479167, ` +
		`-93.041667, "EN35", 2242, 287, 99, 7040061, 37, -24, 0, "", 1]`
	files := map[string]string{
		"spots_20251110_142345_000001.json": `{"spots": [` + strings.Replace(row, "%", "91", 1) + `, [92, 17`,
		"spots_20251110_142345_000002.json": "",
		"spots_20251110_142345_000003.json": `{"spot_count": 3, "spots": [` +
			strings.Replace(row, "%", "93", 1) + `]}`,
	}
	place, dir := datadir.Place{Dir: t.TempDir(), Explicit: true}, t.TempDir()
	var told bytes.Buffer
	for start := range 3 {
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		told.Reset()
		books, letters := replay(t, place, dir, slog.New(slog.NewTextHandler(&told, nil)))
		if in := books.Intake; !books.Balanced() || letters != 3 || in.Accepted != 2 || in.Rejected != 3 {
			t.Errorf("start %d: %d dead letters, %+v; want 3 and 2 rows", start, letters, in)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("start %d: %v are still there", start, left)
		}
		if again := strings.Contains(told.String(), "taken in before"); again != (start > 0) {
			t.Errorf("start %d: the log says\n%s", start, &told)
		}
	}
}
