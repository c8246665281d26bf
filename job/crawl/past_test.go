package crawl

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"holdfast/base/warc"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// tagged is a site that says 304 to who has what it has.
type tagged struct {
	*httptest.Server
	mu     sync.Mutex
	pages  map[string]string
	by     map[string]string // the field by which a page is told: ETag or Last-Modified
	asked  map[string]int
	whole  map[string]int // answers that were not 304
	fields map[string]http.Header
}

func newTagged(t *testing.T) *tagged {
	s := &tagged{by: map[string]string{"/a": "Last-Modified", "/b": "ETag", "/": "ETag", "/img.png": "ETag"},
		pages: map[string]string{"/": `<a href="/a">a</a>`, "/a": `<a href="/b">b</a><img src="/img.png">`, "/b": `<a href="/new">n</a>`,
			"/img.png": "\x89PNG\x00", "/new": "never tagged"}, fields: map[string]http.Header{}}
	s.forget()
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked[r.URL.Path]++
		s.fields[r.URL.Path] = r.Header
		page, ok := s.pages[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		field, text := s.by[r.URL.Path], fmt.Sprintf(`"%x"`, len(page))
		ask := map[string]string{"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}[field]
		if field == "Last-Modified" {
			text = fmt.Sprintf("Sun, 06 Nov 1994 08:49:%02d GMT", len(page)%60)
		}
		if field != "" {
			w.Header().Set(field, text)
		}
		if ask != "" && r.Header.Get(ask) == text {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		s.whole[r.URL.Path]++
		w.Header().Set("Content-Type", "text/html")
		if strings.HasSuffix(r.URL.Path, ".png") {
			w.Header().Set("Content-Type", "image/png")
		}
		_, _ = io.WriteString(w, page)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *tagged) forget() { s.asked, s.whole = map[string]int{}, map[string]int{} }

// crawlTagged crawls it in a place of its own.
func crawlTagged(t *testing.T, s *tagged) *rig {
	r := newRig(t, nil)
	r.site.Server = s.Server
	r.cfg.Seeds = []string{s.URL + "/"}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// kept are the records of a type that were written, by path, of the files of a crawl in order.
func (r *rig) kept(of warc.Type) map[string][]warc.Fields {
	r.Helper()
	all := map[string][]warc.Fields{}
	files, err := filepath.Glob(filepath.Join(r.cfg.Archive.Dir, "*.warc.gz"))
	if err != nil {
		r.Fatal(err)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			r.Fatal(err)
		}
		defer f.Close()
		for in := warc.NewReader(f, 0); ; {
			e, err := in.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				r.Fatal(err)
			}
			if e.Type == of {
				path := strings.TrimPrefix(e.TargetURI, r.site.URL)
				all[path] = append(all[path], e.Fields)
			}
		}
	}
	return all
}

// lines are the lines of crawl.log that are about a path.
func (r *rig) lines(path string) (all []string) {
	r.Helper()
	b, err := os.ReadFile(filepath.Join(r.cfg.Logs, crawlLog))
	if err != nil {
		r.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); f[3] == r.site.URL+path {
			all = append(all, strings.TrimSuffix(line, "\n"))
		}
	}
	return all
}

// TestAgain: of what it has a recrawl asks whether it has changed. What has not is a revisit of the record that has it,
// and leads where it led; what has changed is archived. So it is in the crawl after that, whose last captures are
// revisits.
func TestAgain(t *testing.T) {
	s := newTagged(t)
	r := crawlTagged(t, s)
	r.cfg.Again = true
	first := r.kept(warc.Response)
	for round := 1; round <= 2; round++ {
		s.forget()
		s.pages["/b"] += "<p>and more"
		if err := r.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/", "/a", "/b", "/img.png", "/new"} {
			want := 0
			if s.by[path] == "" || path == "/b" {
				want = 1
			}
			if s.asked[path] != 1 || s.whole[path] != want {
				t.Errorf("round %d: %s was asked for %d times, and answered %d times", round, path, s.asked[path], s.whole[path])
			}
		}
		if h := s.fields["/robots.txt"]; h.Get("If-None-Match")+h.Get("If-Modified-Since") != "" {
			t.Errorf("the rules of a host were asked for with %v", h)
		}
		revisits := r.kept(warc.Revisit)
		for _, path := range []string{"/", "/a", "/img.png"} {
			if len(revisits[path]) != round {
				t.Fatalf("round %d: there are %d revisits of %s", round, len(revisits[path]), path)
			}
			was, is := first[path][0], revisits[path][round-1]
			for name, want := range map[string]string{"WARC-Profile": warc.NotModified, "WARC-Refers-To-Target-URI": s.URL + path,
				"WARC-Refers-To-Date": was.Get("WARC-Date"), "WARC-Refers-To": was.Get("WARC-Record-ID"),
				"WARC-Payload-Digest": was.Get("WARC-Payload-Digest"), "WARC-Truncated": ""} {
				if is.Get(name) != want {
					t.Errorf("round %d: %s of the revisit of %s is %q, want %q", round, name, path, is.Get(name), want)
				}
			}
		}
		if lines := r.lines("/a"); len(lines) != round+1 || !strings.HasSuffix(lines[round], " warcRevisit:notModified") ||
			!strings.Contains(lines[round], "Z   304          0 ") ||
			strings.Fields(lines[round])[9] != first["/a"][0].Get("WARC-Payload-Digest") {
			t.Errorf("round %d: crawl.log has %q", round, lines)
		}
		r.archived() // they are whole
	}
	if got := len(r.kept(warc.Response)["/b"]); got != 3 {
		t.Errorf("what changed was archived %d times", got)
	}
}

// TestAgainTwins: of two URLs with one content, the second of which is a revisit of the first, a recrawl asks whether they
// have changed by the ETag of each; what has not is a revisit of the record with the content, and leads on from its own
// URL.
func TestAgainTwins(t *testing.T) {
	s := newTagged(t)
	const twin = `<a href="deeper/">d</a>`
	// The one that is found when the other is committed is the revisit.
	s.pages = map[string]string{"/": `<a href="/one/">1</a>`, "/one/": twin, "/one/deeper/": `<a href="/two/">2</a>`, "/two/": twin, "/two/deeper/": "end"}
	s.by = map[string]string{"/one/": "ETag", "/two/": "Last-Modified"}
	r := crawlTagged(t, s)
	r.cfg.Again = true
	one := r.kept(warc.Response)["/one/"]
	if was := r.kept(warc.Revisit)["/two/"]; len(was) != 1 || len(one) != 1 {
		t.Fatalf("before: %v, %v", one, was)
	}
	for round := 1; round <= 2; round++ {
		s.forget()
		if err := r.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for path := range s.pages {
			want := 1
			if s.by[path] != "" {
				want = 0
			}
			if s.asked[path] != 1 || s.whole[path] != want {
				t.Errorf("round %d: %s was asked for %d times, and answered %d times", round, path, s.asked[path], s.whole[path])
			}
		}
		two := r.kept(warc.Revisit)["/two/"]
		if len(two) != round+1 {
			t.Fatalf("round %d: %d revisits", round, len(two))
		}
		if is := two[round]; is.Get("WARC-Profile") != warc.NotModified || is.Get("WARC-Refers-To") != one[0].Get("WARC-Record-ID") ||
			is.Get("WARC-Refers-To-Target-URI") != s.URL+"/one/" {
			t.Errorf("round %d: %v", round, is)
		}
	}
}

// TestEarlierKnown: another crawl's archive is as good to ask by, unless its WARC files are not there any more, or a
// setting says no.
func TestEarlierKnown(t *testing.T) {
	s := newTagged(t)
	old := crawlTagged(t, s)
	crawl := func(change func(r *rig)) *rig {
		s.forget()
		r := newRig(t, nil)
		r.site.Server, r.cfg.Seeds, r.cfg.Earlier = s.Server, []string{s.URL + "/"}, []string{old.cfg.Archive.Dir}
		change(r)
		if err := r.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for path := range s.pages {
			if s.asked[path] != 1 {
				t.Errorf("%s was asked for %d times", path, s.asked[path])
			}
		}
		return r
	}
	if r := crawl(func(*rig) {}); len(s.whole) != 1 || len(r.kept(warc.Revisit)) != 5 {
		t.Errorf("whole: %v, revisits: %v", s.whole, r.kept(warc.Revisit))
	}
	no := false
	if crawl(func(r *rig) { r.cfg.Settings.Conditional = &no }); len(s.whole) != len(s.pages) {
		t.Errorf("with conditional: false whole: %v", s.whole)
	}
	files, _ := filepath.Glob(filepath.Join(old.cfg.Archive.Dir, "*.warc.gz"))
	for _, f := range files {
		if err := os.Rename(f, filepath.Join(t.TempDir(), "away")); err != nil {
			t.Fatal(err)
		}
	}
	if crawl(func(*rig) {}); len(s.whole) != len(s.pages) {
		t.Errorf("without the WARC files whole: %v", s.whole)
	}
}

// TestDamagedPast: a page that has not changed, and whose record can't be read for its links, is fetched once more as a
// whole. None of what it leads to is lost.
func TestDamagedPast(t *testing.T) {
	s := newTagged(t)
	r := crawlTagged(t, s)
	files, _ := filepath.Glob(filepath.Join(r.cfg.Archive.Dir, "*.warc.gz"))
	f, err := os.OpenFile(files[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for in := warc.NewReader(f, 0); ; {
		e, err := in.Next()
		if err != nil {
			t.Fatal(err)
		}
		end, err := e.End()
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == warc.Response && e.TargetURI == s.URL+"/a" {
			if _, err := f.WriteAt([]byte{1, 2, 3, 4}, end-8); err != nil { // its checksum
				t.Fatal(err)
			}
			break
		}
	}
	s.forget()
	retry := r.cfg.Settings.MinDelay
	r.cfg.Again, r.cfg.Settings.RetryAfter = true, retry
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.asked["/a"] != 2 || s.whole["/a"] != 1 || s.asked["/b"] != 1 || s.asked["/img.png"] != 1 || s.whole["/b"] != 0 {
		t.Errorf("asked: %v, whole: %v", s.asked, s.whole)
	}
	if lines := r.lines("/a"); len(lines) != 2 || !strings.Contains(lines[1], "   200 ") {
		t.Errorf("crawl.log has %q", lines)
	}
}

// TestNovelties: what is novel, a duplicate or not modified is counted, of the crawl and of each host, as are the bytes of
// types.
func TestNovelties(t *testing.T) {
	s := newTagged(t)
	const twice = `<a href="/same">s</a>` // it is found when the first is committed
	s.pages["/new"], s.pages["/same"] = twice, twice
	r := crawlTagged(t, s)
	look := func(want Novelties) {
		t.Helper()
		var whole, host Novelties
		var types map[string]uint64
		r.atRest(func(env engine.Env) {
			err := env.Store.Latest(func(rd store.Reader) error {
				sum, err := ReadReport(rd, r.cfg, "crawl", "", 0)
				if err != nil {
					return err
				}
				hosts, err := ReadReport(rd, r.cfg, "hosts", "", 10)
				if err != nil {
					return err
				}
				media, err := ReadReport(rd, r.cfg, "mimetype", "", 0)
				whole, host, types = sum.Crawl.Novelties, hosts.Hosts[0].Novelties, map[string]uint64{}
				all := uint64(0)
				for _, m := range media.Types {
					types[m.Of], all = m.Bytes, all+m.Bytes
				}
				if all != sum.Crawl.Bytes-sum.Crawl.NotModifiedBytes { // those have no type
					t.Errorf("types have %d bytes, the crawl %d", all, sum.Crawl.Bytes)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
		if whole != host || types["image/png"] == 0 && want.NotModifiedURLs == 0 {
			t.Errorf("the crawl has %+v, its host %+v; types %v", whole, host, types)
		}
		if want.NovelBytes = whole.NovelBytes; want.DuplicateURLs > 0 {
			want.DuplicateBytes = whole.DuplicateBytes
		}
		if want.NotModifiedURLs > 0 {
			want.NotModifiedBytes = whole.NotModifiedBytes
		}
		if whole != want || want.DuplicateURLs > 0 && whole.DuplicateBytes == 0 {
			t.Errorf("got %+v, want %+v", whole, want)
		}
	}
	look(Novelties{NovelURLs: 6, DuplicateURLs: 1}) // robots.txt among them
	r.cfg.Again = true
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	look(Novelties{NovelURLs: 1, DuplicateURLs: 2, NotModifiedURLs: 4}) // robots.txt is always kept whole
}
