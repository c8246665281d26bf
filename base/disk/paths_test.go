package disk

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOverlap(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"data/deep", "database"} {
		if err := os.MkdirAll(at(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(at("data"), at("link")); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		a, b string
		want bool
	}{{"data", "data", true}, {"data", "data/deep", true}, {"data/deep", "data", true}, {"data", "link", true}, {"link/deep", "data", true},
		{"data", "data/not/there", true}, {"data", "link/not/there", true}, {"data", "database", false}, {"database", "link/deep", false}} {
		if got := Overlap(at(x.a), at(x.b)); got != x.want {
			t.Errorf("%s and %s: got %v, want %v", x.a, x.b, got, x.want)
		}
	}
}
