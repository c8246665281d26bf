package index

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/base/cdxj"
	"holdfast/base/weburl"
)

// TestLast: the record of what a URL had last is found, whatever it had before, and nothing where that is not archived.
func TestLast(t *testing.T) {
	const url = "http://example.com/a"
	line := func(time, mime string, status int, digest, file string) cdxj.Line {
		return cdxj.Line{URL: url, Key: weburl.IndexKeyOf(url), Time: time, Mime: mime, Status: status, Digest: digest, Filename: file,
			Offset: int64(len(file))}
	}
	const a, b = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"
	other := line("20260105000000", "text/html", 200, b, "other.warc.gz")
	other.URL = "http://example.com/A" // it has the same key
	for _, c := range []struct {
		name  string
		lines []cdxj.Line
		want  string // file
	}{
		{"one", []cdxj.Line{line("20260101000000", "text/html", 200, a, "1.warc.gz")}, "1.warc.gz"},
		{"a revisit", []cdxj.Line{line("20260101000000", "text/html", 200, a, "1.warc.gz"),
			line("20260102000000", cdxj.Revisit, 200, a, "2.warc.gz")}, "1.warc.gz"},
		{"not modified", []cdxj.Line{line("20260101000000", "text/html", 200, a, "1.warc.gz"),
			line("20260102000000", cdxj.Revisit, 304, a, "2.warc.gz")}, "1.warc.gz"},
		{"a digest in two forms", []cdxj.Line{line("20260101000000", "text/html", 200, a, "1.warc.gz"),
			line("20260102000000", cdxj.Revisit, 200, "sha1:"+a, "2.warc.gz")}, "1.warc.gz"},
		{"it changed, and changed back", []cdxj.Line{line("20260101000000", "text/html", 200, a, "1.warc.gz"),
			line("20260102000000", "text/html", 200, b, "2.warc.gz"), line("20260103000000", cdxj.Revisit, 200, a, "3.warc.gz")}, "1.warc.gz"},
		{"kept twice", []cdxj.Line{line("20260101000000", "text/html", 200, a, "1.warc.gz"),
			line("20260102000000", "text/html", 200, a, "2.warc.gz")}, "2.warc.gz"},
		{"it is gone", []cdxj.Line{line("20260101000000", "text/html", 200, a, "1.warc.gz"),
			line("20260102000000", "text/html", 404, b, "2.warc.gz")}, ""},
		{"it is gone, and says what it said", []cdxj.Line{line("20260101000000", "text/html", 200, a, "1.warc.gz"),
			line("20260102000000", "text/html", 404, a, "2.warc.gz")}, ""},
		{"a revisit of what is elsewhere", []cdxj.Line{line("20260102000000", cdxj.Revisit, 200, a, "2.warc.gz"),
			line("20260103000000", cdxj.Revisit, 304, a, "3.warc.gz")}, "2.warc.gz"},
		{"a revisit of what is elsewhere, and here since", []cdxj.Line{line("20260102000000", cdxj.Revisit, 200, a, "2.warc.gz"),
			line("20260103000000", "text/html", 200, a, "3.warc.gz"), line("20260104000000", cdxj.Revisit, 200, a, "4.warc.gz")}, "3.warc.gz"},
		{"another URL", []cdxj.Line{line("20260101000000", "text/html", 200, a, "1.warc.gz"), other}, "1.warc.gz"},
		{"out of the directory", []cdxj.Line{line("20260101000000", "text/html", 200, a, "../1.warc.gz")}, ""},
		{"nothing", []cdxj.Line{other}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			// The same captures in one file, and each in one of its own: the latest of all counts.
			for _, apart := range []bool{false, true} {
				var paths []string
				var text strings.Builder
				for i, l := range c.lines {
					b, err := l.Append(nil)
					if err != nil {
						t.Fatal(err)
					}
					text.Write(b)
					if apart || i == len(c.lines)-1 {
						paths = append(paths, filepath.Join(dir, string(rune('a'+i))+".cdxj"))
						if err := os.WriteFile(paths[len(paths)-1], []byte(text.String()), 0o600); err != nil {
							t.Fatal(err)
						}
						text.Reset()
					}
				}
				e, err := OpenEarlier(paths...)
				if err != nil {
					t.Fatal(err)
				}
				defer e.Close()
				got, ok, err := e.Last(url)
				want := ""
				if c.want != "" {
					want = filepath.Join(dir, c.want)
				}
				if err != nil || ok != (c.want != "") || got.Path != want && ok || ok && got.Offset != int64(len(c.want)) {
					t.Errorf("apart: %v, got %+v %v %v, want %q", apart, got, ok, err, want)
				}
			}
		})
	}
}

// TestOriginal: the record that a revisit refers to is found by its URL, its time and its payload, and no other.
func TestOriginal(t *testing.T) {
	const url, a, b = "http://example.com/first", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"
	path := filepath.Join(t.TempDir(), "a.cdxj")
	var text []byte
	for _, l := range []cdxj.Line{{Time: "20260101000000", Mime: "text/html", Digest: a, Filename: "1.warc.gz"},
		{Time: "20260102000000", Mime: cdxj.Revisit, Digest: a, Filename: "2.warc.gz"},
		{Time: "20260103000000", Mime: "text/html", Digest: b, Filename: "3.warc.gz"}} {
		l.URL, l.Key, l.Status = url, weburl.IndexKeyOf(url), 200
		var err error
		if text, err = l.Append(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := OpenEarlier(path)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for day, want := range []bool{1: true, 2: false, 3: false, 4: false} { // the second is a revisit itself, the third has another payload
		date := time.Date(2026, 1, day, 0, 0, 0, 999, time.UTC)
		k, ok, err := e.Original(url, date, "sha1:"+a)
		if err != nil || ok != want || ok && filepath.Base(k.Path) != "1.warc.gz" {
			t.Errorf("day %d: %+v %v %v", day, k, ok, err)
		}
	}
}
