package ui

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/connector/wsprnet/simulator"
	"holdfast/tests/testenv"
)

const (
	token     = "the token of the test"
	readToken = "only to look"
	// hostile is a name that would run something, were it ever markup, and then turns what is behind it around.
	hostile = `<img src=x onerror=window.pwned=1>` + "\u202e"
)

// world is a running holdfast, and what stands around it.
type world struct {
	t       *testing.T
	url     string // of the console
	control string // where the script asks for outages
	command testenv.Command
	shop    *shop
	feed    *simulator.Simulator
	site    string       // that is crawled
	spoilt  atomic.Int32 // rows that can't be rows, beside the first

	mu      sync.Mutex
	process *testenv.Process // guarded by mu
	touring *testenv.Process // the tour; guarded by mu
	tourDir string           // where it may leave nothing
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, tourDir: t.TempDir(), feed: simulator.New(simulator.Options{Seed: 1, Rate: 50, Backlog: 3000, Keep: -1,
		Holes: 0.002, Garbage: 0.001})}
	feed := httptest.NewServer(w.feed)
	t.Cleanup(feed.Close)
	site := httptest.NewServer(http.HandlerFunc(page))
	t.Cleanup(site.Close)
	w.site = site.URL
	rows := httptest.NewServer(http.HandlerFunc(w.hostileRows))
	t.Cleanup(rows.Close)
	w.shop = newShop(t)
	write(t, filepath.Join(dir, "camera", "night", hostile+".txt"), "a frame")
	write(t, filepath.Join(dir, "camera", "night", "two.txt"), "another")
	write(t, filepath.Join(dir, "archive", "README"), "a destination is there before anything is sent to it")
	write(t, filepath.Join(dir, "day.csv"), weather())
	write(t, filepath.Join(dir, "log", "app.log"), "it begins\n")
	write(t, filepath.Join(dir, "rules.yaml"), strings.ReplaceAll(rules, "DIR", dir))
	listen := testenv.Address(t)
	config := write(t, filepath.Join(dir, "holdfast.yaml"), strings.NewReplacer("TOKEN", token, "LOOK", readToken, "LISTEN", listen,
		"FEED", feed.URL+simulator.SpotsPath, "ROWS", rows.URL, "SHOP", "http://"+w.shop.addr, "SITE", site.URL, "DIR", dir,
		"SERVE", testenv.Address(t)).Replace(config))
	w.url = "http://" + listen
	w.command = testenv.Command{Path: testenv.PlainBinary(t), Args: []string{"run", "-c", config, "--data-dir", filepath.Join(dir, "data")}, Dir: dir}
	w.start()
	control := httptest.NewServer(http.HandlerFunc(w.obey))
	t.Cleanup(control.Close)
	w.control = control.URL
	return w
}

const config = `
token: "TOKEN"
read_token: "LOOK"
listen: LISTEN
jobs:
  spots:
    collect:
      source: {wsprnet: {url: "FEED", every: 200ms, max_bytes_per_second: -1}}
      sinks:
        shop: {http: {url: "SHOP/rows", timeout: 2s}, batch: {every: 100ms}}
        local: {sqlite: {path: spots.sqlite}, batch: {every: 100ms}}
  hostile:
    collect:
      source:
        http:
          url: "ROWS"
          rows: ".[]"
          columns: [{name: id, type: text}, {name: level, type: float64}, {name: big, type: int64}]
          key: id
          every: 1s
      sinks:
        local: {sqlite: {path: hostile.sqlite, table: hostile}, batch: {every: 100ms}}
        picky: {http: {url: "SHOP/picky", idempotent: true, timeout: 2s}, batch: {every: 100ms}}
  frames: {transfer: {from: "DIR/camera", to: "DIR/archive", patterns: ["*"], ledger: {sqlite: {path: "DIR/ledger.sqlite"}}}}
  pages:
    crawl: {seeds: ["SITE/"], contact: me@example.org, settings: {min_delay: 20ms, delay_factor: 0}, recover_log: true}
  watch: {supervise: {rules: "DIR/rules.yaml"}}
  send: {stream: {streamer: {input: "DIR/day.csv", interval: 1s}}}
  store: {stream: {database: {sqlite: {path: weather.sqlite}}, ingester: {}}}
  report: {stream: {database: {sqlite: {path: weather.sqlite}}, processor: {}}}
  serve: {stream: {database: {sqlite: {path: weather.sqlite}}, api: {listen: "SERVE"}}}
`

// rules are of a log, in which a line can be hostile too.
const rules = `
rules:
  - name: trouble
    why: lines of an app that is in trouble
    from: {file: "DIR/log/app.log"}
    match: 'trouble (?P<what>\w+)'
    do: [{run: ["/bin/echo", "{{what}}"], timeout: 5s}]
  - name: slow
    why: an action that is under way when all ends
    from: {file: "DIR/log/app.log"}
    match: 'slow (?P<what>\w+)'
    key: [what]
    do: [{run: ["/bin/sh", "-c", "test -e DIR/fast || sleep 300"], timeout: 10m}]
`

func (w *world) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.process = testenv.Start(w.t, w.command)
	testenv.Until(w.t, 60*time.Second, "the console", func() bool {
		resp, err := http.Get(w.url + "/healthz")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
}

func (w *world) output() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.process.Output()
}

// obey does what the script asks for.
func (w *world) obey(rw http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/shop/close":
		w.shop.close()
	case "/shop/open":
		w.shop.open()
	case "/shop/rant":
		w.shop.rants(true)
	case "/shop/calm":
		w.shop.rants(false)
	case "/shop/busy":
		w.shop.asksForTime(true)
	case "/shop/free":
		w.shop.asksForTime(false)
	case "/log":
		w.log("trouble here "+hostile, 1)
	case "/slow":
		w.log("slow one\nslow two", 1)
	case "/fast":
		write(w.t, filepath.Join(w.command.Dir, "fast"), "")
	case "/storm": // a thousand lines that a rule is about
		w.log("trouble here "+hostile, 1000)
	case "/spoil":
		w.spoilt.Add(1)
	case "/site":
		_, _ = fmt.Fprint(rw, w.site)
	case "/tour":
		_, _ = fmt.Fprint(rw, w.tour())
	case "/tour/end":
		w.endTour()
	case "/picked": // what came of the row that was refused
		_, _ = fmt.Fprint(rw, strings.Join(w.shop.picked(), "\n"))
	case "/publish":
		w.feed.Publish(1000)
	case "/kill":
		w.mu.Lock()
		w.process.Kill()
		w.mu.Unlock()
	case "/stop":
		w.mu.Lock()
		w.process.Term()
		code := w.process.Wait(w.t, 30*time.Second)
		w.mu.Unlock()
		if code != 0 {
			w.t.Errorf("holdfast ended with %d", code)
		}
	case "/start":
		w.start()
	default:
		w.t.Errorf("the script asks for %s", r.URL.Path)
	}
}

// tour starts a tour of its own, and returns where it is and its token.
func (w *world) tour() string {
	listen := testenv.Address(w.t)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.touring = testenv.Start(w.t, testenv.Command{Path: w.command.Path, Args: []string{"demo", "--listen", listen, "--crawl-delay", "20ms"},
		Dir: w.command.Dir, Env: []string{"TMPDIR=" + w.tourDir, "HOLDFAST_DATA_DIR="}})
	link := regexp.MustCompile(`(http://[^ /]+)/#token=(\w+)`)
	var found []string
	testenv.Until(w.t, 60*time.Second, "the tour", func() bool {
		found = link.FindStringSubmatch(w.touring.Output())
		return found != nil
	})
	return found[1] + " " + found[2]
}

// endTour ends it, and fails if it left anything.
func (w *world) endTour() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.touring.Term()
	if code := w.touring.Wait(w.t, 30*time.Second); code != 0 {
		w.t.Errorf("the tour ended with %d:\n%s", code, w.touring.Output())
	}
	left, err := filepath.Glob(filepath.Join(w.tourDir, "*"))
	if err != nil || len(left) > 0 {
		w.t.Errorf("the tour left %v, %v", left, err)
	}
}

// log writes a line so many times that a rule is about.
func (w *world) log(line string, times int) {
	f, err := os.OpenFile(filepath.Join(w.command.Dir, "log", "app.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(strings.Repeat(line+"\n", times))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		w.t.Error(err)
	}
}

// shop is a receiver of rows that can go away and come back.
type shop struct {
	t    *testing.T
	addr string

	mu    sync.Mutex
	srv   *http.Server // nil while it is away; guarded by mu
	ended chan struct{}
	loud  bool     // answers with an error that is markup; guarded by mu
	busy  bool     // asks for an hour; guarded by mu
	got   []string // guarded by mu
}

func newShop(t *testing.T) *shop {
	s := &shop{t: t, addr: testenv.Address(t)}
	s.open()
	t.Cleanup(s.close)
	return s
}

func (s *shop) open() {
	s.mu.Lock()
	defer s.mu.Unlock()
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Error(err)
		return
	}
	s.srv, s.ended = &http.Server{Handler: http.HandlerFunc(s.take)}, make(chan struct{})
	go func(srv *http.Server, ended chan struct{}) { // ended by close
		defer close(ended)
		_ = srv.Serve(ln)
	}(s.srv, s.ended)
}

func (s *shop) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.srv == nil {
		return
	}
	_ = s.srv.Close()
	<-s.ended
	s.srv = nil
}

func (s *shop) rants(loud bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loud = loud
}

func (s *shop) asksForTime(busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = busy
}

// picked are the deliveries that the picky one took.
func (s *shop) picked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func (s *shop) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.URL.Path == "/picky" && bytes.Contains(body, []byte("unlucky")) && bytes.Contains(body, []byte(":13")):
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprint(w, "no thirteens here: ", hostile)
	case r.URL.Path == "/picky":
		if err == nil && r.Method == http.MethodPost {
			s.got = append(s.got, string(body))
		}
	case s.busy:
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	case s.loud:
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(w, hostile)
	}
}

// page is a page of the site that is crawled. Its title and one of its links are hostile.
func page(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	if r.URL.Path != "/" {
		w.WriteHeader(http.StatusNotFound)
	}
	fmt.Fprintf(w, `<title>%s</title><a href="/%%3Cimg%%20src=x%%3E">one</a><a href="/two">two</a>`, hostile)
}

// hostileRows are rows of which one can't be a row, and one is refused by a sink, so that they become dead letters.
func (w *world) hostileRows(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(rw, `[{"id": "good", "level": 1, "big": 1}, {"id": %q, "level": %q, "big": 9007199254740993}, {"id": "unlucky %s", "level": 13, "big": 3}`,
		hostile, hostile, hostile[:4])
	for i := range w.spoilt.Load() {
		fmt.Fprintf(rw, `, {"id": "spoilt %d", "level": %q, "big": 4}`, i, hostile)
	}
	fmt.Fprint(rw, "]")
}

// weather is a day of two stations, and of one in a state whose name is markup.
func weather() string {
	var b strings.Builder
	b.WriteString("time,zip_code,state,temp_c,pressure_mb,humidity,precip_mm\n")
	for h := range 24 {
		for _, state := range []string{"Ohio", "Utah", hostile} {
			fmt.Fprintf(&b, "2023-09-19 %02d:00,43004,%s,%d.5,1012,60,0\n", h, state, h)
		}
	}
	return b.String()
}
