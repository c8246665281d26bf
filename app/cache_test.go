package app

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/app/datadir"
	"holdfast/kernel/balance"
	"holdfast/kernel/store"
)

// replay runs a cycle of a job that takes the cache files of a directory in first.
func replay(t *testing.T, place datadir.Place, feed, dir string, log *slog.Logger) (a Audit, letters int64) {
	t.Helper()
	c, err := Parse("t.yaml", []byte(configText(feed)), env)
	if err != nil {
		t.Fatal(err)
	}
	work := c.Jobs[0].work.(*collectConfig)
	work.once, work.onStart = true, caches{dirs: []string{dir}, log: log}.take
	runOnce(t, place, c)
	d, err := OpenDesk(place, c)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if a, err = d.Audit(t.Context(), "", false, nil); err != nil {
		t.Fatal(err)
	}
	return a, a.Letters
}

func runOnce(t *testing.T, place datadir.Place, c *Config) {
	t.Helper()
	p := &Plan{Place: place, Jobs: c.Jobs, Log: slog.New(slog.DiscardHandler), Once: true}
	lock, err := p.Lock()
	if err != nil {
		t.Fatal(err)
	}
	eng, err := p.Engine(func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	if err := eng.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
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
	_, url := feedOf(t, 0)
	place, dir := datadir.Place{Dir: t.TempDir(), Explicit: true}, t.TempDir()
	var told bytes.Buffer
	for start := range 3 {
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		told.Reset()
		a, letters := replay(t, place, url, dir, slog.New(slog.NewTextHandler(&told, nil)))
		if in := a.Jobs[0].Intake; !a.Balanced || letters != 3 || in.Accepted != 2 || in.Rejected != 3 {
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

// What an import takes in by hand is known as well: the files stay, and come again.
func TestImportTwice(t *testing.T) {
	_, url := feedOf(t, 0)
	place, dir := datadir.Place{Dir: t.TempDir(), Explicit: true}, t.TempDir()
	cycle(t, place, url)
	name := filepath.Join(dir, "spots_20251110_142345_000001.json")
	if err := os.WriteFile(name, []byte(`{"spots": [[92, 17`), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := Parse("t.yaml", []byte(configText(url)), env)
	if err != nil {
		t.Fatal(err)
	}
	d, err := OpenDesk(place, c)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for i, want := range []Imported{{Files: 1, Read: 1, Rejected: 1}, {Files: 1, Read: 1, Duplicate: 1}} {
		got, err := d.Import(t.Context(), "spots", dir, nil)
		want.Stayed = got.Stayed
		if err != nil || len(got.Stayed) != 0 || got.Read != want.Read || got.Rejected != want.Rejected ||
			got.Duplicate != want.Duplicate {
			t.Errorf("import %d: got %+v, %v; want %+v", i, got, err, want)
		}
	}
	err = d.view(t.Context(), "spots", func(r store.Reader) error {
		if n, err := balance.Letters(r); n != 1 || err != nil {
			t.Errorf("got %d dead letters, %v; want one", n, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
