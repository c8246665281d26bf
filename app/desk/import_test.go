package desk

import (
	"os"
	"path/filepath"
	"testing"

	"holdfast/app/datadir"
	"holdfast/kernel/balance"
	"holdfast/kernel/store"
)

// What an import takes in by hand is known as well: the files stay, and come again.
func TestImportTwice(t *testing.T) {
	_, url := feedOf(t, 0)
	place, dir := datadir.Place{Dir: t.TempDir(), Explicit: true}, t.TempDir()
	cycle(t, place, url)
	name := filepath.Join(dir, "spots_20251110_142345_000001.json")
	if err := os.WriteFile(name, []byte(`{"spots": [[92, 17`), 0o644); err != nil {
		t.Fatal(err)
	}
	d := deskOf(t, place, configText(url))
	for i, want := range []Imported{{Files: 1, Read: 1, Rejected: 1}, {Files: 1, Read: 1, Duplicate: 1}} {
		got, err := d.Import(t.Context(), "spots", dir, nil)
		want.Stayed = got.Stayed
		if err != nil || len(got.Stayed) != 0 || got.Read != want.Read || got.Rejected != want.Rejected ||
			got.Duplicate != want.Duplicate {
			t.Errorf("import %d: got %+v, %v; want %+v", i, got, err, want)
		}
	}
	err := d.view(t.Context(), "spots", func(r store.Reader) error {
		if n, err := balance.Letters(r); n != 1 || err != nil {
			t.Errorf("got %d dead letters, %v; want one", n, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
