package crawl

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"holdfast/base/fault"
	"holdfast/job/crawl/archive"
	"holdfast/job/crawl/index"
	"holdfast/job/crawl/journal"
	"holdfast/job/crawl/outfile/outfiletest"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// killed is a crawl of a tree that ended without a word when it had some URLs; open is the WARC file that it wrote to.
func killed(t *testing.T) (r *rig, open string) {
	t.Helper()
	for requests := 26; ; requests++ { // at some a file has just ended
		r = newRig(t, tree(60))
		r.cfg.Workers, r.cfg.Archive.MaxSize, r.cfg.Journal = 1, 8_000, true
		var dead atomic.Bool
		r.cfg.Archive.Disk = &outfiletest.Disk{Before: func(outfiletest.Change) error {
			if dead.Load() {
				return outfiletest.ErrCut
			}
			return nil
		}}
		fetch, n := r.cfg.Fetch, 0
		r.cfg.Fetch = hooked{fetch, func(string) error {
			if n++; n == requests {
				dead.Store(true)
			}
			return nil
		}}
		if err := r.run(t.Context()); !errors.Is(err, outfiletest.ErrCut) {
			t.Fatal(err)
		}
		r.cfg.Fetch, r.cfg.Archive.Disk = fetch, nil
		var state struct {
			Open struct {
				Name string
				Size int
			}
		}
		r.atRest(func(env engine.Env) {
			err := env.Store.Latest(func(rd store.Reader) error {
				v, _, err := rd.Get(store.Key{byte(store.Job), 'A'})
				return errors.Join(err, json.Unmarshal(v, &state))
			})
			if err != nil {
				t.Fatal(err)
			}
		})
		if ended, _ := filepath.Glob(filepath.Join(r.cfg.Archive.Dir, "*.warc.gz")); state.Open.Size > 3000 && len(ended) > 0 {
			return r, filepath.Join(r.cfg.Archive.Dir, state.Open.Name+archive.OpenSuffix)
		}
	}
}

// cutTo leaves so many bytes of a file.
func (r *rig) cutTo(name string, size int64) {
	r.Helper()
	if err := os.Truncate(name, size); err != nil {
		r.Fatal(err)
	}
}

// TestGoneFetched: what a WARC file had that is gone, or cut short, is fetched again if a person orders it, and nothing else
// is; the crawl goes on, its index is whole, and nobody is warned any more.
func TestGoneFetched(t *testing.T) {
	for name, spoil := range map[string]func(r *rig, open string){
		"open gone":  func(r *rig, open string) { _ = os.Remove(open) },
		"open cut":   func(r *rig, open string) { r.cutTo(open, 2500) },
		"open empty": func(r *rig, open string) { r.cutTo(open, 0) },
		"ended gone": func(r *rig, _ string) {
			all, _ := filepath.Glob(filepath.Join(r.cfg.Archive.Dir, "*.warc.gz"))
			_ = os.Remove(all[0])
		},
		"logs gone": func(r *rig, open string) {
			_ = os.Remove(open)
			_ = os.Remove(filepath.Join(r.cfg.Logs, errorsLog))
			_ = os.Remove(filepath.Join(r.cfg.Logs, progressLog))
			r.cutTo(filepath.Join(r.cfg.Logs, journal.Name), 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, open := killed(t)
			spoil(r, open)
			if name != "ended gone" {
				if _, err := r.order("hold", Order{Host: "x"}); !fault.Is(err, fault.Corrupt) || !NeedsPerson(err) || !strings.Contains(err.Error(), filepath.Base(open)) {
					t.Fatal(err)
				}
			}
			said, err := r.order("lost", Order{})
			if err != nil || !strings.Contains(said, ".warc.gz") || !strings.Contains(said, "--fetch") {
				t.Fatal(said, err)
			}
			if said, err = r.order("lost", Order{Fetch: true}); err != nil || !strings.Contains(said, "fetched again") {
				t.Fatal(said, err)
			}
			t.Log(said)
			if said, err := r.order("lost", Order{}); err != nil || !strings.Contains(said, "as they were written") {
				t.Fatal(said, err)
			}
			if err := r.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := map[string]int{"/robots.txt": 1, "/gone": 1}
			for path := range r.site.pages {
				want[path] = 1
			}
			if got := r.archived(); !maps.Equal(got, want) {
				t.Errorf("archived: %v", got)
			}
			if c := r.counts(); int(c.Done) != len(want) || c.Queued+c.Waiting+c.Failed != 0 {
				t.Errorf("%+v", c)
			}
			if said, err := r.order("index", Order{}); err != nil || said != "index.cdxj has 63 captures" {
				t.Error(said, err)
			}
			told := 0
			for _, e := range r.events() {
				if e.Kind == "crawl.lost" && strings.Contains(e.Text, "a person has files given up") {
					told++
				}
			}
			if told != 1 {
				t.Errorf("%v", r.events())
			}
		})
	}
}

func (r *rig) requests() (n int) {
	r.site.mu.Lock()
	defer r.site.mu.Unlock()
	for _, times := range r.site.asked {
		n += times
	}
	return n
}

// TestGoneAccepted: WARC files that a person moved away are looked for no more, nothing is fetched again, and the index has
// them still.
func TestGoneAccepted(t *testing.T) {
	r, open := killed(t)
	ended, _ := filepath.Glob(filepath.Join(r.cfg.Archive.Dir, "*.warc.gz"))
	for _, name := range append(ended, open) {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	done := r.counts().Done
	before := r.requests()
	if said, err := r.order("lost", Order{Accept: true}); err != nil || !strings.Contains(said, filepath.Base(ended[0])) {
		t.Fatal(said, err)
	}
	if c := r.counts(); c.Done != done {
		t.Errorf("%+v", c)
	}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := r.requests() - before; n != 63-int(done) {
		t.Errorf("%d requests, and %d were done", n, done)
	}
	if said, err := r.order("lost", Order{}); err != nil || !strings.Contains(said, "as they were written") {
		t.Error(said, err)
	}
	text, err := os.ReadFile(filepath.Join(r.cfg.Archive.Dir, index.File))
	if err != nil || strings.Count(string(text), "\n") != 63 {
		t.Errorf("the index has %d lines, %v", strings.Count(string(text), "\n"), err)
	}
	for _, e := range r.events() {
		if e.Kind == "crawl.lost" && strings.Contains(e.Text, "not as written") {
			t.Error(e.Text)
		}
	}
}

// TestGoneIsBack: WARC files that were given up and come back count again, also the one that had not ended; what comes back is
// not what was written is not touched.
func TestGoneIsBack(t *testing.T) {
	for name, order := range map[string]Order{"accepted": {Accept: true}, "fetched": {Fetch: true}, "spoilt": {Accept: true}} {
		t.Run(name, func(t *testing.T) {
			r, open := killed(t)
			files, _ := filepath.Glob(filepath.Join(r.cfg.Archive.Dir, "*.warc.gz*"))
			away := t.TempDir()
			move := func(from, to string) {
				if err := os.Rename(filepath.Join(from, filepath.Base(open)), filepath.Join(to, filepath.Base(open))); err != nil {
					t.Fatal(err)
				}
				for _, name := range files {
					if name != open {
						if err := os.Rename(filepath.Join(from, filepath.Base(name)), filepath.Join(to, filepath.Base(name))); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			done := int(r.counts().Done)
			move(r.cfg.Archive.Dir, away)
			if said, err := r.order("lost", order); err != nil {
				t.Fatal(said, err)
			}
			if err := r.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			move(away, r.cfg.Archive.Dir)
			want := map[string]int{"accepted": 63, "fetched": 63 + done, "spoilt": 63}[name]
			told := "crawl.back"
			if name == "spoilt" {
				r.cutTo(open, 100)
				told = "crawl.left"
			}
			for range 2 {
				if err := r.run(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if said, err := r.order("lost", Order{}); err != nil || !strings.Contains(said, "as they were written") {
				t.Error(said, err)
			}
			_, left := os.Stat(open)
			_, ended := os.Stat(strings.TrimSuffix(open, archive.OpenSuffix))
			if name == "spoilt" && (left != nil || ended == nil) || name != "spoilt" && (left == nil || ended != nil) {
				t.Errorf("not ended: %v, ended: %v", left, ended)
			}
			if said, err := r.order("index", Order{}); err != nil || said != fmt.Sprintf("index.cdxj has %d captures", want) {
				t.Error(said, err)
			}
			if _, err := os.Stat(filepath.Join(r.cfg.Archive.Dir, "quarantine", filepath.Base(open))); err == nil {
				t.Error("it is in quarantine") // as a whole; what was never committed of it may be
			}
			if name == "fetched" {
				n := 0
				for _, times := range r.archived() {
					n += times
				}
				if n != want {
					t.Errorf("%d captures are archived, want %d", n, want)
				}
			}
			said := false
			for _, e := range r.events() {
				said = said || e.Kind == told && strings.Contains(e.Text, filepath.Base(strings.TrimSuffix(open, archive.OpenSuffix)))
			}
			if !said {
				t.Errorf("there is no %s in %v", told, r.events())
			}
		})
	}
}

// TestStoreGone: a crawl whose store is gone does not begin anew where its WARC files are, unless it is told to.
func TestStoreGone(t *testing.T) {
	r := newRig(t, map[string]string{"/": "home"})
	for range 2 {
		if err := r.run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(r.dir, "store")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.order("hold", Order{Host: "x"}); !fault.Is(err, fault.Conflict) || !NeedsPerson(err) || !strings.Contains(err.Error(), "has WARC files of a crawl site") {
		t.Fatal(err)
	}
	r.cfg.Archive.Name = "other"
	if _, err := r.order("drain", Order{}); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(r.dir, "store")); err != nil {
		t.Fatal(err)
	}
	r.cfg.Archive.Name, r.cfg.Beside = "site", true
	for range 2 {
		if err := r.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.cfg.Beside = false
	}
	if got := r.archived(); got["/"] != 2 {
		t.Errorf("archived: %v", got)
	}
	text, err := os.ReadFile(filepath.Join(r.cfg.Archive.Dir, index.File)) // what was there before is in it still
	if err != nil || strings.Count(string(text), "\n") != 4 {
		t.Errorf("the index is %s, %v", text, err)
	}
}
