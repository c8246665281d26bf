package crawl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/base/warc"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
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

// TestOriginalsGone: a revisit refers to nothing that was taken away. What a person removed is archived again as a whole,
// and is what later crawls refer to.
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

// TestLostTold: that WARC files are gone is told in the history and in the status, also of the crawl at rest, and is
// forgotten when they are back.
func TestLostTold(t *testing.T) {
	r := newRig(t, map[string]string{"/": "home"})
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(r.cfg.Archive.Dir, "*.warc.gz"))
	away := filepath.Join(t.TempDir(), "away")
	if err := os.Rename(files[0], away); err != nil {
		t.Fatal(err)
	}
	told := func() (notes string, events int) {
		if err := r.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		st, err := store.Open(filepath.Join(r.dir, "store"), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		err = st.Latest(func(rd store.Reader) error {
			all, err := NotesAtRest(rd)
			for _, n := range all {
				notes += n[0] + ": " + n[1] + "\n"
			}
			if err != nil {
				return err
			}
			history, err := engine.ReadEvents(rd, 0, 1000)
			for _, e := range history {
				if e.Kind == "crawl.lost" && e.Warn {
					events++
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return notes, events
	}
	want := "lost: 1 WARC file is not as written: " + filepath.Base(files[0]) + " is gone. "
	for n := range 2 {
		if notes, events := told(); !strings.Contains(notes, want) || events != n+1 {
			t.Errorf("%d events, notes:\n%s", events, notes)
		}
	}
	if err := os.Rename(away, files[0]); err != nil {
		t.Fatal(err)
	}
	if notes, events := told(); strings.Contains(notes, "lost:") || events != 2 {
		t.Errorf("%d events, notes:\n%s", events, notes)
	}
}
