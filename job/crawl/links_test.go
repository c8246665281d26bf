package crawl

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"holdfast/base/robots"
	"holdfast/base/warc"
)

// packed is a text in a coding; "raw" is deflate without the header of zlib.
func packed(t testing.TB, coding, text string) string {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zlib":
		w = zlib.NewWriter(&b)
	case "raw":
		w, err = flate.NewWriter(&b, 6)
	case "br":
		w = brotli.NewWriter(&b)
	case "zstd":
		w, err = zstd.NewWriter(&b)
	}
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// answered is the answer of a server that says that it has a coding.
func answered(t testing.TB, coding string) *warc.Message {
	t.Helper()
	m, err := warc.SplitHTTP(strings.NewReader("HTTP/1.1 200 OK\r\nContent-Encoding: " + coding + "\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestDecoded: codings are undone as browsers do it, whatever servers call them.
func TestDecoded(t *testing.T) {
	const text = "User-agent: *\nDisallow: /private\n"
	zipped := packed(t, "gzip", text)
	for name, c := range map[string]struct {
		coding, body, want string
		broken             bool
	}{
		"none":                {"none", text, text, false},
		"a charset":           {"utf-8", text, text, false},
		"identity":            {"identity", text, text, false},
		"unknown over gzip":   {"gzip, none", zipped, text, false},
		"x-gzip":              {"x-gzip", zipped, text, false},
		"upper case":          {"GZIP", zipped, text, false},
		"two members":         {"gzip", zipped + zipped, text + text, false},
		"many empty members":  {"gzip", strings.Repeat(packed(t, "gzip", ""), 200) + zipped, text, false},
		"gzip and more":       {"gzip", zipped + "\x00\x00more", text, false},
		"plain as gzip":       {"gzip", text, text, false},
		"one byte as gzip":    {"gzip", "\x1f", "\x1f", false},
		"nothing as gzip":     {"gzip", "", "", false},
		"nothing as br":       {"br", "", "", false},
		"nothing as zstd":     {"zstd", "", "", false},
		"nothing as deflate":  {"deflate", "", "", false},
		"deflate":             {"deflate", packed(t, "zlib", text), text, false},
		"raw deflate":         {"deflate", packed(t, "raw", text), text, false},
		"br":                  {"br", packed(t, "br", text), text, false},
		"zstd":                {"zstd", packed(t, "zstd", text), text, false},
		"twice":               {"gzip, gzip", packed(t, "gzip", zipped), text, false},
		"gzip of half a head": {"gzip", zipped[:5], "", true},
		"gzip that breaks":    {"gzip", zipped[:len(zipped)-9], text, true},
		"second member":       {"gzip", zipped + zipped[:5], text, true},
		"raw that breaks":     {"deflate", packed(t, "raw", text)[:9], "", true},
		"too many":            {strings.Repeat("gzip,", 1000), text, "", true},
	} {
		r, err := decoded(answered(t, c.coding), strings.NewReader(c.body))
		var got []byte
		if err == nil {
			got, err = io.ReadAll(r)
		}
		if (err != nil) != c.broken || string(got) != c.want && (!c.broken || !strings.HasPrefix(text+text, string(got))) {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
}

// TestCodedRules: a host's rules count in whatever coding they come; what breaks off is none.
func TestCodedRules(t *testing.T) {
	const text = "User-agent: *\nDisallow: /private\n"
	j := &Job{cfg: Config{Agent: "holdfast"}}
	zipped := packed(t, "gzip", text)
	for _, c := range []struct{ coding, body string }{{"none", text}, {"gzip", text}, {"gzip", zipped}, {"deflate", packed(t, "raw", text)}} {
		r := j.rulesFrom(http.StatusOK, nil, answered(t, c.coding), "", strings.NewReader(c.body))
		private, _ := r.Allowed("/private")
		public, _ := r.Allowed("/public")
		if private || !public {
			t.Errorf("%s %.9q: private %v, public %v", c.coding, c.body, private, public)
		}
	}
	r := j.rulesFrom(http.StatusOK, nil, answered(t, "gzip"), "", strings.NewReader(zipped[:len(zipped)-9]))
	if r.State() != robots.Unreachable {
		t.Errorf("rules that break off are %v", r.State())
	}
}

// TestCodedLinks: pages lead on in whatever coding they come, and as far as they came.
func TestCodedLinks(t *testing.T) {
	asked := make(chan string, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		coding, body := "none", `<a href="/plain">p</a>`
		switch r.URL.Path {
		case "/":
		case "/plain":
			coding, body = "gzip", `<a href="/raw">r</a>`
		case "/raw":
			coding, body = "deflate", packed(t, "raw", `<a href="/half">h</a>`)
		case "/half":
			coding, body = "gzip", packed(t, "gzip", `<a href="/last">l</a>`+strings.Repeat(" ", 2000))
			body = body[:len(body)-8] // without its sum
		default:
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Encoding", coding)
		fmt.Fprint(w, body)
	}))
	defer s.Close()
	r := newRig(t, nil)
	r.site.Server, r.cfg.Seeds = s, []string{s.URL + "/"}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(asked)
	var all []string
	for path := range asked {
		all = append(all, path)
	}
	if got := strings.Join(all, " "); got != "/robots.txt / /plain /raw /half /last" {
		t.Errorf("asked: %s", got)
	}
}

func FuzzDecoded(f *testing.F) {
	for _, coding := range []string{"gzip", "zlib", "raw", "br", "zstd"} {
		f.Add("gzip, deflate", packed(f, coding, "some text"))
		f.Add(coding, packed(f, coding, "some text")+"more")
	}
	f.Fuzz(func(t *testing.T, coding, body string) {
		m := &warc.Message{}
		m.Fields = append(m.Fields, warc.Field{Name: "Content-Encoding", Value: coding})
		if r, err := decoded(m, strings.NewReader(body)); err == nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(r, 1<<20))
		}
	})
}

// TestSitemapOfText: what a robots.txt calls a sitemap is read as one though it is plain text, and all that it may name is queued: more
// than a page may, and more than one transaction takes.
func TestSitemapOfText(t *testing.T) {
	const most = 50_000
	r := newRig(t, map[string]string{"/": "nothing here"})
	var list strings.Builder
	for n := range most + 7 {
		fmt.Fprintf(&list, "%s/listed/%d\n", r.site.URL, n)
	}
	r.site.pages["/list"], r.site.types = list.String(), map[string]string{"/list": "text/plain"}
	r.site.robots = "User-agent: *\nDisallow:\nSitemap: " + r.site.URL + "/list\n"
	r.cfg.Budget.Host.URLs = 6
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := r.counts()
	if listed := c.Known - 3; r.site.asked["/list"] != 1 || listed != most { // beside robots.txt, / and /list
		t.Errorf("%d of the sitemap are known, want %d: %+v", listed, most, c)
	}
	if text, err := os.ReadFile(filepath.Join(r.dir, "logs", "crawl.log")); err != nil || !strings.Contains(string(text), "linksOverLimit:7") {
		t.Errorf("crawl.log: %.2000s (%v)", text, err)
	}
}

// TestMaxLinks: a page may be followed to more than the default, and to none.
func TestMaxLinks(t *testing.T) {
	var page strings.Builder
	for n := range defaults.maxLinks + 100 {
		fmt.Fprintf(&page, `<a href="/%d">`, n)
	}
	for _, most := range []int{defaults.maxLinks, defaults.maxLinks + 50, 3, 0} {
		r := newRig(t, map[string]string{"/": page.String()})
		r.cfg.Settings.MaxLinks, r.cfg.Budget.Host.URLs = &most, 3
		if err := r.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c := r.counts(); int(c.Known)-2 != most { // beside robots.txt and /
			t.Errorf("with %d allowed: %+v", most, c)
		}
	}
}
