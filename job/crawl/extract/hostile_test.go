package extract

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/base/weburl"
	"holdfast/tests/testenv"
)

// endless gives a text again and again, up to a size.
type endless struct {
	text string
	at   int
	left int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) {
		c := copy(p[n:], e.text[e.at:])
		e.at, n = (e.at+c)%len(e.text), n+c
	}
	e.left -= n
	return n, nil
}

// TestBoundedMemory reads much of each kind of text at its worst.
func TestBoundedMemory(t *testing.T) {
	const held = 12 << 20
	size := 20 << 20
	if mb, err := strconv.Atoi(os.Getenv("HOSTILE_MB")); err == nil {
		size = mb << 20
	} else if raceEnabled {
		size = 4 << 20 // slow enough
	}
	all := []struct{ kind, head, text string }{
		{"text/html", "", `<a href="x.html">some text</a> `},
		{"text/html", `<a href="`, "x"},
		{"text/html", `<script>"`, "x/"},
		{"text/html", `<style>a{b:url(`, "x"},
		{"text/html", "<!--", "x-"},
		{"text/html", "<a ", "b=c "},
		{"text/html", "", "<"},
		{"text/css", "a{b:url('", "x"},
		{"text/css", "", "@import "},
		{"text/javascript", `"`, "x"},
		{"application/json", "", `"`},
		{"text/xml", "<a>", "text "},
		{"text/xml", "", "<a>"},
		{"text/xml", "<urlset><url><loc>", "x"},
		{"text/html; charset=shift_jis", "", "\x83"},
	}
	for _, c := range testenv.Some(t, 6, all) {
		d := document(t, c.kind, "")
		d.Body = io.MultiReader(strings.NewReader(c.head), &endless{text: c.text, left: size})
		began := time.Now()
		var before runtime.MemStats
		peak := uint64(0)
		runtime.GC()
		runtime.ReadMemStats(&before)
		d.Body = &watched{r: d.Body, peak: &peak}
		if _, err := Links(d, Options{}, func(Link) bool { return true }); err != nil {
			t.Errorf("%s %s%s: %v", c.kind, c.head, c.text, err)
		}
		t.Logf("%s %q %q: %v, %d MiB held", c.kind, c.head, c.text, time.Since(began), (int64(peak)-int64(before.HeapAlloc))>>20)
		if grown := int64(peak) - int64(before.HeapAlloc); grown > held {
			t.Errorf("%s %q %q: %d MiB were held", c.kind, c.head, c.text, grown>>20)
		}
	}
}

// watched looks at the heap now and then.
type watched struct {
	r    io.Reader
	peak *uint64
	n    int
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if w.n += n; w.n > 4<<20 {
		w.n = 0
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		*w.peak = max(*w.peak, m.HeapAlloc)
	}
	return n, err
}

// TestManyLinks has 100,000 links on a page: all of them, in order, and none twice.
func TestManyLinks(t *testing.T) {
	var b strings.Builder
	for i := range 100000 {
		fmt.Fprintf(&b, `<li><a href="/p/%d.html">%d</a><a href="/p/%d.html">again</a>`, i, i, i/2)
	}
	next := 0
	sum, err := Links(document(t, "text/html", b.String()), Options{MaxLinks: 100000}, func(l Link) bool {
		if want := fmt.Sprintf("/p/%d.html", next); l.URL.Path() != want {
			t.Fatalf("got %s, want %s", l.URL, want)
		}
		next++
		return true
	})
	if err != nil || next != 100000 || sum.Surplus != 0 {
		t.Errorf("%d links, %+v, %v", next, sum, err)
	}
}

// TestRealPages compares the links of pages that others wrote with a count by a regular expression: those of the Debian
// package postgresql-doc-15 where it is installed, and a page of golang.org/x/net.
func TestRealPages(t *testing.T) {
	files, err := filepath.Glob("/usr/share/doc/postgresql-doc-15/html/*.html")
	if err != nil {
		t.Fatal(err)
	}
	if dir := os.Getenv("PAGES"); dir != "" {
		if files, err = filepath.Glob(filepath.Join(dir, "*.html")); err != nil {
			t.Fatal(err)
		}
	}
	files = append(files, realPage(t))
	anchor := regexp.MustCompile(`(?i)<a\s[^>]*?href\s*=\s*"([^"]*)"`)
	links := 0
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{}
		for _, m := range anchor.FindAllSubmatch(text, -1) {
			ref, _, _ := strings.Cut(strings.ReplaceAll(string(m[1]), "&amp;", "&"), "#")
			u, err := weburl.Parse(home)
			if ref == "" || err != nil {
				continue
			}
			if u, err = u.Resolve(ref); err == nil {
				want[u.String()] = true
			}
		}
		_, err = Links(document(t, "text/html", string(text)), Options{}, func(l Link) bool {
			if l.Context == "a/@href" && !want[l.URL.String()] {
				t.Errorf("%s: %s is not in the text", name, l.URL)
			}
			if l.Hop == Navigation { // link elements name some of them too, and come first
				delete(want, l.URL.String())
				links++
			}
			return true
		})
		if err != nil || len(want) > 0 {
			t.Errorf("%s: not found: %v, %v", name, want, err)
		}
	}
	t.Logf("%d pages, %d links", len(files), links)
}

// realPage is the release notes of Go 1, a page that the HTML library has for its own benchmarks.
func realPage(t testing.TB) string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/net").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(dir)), "html", "testdata", "go1.html")
}

// read runs a document through, whatever it is, and looks at what must hold.
func read(t *testing.T, kind, text string, sitemap bool) {
	d := document(t, kind, text)
	d.Sitemap = sitemap
	sum, err := Links(d, Options{MaxLinks: 100}, func(l Link) bool {
		if l.URL.IsZero() || l.Context == "" || strings.IndexByte("LEXRM", byte(l.Hop)) < 0 {
			t.Fatalf("%+v", l)
		}
		return true
	})
	if sum.Links > 100 {
		t.Fatalf("%+v", sum)
	}
	if err != nil && !sitemap { // a damaged gzip file
		t.Fatal(err)
	}
}

func seed(f *testing.F, kinds ...string) {
	for _, c := range cases {
		for _, k := range kinds {
			if strings.HasPrefix(c.kind, k) {
				f.Add(c.body)
			}
		}
	}
}

func FuzzHTML(f *testing.F) {
	seed(f, "text/html")
	f.Fuzz(func(t *testing.T, s string) { read(t, "text/html", s, false) })
}

func FuzzCSS(f *testing.F) {
	seed(f, "text/css")
	f.Fuzz(func(t *testing.T, s string) { read(t, "text/css", s, false) })
}

func FuzzScript(f *testing.F) {
	seed(f, "text/javascript", "application/json", "application/javascript")
	f.Fuzz(func(t *testing.T, s string) {
		read(t, "text/javascript", s, false)
		read(t, "application/json", s, false)
	})
}

func FuzzSitemap(f *testing.F) {
	seed(f, "application/", "text/xml")
	f.Add("\x1f\x8b\x08")
	f.Add("http://a.example/\nhttp://b.example/")
	f.Fuzz(func(t *testing.T, s string) {
		read(t, "text/xml", s, true)
		read(t, "text/xml", s, false)
		read(t, "", s, true)
	})
}

func FuzzHeader(f *testing.F) {
	f.Add("5; url='x'", `<a>; rel="x\"", <b>;rel=next`)
	f.Fuzz(func(t *testing.T, refresh, link string) {
		d := document(t, "", "")
		d.Header["Refresh"], d.Header["Link"], d.Header["Location"] = []string{refresh}, []string{link}, []string{link}
		if _, err := Links(d, Options{}, func(Link) bool { return true }); err != nil {
			t.Fatal(err)
		}
	})
}

func benchmark(b *testing.B, kind, text string) {
	b.SetBytes(int64(len(text)))
	links := 0
	for b.Loop() {
		if _, err := Links(document(b, kind, text), Options{MaxLinks: 100000}, func(Link) bool { links++; return true }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(max(links, 1)), "ns/link")
}

func BenchmarkHTML(b *testing.B) {
	text, err := os.ReadFile(realPage(b))
	if err != nil {
		b.Fatal(err)
	}
	benchmark(b, "text/html", string(text))
}

func BenchmarkManyLinks(b *testing.B) {
	var t strings.Builder
	for i := range 100000 {
		fmt.Fprintf(&t, `<li><a href="/p/%d.html">%d</a>`, i, i)
	}
	benchmark(b, "text/html", t.String())
}

func BenchmarkCSS(b *testing.B) {
	benchmark(b, "text/css", strings.Repeat("a.b > c { color: red; background: url(x.png) no-repeat } /* comment */\n", 5000))
}

func BenchmarkScript(b *testing.B) {
	benchmark(b, "text/javascript", strings.Repeat(`var a = b("c", 'd/e', "/f/g.html") + 1; function h(i) { return i.j("text") }`+"\n", 5000))
}

// TestStringsOverPieces has a script that is read in pieces, and strings that stand over their ends.
func TestStringsOverPieces(t *testing.T) {
	var b strings.Builder
	b.WriteString("<script>")
	want := 0
	for ; b.Len() < 2*maxToken+maxToken/2; want++ {
		fmt.Fprintf(&b, `f("/a/directory/with/a/long/name/as/they/are/in/some/scripts/%d.html");`, want)
	}
	b.WriteString("</script><a href=end>")
	sum, err := Links(document(t, "text/html", b.String()), Options{MaxLinks: 1 << 20}, func(Link) bool { return true })
	if err != nil || sum.Links != want+1 {
		t.Errorf("%d links of %d, %v", sum.Links, want+1, err)
	}
}
