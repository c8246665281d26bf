package crawl

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/base/fault"
	"holdfast/base/warc"
	"holdfast/job/crawl/index"
)

// rigOfFiles is a crawl, done by one worker, whose WARC files have a capture each.
func rigOfFiles(t *testing.T, pages map[string]string) *rig {
	t.Helper()
	r := newRig(t, pages)
	r.cfg.Workers, r.cfg.Archive.MaxSize = 1, 1
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// toB is a page that leads to /b: one that is the same is found when the first is committed.
const toB = `<a href="/b">b</a>`

// fileOf is the WARC file that has the first capture of a path.
func (r *rig) fileOf(path string) string {
	r.Helper()
	text, err := os.ReadFile(filepath.Join(r.cfg.Archive.Dir, index.File))
	if err != nil {
		r.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if _, rest, ok := strings.Cut(line, `"filename": "`); ok && strings.Contains(line, `"url": "`+r.site.URL+path+`"`) {
			name, _, _ := strings.Cut(rest, `"`)
			return filepath.Join(r.cfg.Archive.Dir, name)
		}
	}
	r.Fatalf("the index has no %s:\n%s", path, text)
	return ""
}

// fetchLost has what is gone fetched again, and says what it was told.
func (r *rig) fetchLost() (said string, err error) {
	r.Helper()
	said, err = r.order("lost", Order{Fetch: true})
	r.Log(said, err)
	if err := r.run(r.Context()); err != nil {
		r.Fatal(err)
	}
	return said, err
}

// resolved are the paths whose payload is there: of a response, or of a revisit of one that is.
func (r *rig) resolved() map[string]bool {
	r.Helper()
	there, all := map[string]bool{}, map[string]bool{}
	for path, kept := range r.kept(warc.Response) {
		for _, f := range kept {
			there[f.Get("WARC-Target-URI")+" "+f.Get("WARC-Date")], all[path] = true, true
		}
	}
	for path, kept := range r.kept(warc.Revisit) {
		for _, f := range kept {
			if there[f.Get("WARC-Refers-To-Target-URI")+" "+f.Get("WARC-Refers-To-Date")] {
				all[path] = true
			}
		}
	}
	return all
}

// TestGoneRevisits: a URL whose revisit refers to what is gone is fetched again too, and one whose revisit does not is not.
func TestGoneRevisits(t *testing.T) {
	r := rigOfFiles(t, map[string]string{"/": `<a href="/a">a</a><a href="/c">c</a>`, "/a": toB, "/b": toB,
		"/c": `<a href="/d">d</a>`, "/d": `<a href="/d">d</a>`})
	if err := os.Remove(r.fileOf("/a")); err != nil {
		t.Fatal(err)
	}
	if r.resolved()["/b"] {
		t.Fatal("b refers to nothing that is gone")
	}
	said, err := r.fetchLost()
	if err != nil || !strings.Contains(said, "2 URLs are fetched again, 1 of them as their revisits refer to what is gone") {
		t.Error(said, err)
	}
	if got := r.resolved(); len(got) != 6 {
		t.Errorf("there are %v", got)
	}
	if want := (map[string]int{"/robots.txt": 1, "/": 1, "/a": 2, "/b": 2, "/c": 1, "/d": 1}); !maps.Equal(r.site.asked, want) {
		t.Errorf("asked %v", r.site.asked)
	}
}

// TestGoneWithIndex: what has no line in the index any more, be it of some captures or of all, is found by what the store has of
// payloads, and by crawl.log.
func TestGoneWithIndex(t *testing.T) {
	pages := map[string]string{"/": `<a href="/a">a</a><a href="/empty">e</a>`, "/a": toB, "/b": toB, "/empty": ""}
	all := map[string]int{"/robots.txt": 1, "/": 1, "/a": 1, "/b": 1, "/empty": 1}
	for name, spoil := range map[string]func(r *rig) error{
		"all": func(r *rig) error { return os.RemoveAll(r.cfg.Archive.Dir) },
		"some": func(r *rig) error {
			runs, _ := filepath.Glob(filepath.Join(r.cfg.Archive.Dir, "index", "*.run"))
			return errors.Join(removeAll(r, "*.warc.gz", "index.cdxj"), os.Remove(runs[len(runs)-1]))
		},
		"the log": func(r *rig) error { return removeAll(r, "*.warc.gz", "index.cdxj", "index/*", "../logs/crawl.log") },
	} {
		t.Run(name, func(t *testing.T) {
			r := rigOfFiles(t, pages)
			all := maps.Clone(all)
			if err := spoil(r); err != nil {
				t.Fatal(err)
			}
			said, err := r.fetchLost()
			if name == "the log" {
				for _, path := range []string{"/empty", "/b"} { // neither had a payload of its own
					delete(all, path)
				}
				if !fault.Is(err, fault.Corrupt) || fault.HintOf(err) == "" ||
					!strings.Contains(err.Error(), "3 URLs are fetched again; 2 captures stay lost") || !strings.Contains(err.Error(), "1 of site-") {
					t.Errorf("%q %v", said, err)
				}
			} else if err != nil || !strings.Contains(said, "5 URLs are fetched again") {
				t.Errorf("%q %v", said, err)
			}
			if got := r.archived(); !maps.Equal(got, all) {
				t.Errorf("archived: %v, want %v", got, all)
			}
			if said, err := r.order("lost", Order{}); err != nil || !strings.Contains(said, "as they were written") {
				t.Error(said, err)
			}
		})
	}
}

// removeAll removes what is in the directory of WARC files by patterns.
func removeAll(r *rig, patterns ...string) error {
	for _, pattern := range patterns {
		names, err := filepath.Glob(filepath.Join(r.cfg.Archive.Dir, pattern))
		if err != nil || len(names) == 0 {
			r.Fatalf("%s: %v %v", pattern, names, err)
		}
		for _, name := range names {
			if err := os.RemoveAll(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestGoneOfEarlierRound: what a crawl had before it began again, and has not come upon since, is fetched again too.
func TestGoneOfEarlierRound(t *testing.T) {
	r := rigOfFiles(t, map[string]string{"/": `<a href="/old">old</a>`, "/old": "old"})
	r.site.pages["/"] = "nothing leads anywhere"
	r.cfg.Again = true
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.cfg.Again = false
	if err := os.Remove(r.fileOf("/old")); err != nil {
		t.Fatal(err)
	}
	if said, err := r.fetchLost(); err != nil || !strings.Contains(said, "1 URL is fetched again") {
		t.Error(said, err)
	}
	if got := r.archived(); got["/old"] != 1 || r.site.asked["/old"] != 2 {
		t.Errorf("archived %v, asked %v", got, r.site.asked)
	}
}
