package crawl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/base/warc"
	"holdfast/base/weburl"
	"holdfast/connector"
	"holdfast/connector/web"
	"holdfast/job/crawl/archive"
	"holdfast/job/crawl/frontier"
	"holdfast/job/crawl/index"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// site is a server of pages, and how often each was asked for.
type site struct {
	*httptest.Server
	pages  map[string]string
	types  map[string]string // of those that are not HTML
	robots string            // behind a redirect; "": there is none
	mu     sync.Mutex
	asked  map[string]int
	first  string
}

func newSite(t *testing.T, pages map[string]string) *site {
	s := &site{pages: pages, asked: map[string]int{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		if len(s.asked) == 0 {
			s.first = r.URL.Path
		}
		s.asked[r.URL.Path]++
		s.mu.Unlock()
		switch {
		case r.URL.Path == "/robots.txt" && s.robots != "":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
			return
		case r.URL.Path == "/elsewhere":
			_, _ = io.WriteString(w, s.robots)
			return
		}
		page, ok := s.pages[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		if media := s.types[r.URL.Path]; media != "" {
			w.Header().Set("Content-Type", media)
		}
		_, _ = io.WriteString(w, page)
	}))
	t.Cleanup(s.Close)
	return s
}

// hooked is a Fetcher that has something done first.
type hooked struct {
	connector.Fetcher
	before func(url string) error
}

func (h hooked) Fetch(ctx context.Context, r connector.FetchRequest) (*connector.Exchange, error) {
	if err := h.before(r.URL); err != nil {
		return nil, err
	}
	return h.Fetcher.Fetch(ctx, r)
}

// fetcher asks servers of this machine.
func fetcher(t *testing.T) connector.Fetcher {
	f, err := web.New(web.Config{UserAgent: "holdfast (+mailto:test@example.org)", Dir: t.TempDir(),
		AllowAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// rig is a crawl in a directory.
type rig struct {
	*testing.T
	dir  string
	site *site
	cfg  Config
	said io.Writer // the log of run; nil for that of the test
}

func newRig(t *testing.T, pages map[string]string) *rig {
	r := &rig{T: t, dir: t.TempDir(), site: newSite(t, pages)}
	r.cfg = Config{Seeds: []string{r.site.URL + "/"}, Fetch: fetcher(t), Rules: weburl.Heritrix, Workers: 4, Logs: filepath.Join(r.dir, "logs"),
		Archive:  archive.Options{Dir: filepath.Join(r.dir, "warc"), Name: "site"},
		Settings: Settings{MinDelay: new(time.Duration)}, Once: true}
	return r
}

// run runs the crawl until it ends.
func (r *rig) run(ctx context.Context) error {
	r.Helper()
	j, end := r.open()
	defer end()
	return j.Run(ctx)
}

// open opens the crawl. end closes its store.
func (r *rig) open() (j *Job, end func() error) {
	r.Helper()
	st, err := store.Open(filepath.Join(r.dir, "store"), store.Options{})
	if err != nil {
		r.Fatal(err)
	}
	to := r.said
	if to == nil {
		to = r.Output()
	}
	log := slog.New(slog.NewTextHandler(to, nil))
	room, err := engine.NewRoom(r.dir, engine.RoomLimits{Soft: 1, Hard: 1}, log)
	if err == nil {
		j, err = New(engine.Env{Name: "site", Dir: r.dir, Store: st, Log: log, Room: room, History: engine.HistoryOf(st, "site", log)}, r.cfg)
	}
	if err != nil {
		r.Fatal(errors.Join(err, st.Close()))
	}
	return j, st.Close
}

func (r *rig) counts() (c frontier.Counts) {
	r.Helper()
	st, err := store.Open(filepath.Join(r.dir, "store"), store.Options{})
	if err != nil {
		r.Fatal(err)
	}
	defer st.Close()
	err = st.Latest(func(rd store.Reader) (err error) {
		c, err = frontier.ReadCounts(rd)
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	return c
}

// archived is how many responses and revisits of each path there are. Every file has to be whole and have its name.
func (r *rig) archived() map[string]int {
	r.Helper()
	got := map[string]int{}
	files, err := os.ReadDir(r.cfg.Archive.Dir)
	if err != nil {
		r.Fatal(err)
	}
	for _, e := range files {
		if e.IsDir() || e.Name() == index.File {
			continue
		}
		if !strings.HasSuffix(e.Name(), ".warc.gz") {
			r.Errorf("there is %s", e.Name())
			continue
		}
		f, err := os.Open(filepath.Join(r.cfg.Archive.Dir, e.Name()))
		if err != nil {
			r.Fatal(err)
		}
		in := warc.NewReader(f, 0)
		for {
			e, err := in.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				r.Fatal(err)
			}
			if e.Type == warc.Response || e.Type == warc.Revisit {
				got[strings.TrimPrefix(e.TargetURI, r.site.URL)]++
			}
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			r.Fatal(err)
		}
		if report, err := warc.Verify(f); err != nil || !report.Good() {
			r.Errorf("%+v %v", report, err)
		}
		f.Close()
	}
	return got
}

// line is a line of crawl.log, strictly.
var line = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [ -]{0,4}-?\d+ +(\d+|-) (\S+) (\S+) (\S+) (\S+) #\d{3} ` +
	`(\d{17}\+\d+|-) (sha1:[A-Z2-7]{32}|-) (\S+) (\S+)$`)

// logged are the lines of crawl.log, by path.
func (r *rig) logged() map[string]int {
	r.Helper()
	b, err := os.ReadFile(filepath.Join(r.cfg.Logs, crawlLog))
	if err != nil {
		r.Fatal(err)
	}
	got := map[string]int{}
	for text := range strings.Lines(string(b)) {
		m := line.FindStringSubmatch(strings.TrimSuffix(text, "\n"))
		if m == nil {
			r.Errorf("crawl.log has line %q", text)
			continue
		}
		got[strings.TrimPrefix(m[2], r.site.URL)]++
	}
	return got
}

// tree is a site of n pages, each of which leads to some others, and to one that is not there.
func tree(n int) map[string]string {
	pages := map[string]string{"/": `<a href="/p1">first</a> <a href="/gone">gone</a>`}
	for i := 1; i <= n; i++ {
		pages[fmt.Sprintf("/p%d", i)] = fmt.Sprintf(`<p>page %d</p><a href="p%d">a</a><a href="./p%d#x">b</a><a href="/">c</a>`, i,
			min(2*i, n), min(2*i+1, n))
	}
	return pages
}

// TestCrawl: every page is fetched once, is in the archive once, and has one line in the log; a second run does nothing.
func TestCrawl(t *testing.T) {
	const n = 60
	r := newRig(t, tree(n))
	want := map[string]int{"/gone": 1, "/robots.txt": 1}
	for path := range r.site.pages {
		want[path] = 1
	}
	for range 2 {
		if err := r.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for what, got := range map[string]map[string]int{"asked": r.site.asked, "archived": r.archived(), "logged": r.logged()} {
			if !maps.Equal(got, want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		if c := r.counts(); c.Done != n+3 || c.Failed != 0 || c.Queued+c.Waiting != 0 || c.Hosts != 1 {
			t.Errorf("%+v", c)
		}
	}
}

// TestStopped: a crawl that is told to end, again and again, goes on where it was: nothing is fetched twice that was
// written down, and nothing is missing at the end.
func TestStopped(t *testing.T) {
	const n = 60
	r := newRig(t, tree(n))
	fetch := r.cfg.Fetch
	for i := range 100 {
		ctx, stop := context.WithCancel(t.Context())
		asked := 0
		var mu sync.Mutex
		r.cfg.Fetch = hooked{fetch, func(string) error {
			mu.Lock()
			defer mu.Unlock()
			if asked++; asked > i%7+1 {
				stop()
			}
			return nil
		}}
		err := r.run(ctx)
		stop()
		if err != nil {
			t.Fatal(err)
		}
		if c := r.counts(); c.Queued+c.Waiting == 0 {
			break
		}
	}
	got := r.archived()
	paths := slices.Collect(maps.Keys(r.site.pages))
	for _, path := range append(paths, "/gone", "/robots.txt") {
		if got[path] != 1 || r.site.asked[path] != 1 {
			t.Errorf("%s is there %d times, and was asked for %d times", path, got[path], r.site.asked[path])
		}
	}
	if logged := r.logged(); !maps.Equal(logged, got) {
		t.Errorf("logged %v, archived %v", logged, got)
	}
}

// TestRobots: what a host forbids is not asked for, and said; nothing is asked for before it is known, and its redirects
// are followed.
func TestRobots(t *testing.T) {
	r := newRig(t, map[string]string{
		"/":         `<a href="/robots.txt">rules</a> <a href="/secret/a">a</a> <a href="/open">b</a> <a href="/secret/but/this">c</a>`,
		"/open":     "open",
		"/secret/a": "secret", "/secret/but/this": "not so secret",
	})
	r.site.robots = "User-agent: other\nDisallow: /\n\nUser-agent: Holdfast\nDisallow: /secret\nAllow: /secret/but\n"
	r.cfg.Agent = "holdfast"
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"/robots.txt": 1, "/elsewhere": 1, "/": 1, "/open": 1, "/secret/but/this": 1}
	if !maps.Equal(r.site.asked, want) {
		t.Errorf("asked: %v, want %v", r.site.asked, want)
	}
	if r.site.first != "/robots.txt" {
		t.Errorf("%s was asked for first", r.site.first)
	}
	logged := r.logged()
	want["/secret/a"] = 1
	if !maps.Equal(logged, want) {
		t.Errorf("logged: %v, want %v", logged, want)
	}
	if c := r.counts(); c.Left != 1 || c.Queued != 0 {
		t.Errorf("%+v", c)
	}
}

// TestNoRules: a host whose robots.txt can't be had is asked for nothing, and given up when it was tried often enough.
func TestNoRules(t *testing.T) {
	r := newRig(t, map[string]string{"/": "home"})
	r.cfg.Settings.Retries = new(int) // none
	r.cfg.Fetch = hooked{r.cfg.Fetch, func(url string) error {
		if strings.HasSuffix(url, "/robots.txt") {
			return &connector.FetchError{Status: connector.FetchTimeout, Begun: time.Now(), Err: fault.New(fault.Transient, "too slow")}
		}
		return nil
	}}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.site.asked) > 0 {
		t.Errorf("asked: %v", r.site.asked)
	}
	if c := r.counts(); c.Failed != 2 || c.Queued+c.Waiting != 0 {
		t.Errorf("%+v", c)
	}
	if got := r.logged(); !maps.Equal(got, map[string]int{"/": 1, "/robots.txt": 1}) {
		t.Errorf("logged: %v", got)
	}
}

// TestRevisit: a payload that is archived already is not kept again, and said where it is; every page is told of all the same.
func TestRevisit(t *testing.T) {
	r := newRig(t, map[string]string{"/": `<a href="/a">a</a>`, "/a": `same <a href="/b">b</a>`, "/b": `same <a href="/b">b</a>`})
	r.cfg.Workers = 1
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := r.archived(), map[string]int{"/robots.txt": 1, "/": 1, "/a": 1, "/b": 1}; !maps.Equal(got, want) {
		t.Errorf("archived: %v, want %v", got, want)
	}
	if got := r.logged(); len(got) != 4 {
		t.Errorf("logged: %v", got)
	}
	files, err := filepath.Glob(filepath.Join(r.cfg.Archive.Dir, "*.warc.gz"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	f, err := os.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for in := warc.NewReader(f, 0); ; {
		e, err := in.Next()
		if err != nil {
			t.Fatalf("there is no revisit: %v", err)
		}
		if e.Type != warc.Revisit {
			continue
		}
		block, err := io.ReadAll(e)
		if err != nil || !bytes.HasSuffix(block, []byte("\r\n\r\n")) || e.Fields.Get("WARC-Refers-To-Target-URI") != r.site.URL+"/a" ||
			e.Fields.Get("WARC-Payload-Digest") == "" {
			t.Errorf("%v %q %v", e.Fields, block, err)
		}
		break
	}
}

// TestNewSeeds: a crawl that is over, and is started again with more seeds, fetches those and nothing else.
func TestNewSeeds(t *testing.T) {
	r := newRig(t, map[string]string{"/": "home", "/new": `<a href="/behind">b</a>`, "/behind": "b"})
	want := map[string]int{"/robots.txt": 1, "/": 1}
	for range 2 {
		if err := r.run(t.Context()); err != nil || !maps.Equal(r.site.asked, want) {
			t.Fatal(r.site.asked, err)
		}
		r.cfg.Seeds = append(r.cfg.Seeds, r.site.URL+"/new")
		want["/new"], want["/behind"] = 1, 1
	}
	if err := r.run(t.Context()); err != nil || !maps.Equal(r.site.asked, want) {
		t.Error(r.site.asked, err)
	}
}
