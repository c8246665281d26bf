package crawl

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"holdfast/base/warc"
	"holdfast/tests/testenv"
)

// TestMetadata: each answer has its metadata behind it, which say how it was found, and all links of it, those out of scope too.
func TestMetadata(t *testing.T) {
	pages := map[string]string{"/": `<meta charset="iso-8859-1"><a href="/a">a</a><a href="http://elsewhere.example/i">i</a>`, "/a": "a"}
	r := newRig(t, pages)
	r.site.robots = "User-agent: *\nDisallow:\n" // behind a redirect
	yes := true
	r.cfg.Settings.Metadata = &yes
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(r.cfg.Archive.Dir, "*.warc.gz"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	seed := r.site.URL + "/"
	want := map[string]string{
		"/": "seed: \r\nfetchTimeMs: N\r\ncharsetForLinkExtraction: windows-1252\r\noutlink: " + seed + "a L a/@href\r\n" +
			"outlink: http://elsewhere.example/i L a/@href\r\n",
		"/a":          fmt.Sprintf("via: %s\r\nhopsFromSeed: L\r\nsourceTag: %s\r\nfetchTimeMs: N\r\n", seed, seed),
		"/robots.txt": fmt.Sprintf("via: %s\r\nhopsFromSeed: P\r\nsourceTag: %s\r\nfetchTimeMs: N\r\n", seed, seed),
		"/elsewhere":  fmt.Sprintf("via: %srobots.txt\r\nhopsFromSeed: PR\r\nsourceTag: %s\r\nfetchTimeMs: N\r\n", seed, seed),
	}
	f, err := os.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	answers := map[string]string{} // the id of the answer, by path
	for in := warc.NewReader(f, 0); ; {
		e, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		path := strings.TrimPrefix(e.TargetURI, r.site.URL)
		switch e.Type {
		case warc.Response:
			answers[path] = e.Fields.Get("WARC-Record-ID")
		case warc.Metadata:
			text, err := io.ReadAll(e)
			if err != nil {
				t.Fatal(err)
			}
			if got := regexp.MustCompile(`fetchTimeMs: \d+`).ReplaceAllString(string(text), "fetchTimeMs: N"); got != want[path] {
				t.Errorf("of %s it says %q, want %q", path, got, want[path])
			}
			if id := e.Fields.Get("WARC-Concurrent-To"); id != answers[path] || id == "" {
				t.Errorf("of %s they are concurrent to %s, want %s", path, id, answers[path])
			}
			delete(want, path)
		}
	}
	if len(want) > 0 {
		t.Errorf("there are none of %v", want)
	}
	n := 0
	for _, rec := range testenv.Records(t, files...) {
		if wrong := rec.Wrong(); len(wrong) > 0 {
			t.Errorf("%s of %s: %v", rec.Type(), rec.URI(), wrong)
		}
		if rec.Type() == "metadata" {
			n++
		}
	}
	if n != 4 {
		t.Errorf("warcio finds %d", n)
	}
	r.archived() // and the index knows of no more captures than there are
	if text, err := os.ReadFile(filepath.Join(r.cfg.Archive.Dir, "index.cdxj")); err != nil || strings.Count(string(text), "\n") != 4 {
		t.Errorf("the index is %s %v", text, err)
	}
}

// TestMetadataBounded: no page makes its metadata endless, and no address makes a line of its own.
func TestMetadataBounded(t *testing.T) {
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, `<a href="/%d/%s">x</a>`, i, strings.Repeat("x", 1500))
	}
	r := newRig(t, map[string]string{"/": b.String()})
	yes := true
	r.cfg.Settings.Metadata, r.cfg.Budget.Crawl.URLs = &yes, 2
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, f := range r.kept(warc.Metadata)["/"] {
		if n := f.Get("Content-Length"); len(n) != 7 || n[0] != '1' {
			t.Errorf("it has %s bytes", n)
		}
	}
	if got := oneLine("a\r\nvia: b\x00"); strings.ContainsAny(got, "\r\n\x00") {
		t.Errorf("%q", got)
	}
}
