package weburl

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"holdfast/base/fault"
)

// TestWHATWGCases runs the standard's own cases, as the library's module has them.
func TestWHATWGCases(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/nlnwa/whatwg-url").Output()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "testdata", "urltestdata.json"))
	if err != nil {
		t.Fatal(err)
	}
	var entries []json.RawMessage
	if err := json.Unmarshal(data, &entries); err != nil {
		t.Fatal(err)
	}
	ran, byUs := 0, 0
	for _, e := range entries {
		var c struct {
			Input   string
			Base    *string
			Href    string
			Failure bool
		}
		if json.Unmarshal(e, &c) != nil { // a comment
			continue
		}
		var base URL
		if c.Base != nil && *c.Base != "" {
			if base, err = Parse(*c.Base); err != nil {
				continue // not a base that a document of the web has
			}
		}
		ran++
		got, err := Limit(1<<20).Resolve(base, c.Input)
		want, _, _ := strings.Cut(c.Href, "#")
		switch {
		case c.Failure:
			if err == nil {
				t.Errorf("%q in %q: got %q, must fail", c.Input, base, got)
			}
		case !strings.HasPrefix(want, "http:") && !strings.HasPrefix(want, "https:"):
			if !errors.Is(err, ErrScheme) {
				t.Errorf("%q in %q: %v, not ErrScheme", c.Input, base, err)
			}
		case err != nil || got.String() != want:
			t.Errorf("%q in %q: got %q, %v; want %q", c.Input, base, got, err, want)
		}
		web, _ := schemeOf(trim(c.Input))
		if _, ok := fast(base, trim(c.Input), web); ok {
			byUs++
		}
	}
	if ran < 500 || byUs < 30 {
		t.Errorf("%d cases, %d by the fast path: too few to mean anything", ran, byUs)
	}
	t.Logf("%d cases, %d of them by the fast path", ran, byUs)
}

// same compares the two ways for one reference, and looks at what must hold of any URL.
func same(t interface {
	Helper()
	Fatalf(string, ...any)
}, base URL, ref string) (byUs bool) {
	t.Helper()
	if bare, _, _ := strings.Cut(trim(ref), "#"); true {
		web, other := schemeOf(bare)
		quick, ok := fast(base, bare, web)
		if byUs = ok && !other; byUs {
			if kept := trim(ref); strings.Contains(kept, "#") {
				bare += "#"
			}
			full, err := slow(base, bare)
			if err != nil || full != quick {
				t.Fatalf("%q in %q: fast %+v, slow %+v, %v", ref, base, quick, full, err)
			}
		}
	}
	u, err := base.Resolve(ref)
	if err != nil {
		if fault.KindOf(err) != fault.Invalid || !u.IsZero() {
			t.Fatalf("%q: %v has the kind %v", ref, err, fault.KindOf(err))
		}
		return byUs
	}
	if again, err := Parse(u.String()); err != nil || again != u {
		t.Fatalf("%q: %+v is parsed as %+v, %v", ref, u, again, err)
	}
	if u.SURT() == "" || u.QueueKey() == "" || u.IndexKey() == "" || u.Domain() == "" || u.Path()[0] != '/' {
		t.Fatalf("%q: %+v lacks a form", ref, u)
	}
	all := Heritrix
	all.DefaultDocuments = true
	for _, r := range []Rules{Heritrix, all, {Sessions: true}, {WWW: true}, {Query: true}} {
		c := r.Canonical(u)
		if again := r.Canonical(c); again != c {
			t.Fatalf("%q under %+v: %q, then %q", u, r, c, again)
		}
		if parsed, err := Limit(1 << 20).Parse(c.String()); err != nil || parsed != c {
			t.Fatalf("%q under %+v: %+v is parsed as %+v, %v", u, r, c, parsed, err)
		}
	}
	return byUs
}

// TestFastIsSlow makes references of the pieces that the standard treats in some special way.
func TestFastIsSlow(t *testing.T) {
	base, err := Parse("https://user@www.example.com:8080/a/b/c?q=1")
	if err != nil {
		t.Fatal(err)
	}
	pieces := []string{"http://", "https://", "HTTP://", "http:", "//", "/", "\\", "?", "#", "..", ".", "%2e", "%2E", "%", "%zz",
		":",
		"@", ":80", ":443", ":8080", ":0", ":65536", ":65535", "a", "B", "example.com", "www1.", "WWW.Ex.org", "127.0.0.1", "1.2.3.256",
		"1.2.3", "01", "0x7f.1", "-1", "a_b", "xn--", "xn--nxasmq6b", "a--b", "é", "\xff", " ", "\t", "\n", "\x00", "\"", "'", "<", "`", "{", "^", "|", "[::1]",
		"[", "]", ";jsessionid=999A9EF028317A82AC83F0FDFE59385A", "PHPSESSID=9682993c8daa2c5497996114facdc805", "&", "=", "index.html",
		"cfid=1&cftoken=2", "mailto:", "data:", "+", "~", "*", ",", "!", "$", "(", ")", "日本", ".com", "a.b.", "\u00ad", "\u2028"}
	for _, ref := range []string{"http://h:443/", "https://h:80/x", "http://h:80", "https://h:443?q", "//h:443/", "//h:80/", "../../../../x", "..", ".",
		"./", "a/../..", "a/./b/", "?", "?'", "/?a#b", "x?../y", "/.a/..b/...", "a%2", "//H/A", "HTTP://H", "http://h?x", "http:x", "https:x", "http:",
		"a//../b", "//", "///h", "/..//..", "x y", "x\\y", "?x\\y", "http://1.2.3.4", "http://1.2.3.04/", "http://1.2.3.4.5/", "http://a.1/", "a:b", "1:b"} {
		for _, b := range []URL{{}, base, parse(t, "http://h/x//y/?a/b")} {
			same(t, b, ref)
		}
	}
	byUs, all := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		ref := strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 8).Draw(t, "pieces"), "")
		for _, b := range []URL{{}, base} {
			all++
			if same(t, b, ref) {
				byUs++
			}
		}
	})
	if byUs*20 < all {
		t.Errorf("%d of %d by the fast path: the comparison means little", byUs, all)
	}
}

func FuzzResolve(f *testing.F) {
	for _, ref := range []string{"http://Example.com:80/a/../b?c=d#e", "../x/./y", "?q='", "//h/p", "http:/x", "http://1.2.3.4/%2e%2E/é",
		"/a;jsessionid=999A9EF028317A82AC83F0FDFE59385A/..", "http://www.www2.a.b/?&&x&", "http://[::1]:443/", "http://xn--a.b-.-1/"} {
		f.Add("", ref)
		f.Add("http://u:p@www.example.com/a/b/c?d", ref)
	}
	f.Fuzz(func(t *testing.T, base, ref string) {
		b, err := Parse(base)
		if err != nil {
			b = URL{}
		}
		same(t, b, ref)
		if p, err := SURTPrefix(ref); err == nil && !strings.HasPrefix(p, "http://(") {
			t.Fatalf("%q has the prefix %q", ref, p)
		}
	})
}
