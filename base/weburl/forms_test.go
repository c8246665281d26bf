package weburl

import (
	"errors"
	"strings"
	"testing"
)

func parse(t testing.TB, raw string) URL {
	t.Helper()
	u, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestParts(t *testing.T) {
	u := parse(t, "HTTPS://U:p@WWW.Example.co.uk:8443/a/../b?c=d#e")
	if u.String() != "https://U:p@www.example.co.uk:8443/b?c=d" || u.Scheme() != "https" || !u.Secure() || u.Userinfo() != "U:p" ||
		u.Host() != "www.example.co.uk" || u.Port() != "8443" || u.Path() != "/b" || u.Query() != "c=d" || u.IsAddress() || u.IsZero() {
		t.Errorf("%+v", u)
	}
	if u = parse(t, "http://[::1]:80"); u.String() != "http://[::1]/" || u.Host() != "[::1]" || u.Port() != "" || u.Query() != "" || !u.IsAddress() {
		t.Errorf("%+v", u)
	}
	if !(URL{}).IsZero() || (URL{}).String() != "" {
		t.Error("the zero value is something")
	}
}

func TestRefusals(t *testing.T) {
	for raw, want := range map[string]error{
		"mailto:a@b": ErrScheme, "javascript:f()": ErrScheme, "data:" + strings.Repeat("x", 1<<20): ErrScheme, "ftp://h/": ErrScheme,
		"java\nscript:f()": ErrScheme,
		"":                 ErrNotURL, "a/b": ErrNotURL, "http://": ErrNotURL, "http://a b/": ErrNotURL, "http://1.2.3.256/": ErrNotURL, "http://a:99999/": ErrNotURL,
		"http://h/" + strings.Repeat("x", MaxLength-8): ErrTooLong, "http://h/" + strings.Repeat("x", 1<<20): ErrTooLong,
	} {
		if u, err := Parse(raw); !errors.Is(err, want) || !u.IsZero() {
			t.Errorf("%.40q: %q, %v, not %v", raw, u, err, want)
		}
	}
	longest := "http://h/" + strings.Repeat("x", MaxLength-9)
	if u, err := Parse(longest + "#" + longest); err != nil || u.String() != longest {
		t.Errorf("the longest: %v", err)
	}
	if _, err := Limit(10).Parse("http://h/xy"); !errors.Is(err, ErrTooLong) {
		t.Errorf("a limit of 10: %v", err)
	}
}

// TestSURT has cases of Heritrix's documentation of SURTs and of its own tests' subjects.
func TestSURT(t *testing.T) {
	for raw, want := range map[string]string{
		"http://www.archive.org/Movies/movies.php?A=b":     "http://(org,archive,www,)/movies/movies.php?a=b",
		"https://www.example.com":                          "http://(com,example,www,)/",
		"http://www.example.com:8080/path":                 "http://(com,example,www,:8080)/path",
		"http://user:Pass@www.example.com:8080/x":          "http://(com,example,www,:8080@user:pass)/x",
		"http://127.2.34.5/foo":                            "http://(127.2.34.5)/foo",
		"http://127.2.34.5:81/foo":                         "http://(127.2.34.5:81)/foo",
		"http://[2001:DB8::1]:81/":                         "http://([2001:db8::1]:81)/",
		"http://localhost/":                                "http://(localhost,)/",
		"http://www.example.com/foo@bar":                   "http://(com,example,www,)/foo@bar",
		"http://b\u00fccher.example/":                      "http://(example,xn--bcher-kva,)/",
		"http://example.com./":                             "http://(,com,example,)/",
		"http://www.example.com/a%C3%A9?q=http://x.com/#a": "http://(com,example,www,)/a%c3%a9?q=http://x.com/",
	} {
		if got := parse(t, raw).SURT(); got != want {
			t.Errorf("%s: got %s, want %s", raw, got, want)
		}
	}
}

func TestSURTPrefix(t *testing.T) {
	for seed, want := range map[string]string{
		"http://www.example.com":              "http://(com,example,www,",
		"example.com":                         "http://(com,example,",
		" example.com:8080 ":                  "http://(com,example,:8080",
		"http://www.example.com/":             "http://(com,example,www,)/",
		"https://Example.com/A/b.html":        "http://(com,example,)/a/",
		"http://example.com/a/b/":             "http://(com,example,)/a/b/",
		"http://example.com/a?b=/c/d":         "http://(com,example,)/",
		"http://127.0.0.1:8000/x/y":           "http://(127.0.0.1:8000)/x/",
		"http://127.0.0.1":                    "http://(127.0.0.1",
		"http://user@example.com/private/doc": "http://(com,example,@user)/private/",
	} {
		if got, err := SURTPrefix(seed); err != nil || got != want {
			t.Errorf("%s: got %s, %v; want %s", seed, got, err, want)
		}
	}
	if _, err := SURTPrefix("ftp://x/"); !errors.Is(err, ErrScheme) {
		t.Errorf("ftp: %v", err)
	}
}

func TestQueueKeyAndDomain(t *testing.T) {
	for raw, want := range map[string][2]string{
		"http://www.example.co.uk/x": {"uk,co,example,www,", "example.co.uk"},
		"https://www.example.com/":   {"com,example,www,#443", "example.com"},
		"http://example.com:8080/":   {"com,example,#8080", "example.com"},
		"https://example.com:8080/":  {"com,example,#8080", "example.com"},
		"http://127.0.0.2:81/":       {"127.0.0.2#81", "127.0.0.2"},
		"http://[::1]/":              {"[::1]", "[::1]"},
		"http://co.uk/":              {"uk,co,", "co.uk"},
		"http://localhost/":          {"localhost,", "localhost"},
	} {
		u := parse(t, raw)
		if got := [2]string{u.QueueKey(), u.Domain()}; got != want {
			t.Errorf("%s: got %q, want %q", raw, got, want)
		}
	}
}

// TestIndexKey has what the Python package surt answers, by its own tests (tests/test_surt.py).
func TestIndexKey(t *testing.T) {
	for raw, want := range map[string]string{
		"http://www.archive.org/":                 "org,archive)/",
		"http://archive.org/goo/":                 "org,archive)/goo",
		"http://archive.org/goo/?":                "org,archive)/goo",
		"http://archive.org/goo/?b&a":             "org,archive)/goo?a&b",
		"http://archive.org/goo/?a=2&b&a=1":       "org,archive)/goo?a=1&a=2&b",
		"http://192.168.1.254/info/":              "254,1,168,192)/info",
		"https://www2.Example.com:8443/A//b/?Q=1": "com,example:8443)/a/b?q=1",
		"http://user:pw@example.com/%7Ejohn%20a":  "com,example)/~john%20a",
		"http://[::1]/x":                          "[::1])/x",
		"http://archive.org/index.php?PHPSESSID=0123456789abcdefghijklemopqrstuv&action=profile;u=4221": "org,archive)/index.php?action=profile;u=4221",
		`http://visit.webhosting.yahoo.com/visit.gif?&r=http%3A//web.archive.org/web/20090517140029/http%3A//anthonystewarthead.electric-chi.com/` +
			`&b=Netscape%205.0%20%28Windows%3B%20en-US%29&s=1366x768&o=Win32&c=24&j=true&v=1.2`: `com,yahoo,webhosting,visit)/visit.gif?` +
			`&b=netscape%205.0%20(windows;%20en-us)&c=24&j=true&o=win32&r=http://web.archive.org/web/20090517140029/http://anthonystewarthead.electric-chi.com/&s=1366x768&v=1.2`,
	} {
		if got := parse(t, raw).IndexKey(); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", raw, got, want)
		}
	}
}

func TestIndexKeyOf(t *testing.T) {
	for raw, want := range map[string]string{
		"http://www.archive.org/goo/": "org,archive)/goo",
		"dns:archive.org":             "org,archive)",
		"warcinfo:foo.warc.gz":        "warcinfo:foo.warc.gz",
		"http://a b/":                 "http://a%20b/",
	} {
		if got := IndexKeyOf(raw); got != want {
			t.Errorf("%s: got %s, want %s", raw, got, want)
		}
	}
}

func TestCanonical(t *testing.T) {
	const id = "9682993c8daa2c5497996114facdc805"
	documents := Heritrix
	documents.DefaultDocuments = true
	for _, c := range []struct {
		rules     Rules
		raw, want string
	}{
		{Heritrix, "http://Example.com/A?B=C", "http://example.com/a?b=c"},
		{Heritrix, "http://u:p@example.com/a", "http://example.com/a"},
		{Heritrix, "https://www12.example.com:81/a", "https://example.com:81/a"},
		{Heritrix, "http://www.example.com/", "http://www.example.com/"}, // a home page
		{Heritrix, "http://www.example.com/?a", "http://example.com/?a"},
		{Heritrix, "http://www.com/a", "http://www.com/a"},
		{Heritrix, "http://wwwx.example.com/a", "http://wwwx.example.com/a"},
		{Heritrix, "http://e.com/a?PHPSESSID=" + id + "&x=1", "http://e.com/a?x=1"},
		{Heritrix, "http://e.com/a?x=1&sid=" + id, "http://e.com/a?x=1"},
		{Heritrix, "http://e.com/a?jsessionid=" + id, "http://e.com/a"},
		{Heritrix, "http://e.com/a;jsessionid=" + id + "?x", "http://e.com/a?x"},
		{Heritrix, "http://e.com/a;jsessionid=" + id + ";JSESSIONID=" + id + "/b", "http://e.com/a/b"},
		{Heritrix, "http://e.com/a/.;jsessionid=" + id + "/b", "http://e.com/a/b"},
		{Heritrix, "http://e.com/a/..;jsessionid=" + id, "http://e.com/"},
		{Heritrix, "http://e.com/a?sid=12", "http://e.com/a?sid=12"},
		{Heritrix, "http://e.com/a?aspsessionidAQBSDSRT=EOHBLBDDPFCLHKPGGKLILNAM&b", "http://e.com/a?b"},
		{Heritrix, "http://e.com/a?CFID=1169580&CFTOKEN=48630702&d", "http://e.com/a?d"},
		{Heritrix, "http://e.com/a?CFID=1169580&d", "http://e.com/a?cfid=1169580&d"},
		{Heritrix, "http://e.com/(S(4hqa0555fwsecu455xqckv45))/m.aspx", "http://e.com/m.aspx"},
		{Heritrix, "http://e.com/a?", "http://e.com/a"},
		{Heritrix, "http://e.com/a?&", "http://e.com/a"},
		{Heritrix, "http://e.com/a?&x&", "http://e.com/a?x"},
		{Heritrix, "http://e.com/index.html", "http://e.com/index.html"},
		{documents, "http://www.e.com/Index.HTML", "http://www.e.com/"},
		{documents, "http://www.e.com/d/default.aspx?x", "http://e.com/d/?x"},
		{Rules{}, "http://u@www.E.com/A?&sid=" + id, "http://u@www.e.com/A?&sid=" + id},
	} {
		if got := c.rules.Canonical(parse(t, c.raw)).String(); got != c.want {
			t.Errorf("%s: got %s, want %s", c.raw, got, c.want)
		}
	}
	if !Heritrix.Canonical(URL{}).IsZero() {
		t.Error("the zero value becomes something")
	}
}

func BenchmarkParse(b *testing.B) {
	for b.Loop() {
		if _, err := Parse("http://www.example.com/some/path/page.html?id=12345&lang=en"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	base := parse(b, "http://www.example.com/some/path/page.html")
	for b.Loop() {
		if _, err := base.Resolve("../other/page.html?id=12345"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSlow(b *testing.B) {
	for b.Loop() {
		if _, err := slow(URL{}, "http://www.example.com/some/path/page.html?id=12345&lang=en"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCanonical(b *testing.B) {
	u := parse(b, "http://www.example.com/some/path/page.html?id=12345&lang=en")
	for b.Loop() {
		Heritrix.Canonical(u)
	}
}

func BenchmarkSURT(b *testing.B) {
	u := parse(b, "http://www.example.com/some/path/page.html?id=12345&lang=en")
	for b.Loop() {
		u.SURT()
	}
}

func BenchmarkIndexKey(b *testing.B) {
	u := parse(b, "http://www.example.com/some/path/page.html?id=12345&lang=en")
	for b.Loop() {
		u.IndexKey()
	}
}
