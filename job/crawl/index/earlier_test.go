package index

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/base/cdxj"
	"holdfast/base/fault"
	"holdfast/base/warc"
	"holdfast/base/weburl"
)

// indexFile writes an index of lines, sorted.
func indexFile(t testing.TB, path string, lines ...cdxj.Line) string {
	t.Helper()
	var all []string
	for _, l := range lines {
		b, err := l.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(b))
	}
	return textFile(t, path, text(all))
}

func textFile(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func openEarlier(t testing.TB, paths ...string) *Earlier {
	t.Helper()
	e, err := OpenEarlier(paths...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// TestEarlier: what is found is what a look through all lines finds, in several files and a directory of them.
func TestEarlier(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	dir := filepath.Join(t.TempDir(), "a[b]*")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	url := func(n int) string { return fmt.Sprintf("http://www.example%d.com/p?q=%d", n%3, n) }
	var all []cdxj.Line
	var files [4][]cdxj.Line
	for n := range 3000 {
		to := url(r.IntN(300))
		l := cdxj.Line{Key: weburl.IndexKeyOf(to), URL: to, Mime: "text/html", Status: 200,
			Time: fmt.Sprintf("2026010100%02d%02d", r.IntN(60), r.IntN(60)), Digest: digestOf(fmt.Sprint(r.IntN(5))).Value(), Offset: int64(n), Filename: "x.warc.gz"}
		switch r.IntN(10) {
		case 0:
			l.Mime = cdxj.Revisit
		case 1:
			l.Digest = "sha1:" + strings.ToLower(l.Digest)
		}
		all = append(all, l)
		i := r.IntN(len(files))
		files[i] = append(files[i], l)
	}
	paths := []string{dir}
	for i, lines := range files {
		if i < 2 {
			indexFile(t, filepath.Join(dir, fmt.Sprintf("%d.cdxj", i)), lines...)
		} else {
			paths = append(paths, indexFile(t, filepath.Join(t.TempDir(), "lines"), lines...))
		}
	}
	textFile(t, filepath.Join(dir, "other.txt"), "no index")
	e := openEarlier(t, paths...)
	slices.SortStableFunc(all, func(a, b cdxj.Line) int { return strings.Compare(a.Time, b.Time) })
	for n := range 302 {
		for d := range 7 {
			digest := digestOf(fmt.Sprint(d))
			var want Capture
			for _, l := range all {
				if l.URL == url(n) && l.Mime != cdxj.Revisit && strings.EqualFold(strings.TrimPrefix(l.Digest, "sha1:"), digest.Value()) {
					want.URL = l.URL
					want.Time, _ = time.Parse(timeForm, l.Time)
					break
				}
			}
			if got, ok, err := e.First(url(n), digest); err != nil || got != want || ok != (want.URL != "") {
				t.Fatalf("%s with %s: got %+v %v %v, want %+v", url(n), digest, got, ok, err, want)
			}
		}
	}
	if _, ok, err := e.First(url(1), ""); ok || err != nil {
		t.Errorf("no digest: got %v %v", ok, err)
	}
	if _, ok, err := e.First(url(1), warc.Digest("sha256:"+digestOf("1").Value())); ok || err != nil {
		t.Errorf("another algorithm: got %v %v", ok, err)
	}
}

// TestEarlierForms: what others write is read too.
func TestEarlierForms(t *testing.T) {
	path := textFile(t, filepath.Join(t.TempDir(), "x"), "!meta {\"a\": 1}\n"+
		`com,example)/ 20200102030405 {"url":"http://example.com/","digest":"sha256:`+strings.Repeat("0a", 32)+`"}`+"\n"+
		`com,example)/a 20200102030405 {"url":"http://example.com/a","digest":"`+digestOf("a").Value()+`"}`) // no end of line
	e := openEarlier(t, path, textFile(t, filepath.Join(t.TempDir(), "empty"), ""))
	for url, digest := range map[string]warc.Digest{"http://example.com/": warc.Digest("sha256:" + strings.Repeat("0a", 32)),
		"https://www.example.com/a": digestOf("a")} {
		if got, ok, err := e.First(url, digest); !ok || err != nil || got.Time.Year() != 2020 {
			t.Errorf("%s: got %+v %v %v", url, got, ok, err)
		}
	}
}

func TestEarlierRefuses(t *testing.T) {
	dir := t.TempDir()
	line := func(n int) cdxj.Line {
		return cdxj.Line{Key: fmt.Sprintf("com,a)/%04d", n), Time: "20260101000000", URL: "http://a.com/", Filename: "x"}
	}
	var sorted []string
	for n := range 1000 {
		b, _ := line(n).Append(nil)
		sorted = append(sorted, string(b))
	}
	half := strings.Join(append(slices.Clone(sorted[500:]), sorted[:500]...), "")
	many := filepath.Join(dir, "many")
	if err := os.Mkdir(many, 0o755); err != nil {
		t.Fatal(err)
	}
	for n := range mostEarlier + 1 {
		indexFile(t, filepath.Join(many, fmt.Sprintf("%d.cdxj", n)), line(n))
	}
	for name, c := range map[string]struct {
		path string
		kind fault.Kind
	}{
		"nothing there":   {filepath.Join(dir, "none"), fault.NotFound},
		"empty directory": {t.TempDir(), fault.NotFound},
		"not sorted":      {textFile(t, filepath.Join(dir, "half"), half), fault.Corrupt},
		"a CDX file": {textFile(t, filepath.Join(dir, "cdx"), " CDX N b a m s k r M S V g\n"+
			"com,a)/ 20260101000000 http://a.com/ text/html 200 X - - 1 2 x\n"), fault.Invalid},
		"packed":   {textFile(t, filepath.Join(dir, "gz"), "\x1f\x8b\x08\x00\x00"), fault.Invalid},
		"one line": {textFile(t, filepath.Join(dir, "long"), strings.Repeat("x", cdxj.MaxLine+9)), fault.Invalid},
		"too many": {many, fault.Invalid},
	} {
		if _, err := OpenEarlier(indexFile(t, filepath.Join(dir, "good"), line(1)), c.path); !fault.Is(err, c.kind) ||
			!strings.Contains(err.Error(), filepath.Base(c.path)) && name != "too many" {
			t.Errorf("%s: got %v, want %v", name, err, c.kind)
		}
	}
	// What a look at a few lines does not tell, a search does.
	spoiled := slices.Clone(sorted)
	for n := range spoiled {
		if n%2 == 1 {
			spoiled[n] = strings.Replace(spoiled[n], "com,", "bom,", 1)
		}
	}
	path := textFile(t, filepath.Join(dir, "spoiled"), "")
	for n := range looks { // at the places that are looked at all is well
		at := len(strings.Join(sorted, "")) / looks * n
		i := at/len(sorted[0]) + 1
		for _, k := range []int{i - 1, i, i + 1} {
			if k >= 0 && k < len(spoiled) {
				spoiled[k] = sorted[k]
			}
		}
	}
	textFile(t, path, strings.Join(spoiled, ""))
	e := openEarlier(t, path)
	found := false
	for n := 1; n < 1000; n += 10 {
		_, _, err := e.First(fmt.Sprintf("http://a.com/%04d", n), digestOf("a"))
		if err != nil && (!fault.Is(err, fault.Corrupt) || !strings.Contains(err.Error(), path)) {
			t.Fatal(err)
		}
		found = found || err != nil
	}
	if !found {
		t.Error("no search met lines that are not in order")
	}
	broken := strings.Replace(strings.Join(sorted, ""),
		`{"url": "http://a.com/", "length": "0", "offset": "0", "filename": "x"}`+"\ncom,a)/0002", strings.Repeat("?", 70)+"\ncom,a)/0002", 1)
	e = openEarlier(t, textFile(t, filepath.Join(dir, "broken"), broken))
	_, _, err := e.First("http://a.com/0001", digestOf("a"))
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "broken") {
		t.Errorf("a broken line: got %v", err)
	}
}

// FuzzEarlier: whatever a file holds, it is refused, or searched without a fault of ours.
func FuzzEarlier(f *testing.F) {
	good, _ := cdxj.Line{Key: "com,example)/", Time: "20260101000000", URL: "http://example.com/",
		Digest: digestOf("a").Value()}.Append(nil)
	f.Add(good)
	f.Add(append([]byte("!meta {}\n"), good...))
	f.Add(append(slices.Clone(good), "com,example)/ 20260101000000 {}"...))
	f.Add([]byte("com,example)/ 20269901000000 {\"url\": \"x\", \"digest\": \"" + digestOf("a").Value() + "\"}\n"))
	f.Add([]byte("\n"))
	f.Add([]byte(" CDX N b a\n\n\n"))
	path := filepath.Join(f.TempDir(), "x")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		e, err := OpenEarlier(path)
		if err == nil {
			_, _, err = e.First("http://example.com/", digestOf("a"))
			e.Close()
		}
		if err != nil && !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.Corrupt) {
			t.Error(err)
		}
	})
}
