package tour

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"holdfast/app/datadir"
	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/web"
)

// Site is the web site that the tour's crawl archives, with a page beside it that tells how often it was asked, and kills the
// tour.
type Site struct {
	site, page net.Listener
	dir        string
	delay      time.Duration
	pages      map[string]sitePage

	mu    sync.Mutex // guards the below
	asked map[string]int
	last  []string // the newest first
	away  bool     // every connection is reset
}

// sitePage is what stands at a path. One with to is a redirect.
type sitePage struct{ kind, text, to string }

// siteFile has the address of the site, in the data directory: the URLs that the crawl has must be good in the next life.
const siteFile = "site.address"

// OpenSite returns the site, where it was before if that is free. delay is the time between two requests of the crawl.
func OpenSite(dataDir string, delay time.Duration) (*Site, error) {
	place, err := datadir.Locate(dataDir, "")
	if err != nil {
		return nil, err
	}
	if delay < 0 {
		return nil, fault.NewUsage("", "--crawl-delay: want a time from 0, got %v", delay)
	}
	s := &Site{dir: place.Dir, delay: delay, asked: map[string]int{}}
	if err := disk.MkdirAll(s.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of the tour: %w", err)
	}
	file := filepath.Join(s.dir, siteFile)
	was, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read where the site was: %w", err)
	}
	addr := strings.TrimSpace(string(was))
	if addr == "" || !web.Loopback(addr) {
		addr = "127.0.0.1:0"
	}
	if s.site, err = net.Listen("tcp", freeAddress(addr)); err != nil {
		return nil, fmt.Errorf("listen for the site: %w", err)
	}
	if err := disk.WriteFile(file, []byte(s.site.Addr().String()+"\n"), 0o644); err != nil {
		return nil, errors.Join(err, s.site.Close())
	}
	if s.page, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for the page of the crawl: %w", err), s.site.Close())
	}
	s.pages = sitePages(s.URL())
	return s, nil
}

// URL is the front page of the site, PageURL the page beside it.
func (s *Site) URL() string     { return "http://" + s.site.Addr().String() + "/" }
func (s *Site) PageURL() string { return "http://" + s.page.Addr().String() + "/" }

// Close gives the addresses up; Run does so too.
func (s *Site) Close() error { return errors.Join(s.site.Close(), s.page.Close()) }

// job is the crawl of the site.
func (s *Site) job() map[string]any {
	type m = map[string]any
	return m{"crawl": m{"seeds": []string{s.URL()}, "contact": "the person at this machine, tour@localhost",
		"settings": m{"min_delay": s.delay.String(), "delay_factor": 0}}}
}

// Run serves both until ctx ends.
func (s *Site) Run(ctx context.Context) error {
	beside := http.NewServeMux()
	beside.HandleFunc("GET /{$}", s.show)
	beside.HandleFunc("POST /kill", s.kill)
	var wg sync.WaitGroup
	var failed [2]error
	ctx, end := context.WithCancel(ctx)
	defer end()
	for i, x := range []struct {
		ln net.Listener
		h  http.Handler
	}{{s.site, http.HandlerFunc(s.serve)}, {s.page, web.Own(beside)}} {
		srv := newServer(x.h)
		defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
		wg.Go(func() {
			defer end()
			if err := srv.Serve(x.ln); !errors.Is(err, http.ErrServerClosed) {
				failed[i] = fmt.Errorf("serve the site of the tour: %w", err)
			}
		})
	}
	wg.Wait()
	return errors.Join(failed[:]...)
}

// lastAsked is how many requests the page shows.
const lastAsked = 12

func (s *Site) setAway(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = on
}

func (s *Site) isAway() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.away
}

func (s *Site) serve(w http.ResponseWriter, r *http.Request) {
	if s.isAway() {
		panic(http.ErrAbortHandler) // the connection breaks off
	}
	s.mu.Lock()
	s.asked[r.URL.Path]++
	s.last = append([]string{r.URL.Path}, s.last...)
	s.last = s.last[:min(lastAsked, len(s.last))]
	s.mu.Unlock()
	p, ok := s.pages[r.URL.Path]
	switch {
	case !ok:
		http.NotFound(w, r)
	case p.to != "":
		http.Redirect(w, r, p.to, http.StatusMovedPermanently)
	default:
		w.Header().Set("Content-Type", p.kind)
		http.ServeContent(w, r, "", firstDay, strings.NewReader(p.text))
	}
}

//go:embed site.html
var siteText string

var siteTemplate = template.Must(template.New("site").Parse(siteText))

func (s *Site) show(w http.ResponseWriter, _ *http.Request) {
	shown := struct {
		Site, Dir      string
		Pid, URLs, All int
		Twice          int
		Last           []string
	}{Site: s.URL(), Dir: s.dir, Pid: os.Getpid(), All: len(s.pages)}
	s.mu.Lock()
	shown.URLs, shown.Last = len(s.asked), append(shown.Last, s.last...)
	for _, n := range s.asked {
		shown.Twice += n - 1
	}
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'")
	_ = siteTemplate.Execute(w, shown) // who has gone away needs no page
}

// kill ends this process as kill -9 does, once its answer is on the way.
func (s *Site) kill(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "Killed. Start it again, and the crawl goes on:\n\n  holdfast demo --data-dir %s\n", s.dir)
	_ = http.NewResponseController(w).Flush()
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// siteTopics are the parts of the site, sitePagesEach how many pages each has.
var siteTopics = strings.Split("ropes,anchors,lanterns,charts,tides,harbours", ",")

const sitePagesEach = 8

// sitePages makes the site: pages with links, images and styles, redirects, a page that is gone, one that robots.txt forbids, and
// some that the sitemap alone knows.
func sitePages(root string) map[string]sitePage {
	all := map[string]sitePage{
		"/style.css":   {kind: "text/css", text: "body { font: 18px/1.5 serif; margin: 2rem; background: url(paper.svg) }\n"},
		"/paper.svg":   {kind: "image/svg+xml", text: drawing("#fdf8ec")},
		"/robots.txt":  {kind: "text/plain", text: "User-agent: *\nDisallow: /private/\nSitemap: " + root + "sitemap.xml\n"},
		"/private/log": page("Nobody should have come here", "<p>robots.txt forbids it.</p>"),
	}
	front := "<ul>\n"
	for i, topic := range siteTopics {
		front += fmt.Sprintf("<li><a href=\"/%s/\">All about %s</a></li>\n", topic, topic)
		all["/"+topic+"/picture.svg"] = sitePage{kind: "image/svg+xml", text: drawing(fmt.Sprintf("hsl(%d 60%% 70%%)", i*60))}
		all["/old/"+topic] = sitePage{to: "/" + topic + "/"}
		list := "<ol>\n"
		for n := range sitePagesEach {
			list += fmt.Sprintf("<li><a href=\"%d\">Of %s, part %d</a></li>\n", n, topic, n+1)
			other := siteTopics[(i+n+1)%len(siteTopics)]
			all[fmt.Sprintf("/%s/%d", topic, n)] = page(fmt.Sprintf("Of %s, part %d", topic, n+1), fmt.Sprintf(
				"<img src=\"picture.svg\" alt=\"\">\n<p>Number %d of what is known of %s.</p>\n"+
					"<p>Read on: <a href=\"%d#top\">next</a>, <a href=\"/old/%s\">%s</a>, <a href=\"./\">up</a>.</p>\n",
				n+1, topic, (n+1)%sitePagesEach, other, other))
		}
		all["/"+topic+"/"] = page("All about "+topic, list+"</ol>\n")
	}
	all["/"] = page("The harbour library", front+"</ul>\n<p><a href=\"/private/log\">Not for robots</a>, <a href=\"/gone\">gone</a></p>\n")
	islands := ""
	for n := range 3 {
		path := fmt.Sprintf("islands/%d", n)
		all["/"+path] = page(fmt.Sprintf("Island %d", n+1), "<p>No page leads here: the sitemap does.</p>")
		islands += "<url><loc>" + root + path + "</loc></url>\n"
	}
	all["/sitemap.xml"] = sitePage{kind: "application/xml", text: "<?xml version=\"1.0\"?>\n" +
		"<urlset xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\">\n" + islands + "</urlset>\n"}
	return all
}

func page(title, body string) sitePage {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<!doctype html>\n<title>%s</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n<h1 id=\"top\">%s</h1>\n%s", title, title, body)
	return sitePage{kind: "text/html; charset=utf-8", text: b.String()}
}

func drawing(color string) string {
	return `<svg xmlns="http://www.w3.org/2000/svg" width="120" height="80"><rect width="120" height="80" fill="` + color + `"/></svg>`
}
