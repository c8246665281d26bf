package crawl

import (
	"os"
	"path/filepath"
	"testing"

	"holdfast/base/warc"
)

// removeWARCs removes all WARC files that have ended.
func (r *rig) removeWARCs() {
	r.Helper()
	files, err := filepath.Glob(filepath.Join(r.cfg.Archive.Dir, "*.warc.gz"))
	if err != nil || len(files) == 0 {
		r.Fatal(files, err)
	}
	for _, name := range files {
		if err := os.Remove(name); err != nil {
			r.Fatal(err)
		}
	}
}

// TestOriginalsGone: a revisit refers to nothing that was taken away. What a person removed is archived again as a whole, and is what
// later crawls refer to.
func TestOriginalsGone(t *testing.T) {
	r := newRig(t, map[string]string{"/": `<a href="/a">a</a>`, "/a": `same <a href="/b">b</a>`, "/b": `same <a href="/b">b</a>`})
	r.cfg.Workers = 1
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.removeWARCs()
	r.cfg.Again = true
	for _, want := range []int{1, 4} { // /b of the first; then all three are known
		if err := r.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		there, n := map[string]bool{}, 0
		for _, all := range r.kept(warc.Response) {
			for _, f := range all {
				there[f.Get("WARC-Target-URI")+" "+f.Get("WARC-Date")] = true
			}
		}
		for path, all := range r.kept(warc.Revisit) {
			for _, f := range all {
				n++
				if of := f.Get("WARC-Refers-To-Target-URI") + " " + f.Get("WARC-Refers-To-Date"); !there[of] {
					t.Errorf("a revisit of %s refers to %s, which is not there", path, of)
				}
			}
		}
		if n != want {
			t.Errorf("there are %d revisits, want %d", n, want)
		}
	}
}
