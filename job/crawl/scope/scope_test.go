package scope

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/base/fault"
	"holdfast/base/weburl"
)

func parse(t testing.TB, raw string) weburl.URL {
	t.Helper()
	u, err := weburl.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func build(t testing.TB, l List, seeds ...string) *Scope {
	t.Helper()
	s, err := New(l, seeds)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// one is a scope that accepts what a test is about.
func one(t testing.TB, test Test, seeds ...string) *Scope {
	t.Helper()
	return build(t, List{{Accept: &test}}, seeds...)
}

func limit(n int64) *Limit { return &Limit{MoreThan: &n} }
func count(n int) *int     { return &n }

// about asks for URLs, with a + or - in front, whether a scope accepts them.
func about(t *testing.T, s *Scope, urls ...string) {
	t.Helper()
	for _, raw := range urls {
		if d := s.Decide(Candidate{URL: parse(t, raw[1:])}); d.Accept != (raw[0] == '+') {
			t.Errorf("%s: %+v", raw, d)
		}
	}
}

// TestDefault is the behaviour of Heritrix's default profile, with whole hosts.
func TestDefault(t *testing.T) {
	s := build(t, Default(), "http://www.example.com/a/b.html", "https://example.org:8443", "127.0.0.1:8000", "http://[::1]/x")
	for _, c := range []struct {
		url, hops string
		accept    bool
		rule      int
	}{
		{"http://www.example.com/a/b.html", "", true, 1},
		{"http://www.example.com/", "L", true, 1},
		{"https://www.example.com/c?d", "LLL", true, 1},
		{"http://www.example.com:81/", "L", false, 0},
		{"http://example.com/", "L", false, 0},
		{"http://a.www.example.com/", "L", false, 0},
		{"http://www.example.com.evil.org/", "L", false, 0},
		{"https://example.org:8443/x", "L", true, 1},
		{"https://example.org/x", "L", false, 0},
		{"http://127.0.0.1:8000/", "L", true, 1},
		{"http://127.0.0.1/", "L", false, 0},
		{"http://[::1]/y", "L", true, 1},
		{"http://cdn.example.net/a.css", "LE", true, 3},
		{"http://cdn.example.net/font", "LEE", true, 3},
		{"http://cdn.example.net/font", "LEEE", false, 0},
		{"http://cdn.example.net/x", "LX", true, 3},
		{"http://cdn.example.net/x", "LXX", false, 0},
		{"http://cdn.example.net/x", "LXE", true, 3},
		{"http://example.com/", "R", true, 3},
		{"http://cdn.example.net/x", "LEL", false, 0},
		{"http://cdn.example.net/x", "PMME", true, 3}, // of a page that a sitemap names
		{"http://cdn.example.net/page", "PMM", false, 0},
		{"http://www.example.com/", strings.Repeat("L", 20), true, 1},
		{"http://www.example.com/", strings.Repeat("L", 21), false, 2},
		{"http://www.example.com/", strings.Repeat("L", 20) + "E", true, 3},
		{"http://www.example.com/a/a/x", "L", true, 1},
		{"http://www.example.com/a/a/a/x", "L", false, 4},
		{"http://www.example.com/x/y/z/x/y/z/x/y", "L", true, 1},
		{"http://www.example.com/x/y/z/x/y/z/x/y/z/", "L", false, 4},
		{"http://www.example.com/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20", "L", true, 1},
		{"http://www.example.com/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20/", "L", false, 5},
		{"http://elsewhere.net/robots.txt", "LEP", true, 6},
		{"http://elsewhere.net/a/a/a/a/", "P", true, 6},
	} {
		d := s.Decide(Candidate{URL: parse(t, c.url), Hops: c.hops})
		if d.Accept != c.accept || d.Rule != c.rule || d.Why == "" || d.Name == "" {
			t.Errorf("%s %s: got %+v, want %v by rule %d", c.url, c.hops, d, c.accept, c.rule)
		}
	}
	if d := build(t, List{{Accept: &Test{Seed: true}}}).Decide(Candidate{URL: parse(t, "http://h/"), Hops: "L"}); d.Accept ||
		d.Rule != -1 || d.Why == "" {
		t.Errorf("what no rule is about: %+v", d)
	}
}

// TestSURTs has the rules of Heritrix's documentation for what a seed implies, and ours.
func TestSURTs(t *testing.T) {
	list := func(lines ...string) *Scope { return one(t, Test{SURTs: &SURTs{List: lines}}) }
	about(t, list("http://www.foo.org/"), "+http://www.foo.org/a", "-http://foo.org/", "-http://a.www.foo.org/")
	about(t, list("http://foo.org"), "+http://www.foo.org/a", "+http://foo.org/", "+https://foo.org:81/", "-http://foo.organic/",
		"-http://xfoo.org/")
	about(t, list("*.foo.org"), "+http://www.foo.org/a", "+http://foo.org/", "-http://xfoo.org/")
	about(t, list("http://foo.org/a/b"), "+http://foo.org/a/", "+http://foo.org/a/c", "-http://foo.org/a", "-http://foo.org/b",
		"+https://foo.org/A/x")
	about(t, list("+http://(org,foo,", "HTTPS://(com,Example,)/A"), "+http://a.foo.org/", "+http://example.com/ab",
		"-http://example.com/b")
	about(t, list("+http://foo.org/"), "+http://foo.org/x", "-http://a.foo.org/")
	about(t, list("foo.org:81", "foo.org:808"), "+http://foo.org:81/", "-http://foo.org/", "+http://foo.org:808/", "-http://foo.org:8080/")
	about(t, list("127.0.0.1"), "+http://127.0.0.1/", "+http://127.0.0.1:81/", "-http://127.0.0.10/",
		"-http://127.0.0.1.example.com/")
	about(t, list("http://[::1]"), "+http://[::1]:9/", "+http://[::1]/", "-http://[::11]/")
	about(t, list("http://[::1]:81"), "+http://[::1]:81/", "-http://[::1]/", "-http://[::1]:811/")
	about(t, list("http://("), "+http://a/", "+https://[::1]/")

	seeds := func(mode string, seeds ...string) *Scope { return one(t, Test{SURTs: &SURTs{Seeds: mode}}, seeds...) }
	about(t, seeds("path", "http://foo.org/a/b", "bar.org"), "+http://foo.org/a/c", "-http://foo.org/b", "+http://a.bar.org/")
	about(t, seeds("host", "http://u:p@foo.org:81/a/b", " bar.org "), "+http://foo.org:81/c", "-http://foo.org/",
		"-http://foo.org:811/", "+http://bar.org/", "-http://a.bar.org/")
	about(t, seeds("domain", "http://www.foo.co.uk:81/a"), "+http://foo.co.uk/", "+https://a.b.foo.co.uk:9/", "-http://bar.co.uk/",
		"-http://foo.org/")
	about(t, seeds("domain", "http://github.io/", "http://co.uk:82/", "http://10.0.0.1:81/"), "+http://github.io:9/",
		"-http://a.github.io/", "+http://co.uk/",
		"-http://a.co.uk/", "+http://10.0.0.1/", "-http://10.0.0.11/")

	via := one(t, Test{SURTs: &SURTs{List: []string{"http://(org,archive,"}, Via: true}})
	for from, want := range map[string]bool{"http://archive.org/": true, "http://google.com/": false} {
		if d := via.Decide(Candidate{URL: parse(t, "http://example.com"), Via: parse(t, from)}); d.Accept != want {
			t.Errorf("via %s: %+v", from, d)
		}
	}
	about(t, via, "+http://archive.org/", "-http://example.com/")
	about(t, one(t, Test{SURTs: &SURTs{List: []string{"foo.org"}}, Not: true}), "-http://foo.org/", "+http://bar.org/")
}

func TestFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "surts.txt")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# sites\n\n+http://(org,foo,  # and below\r\nhttp://bar.org/a/b\n  baz.org\n")
	about(t, one(t, Test{SURTs: &SURTs{File: file}}), "+http://a.foo.org/", "+http://bar.org/a/x", "+http://x.baz.org/",
		"-http://bar.org/")
	for text, want := range map[string]string{"foo.org\nftp://x/\n": file + ":2", strings.Repeat("x", 1<<17): "token too long"} {
		write(text)
		_, err := New(List{{Reject: &Test{SURTs: &SURTs{File: file}}}}, nil)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "scope[0].reject.surts.file: ") ||
			!fault.Is(err, fault.Invalid) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	if _, err := New(List{{Reject: &Test{SURTs: &SURTs{File: file + "x"}}}}, nil); err == nil || !strings.Contains(err.Error(),
		"surts.file: read") {
		t.Errorf("no file: %v", err)
	}
	if faults := (List{{Reject: &Test{SURTs: &SURTs{File: file + "x"}}}}).Validate(); len(faults) != 0 {
		t.Errorf("Validate reads files: %v", faults)
	}
}

func TestWith(t *testing.T) {
	s := build(t, Default(), "http://a.org/")
	next, err := s.With("http://b.org/", "http://c.org:81/x")
	if err != nil {
		t.Fatal(err)
	}
	about(t, s, "+http://a.org/", "-http://b.org/")
	about(t, next, "+http://a.org/", "+http://b.org/x", "+http://c.org:81/", "-http://c.org/")
	for i := range 3 * maxLate {
		if next, err = next.With(fmt.Sprintf("http://h%d.org/", i)); err != nil {
			t.Fatal(err)
		}
	}
	about(t, next, "+http://a.org/", "+http://b.org/x", "+http://h0.org/", "+http://h700.org/", fmt.Sprintf("+http://h%d.org/",
		3*maxLate-1), "-http://i.org/")
	if _, err := next.With("ftp://x/"); !fault.Is(err, fault.Invalid) {
		t.Errorf("a seed that is none: %v", err)
	}
}

func TestOtherTests(t *testing.T) {
	about(t, one(t, Test{Regex: []string{`/calendar/`, `\.pdf$`, `(?i)^https?://H\.org/x`}}), "+http://a/calendar/1",
		"+http://a/b.pdf", "-http://a/b.pdf?x",
		"+https://h.org/xy", "-http://a/h.org/x")
	about(t, one(t, Test{Scheme: []string{"http"}}), "+http://a/", "-https://a/")
	about(t, one(t, Test{Scheme: []string{"http"}, Not: true}), "-http://a/", "+https://a/")
	about(t, one(t, Test{Extension: []string{"jpg", "tar.gz"}}), "+http://a/b.JPG", "+http://a/b.tar.gz?x", "-http://a/b.gz",
		"-http://a/.jpg", "-http://a/jpg",
		"-http://a/b.jpg/", "-http://a/?b.jpg", "-http://a.jpg/")
	about(t, one(t, Test{PathDepth: limit(2)}), "-http://a/", "-http://a/b/c", "+http://a/b/c/", "-http://a/b/c?/d/e")
	about(t, one(t, Test{Everything: true}), "+http://a/")
	about(t, one(t, Test{Everything: true, Not: true}), "-http://a/")

	for _, c := range []struct {
		test   Test
		hops   string
		source string
		accept bool
	}{
		{Test{Seed: true}, "", "", true},
		{Test{Seed: true}, "L", "", false},
		{Test{Prerequisite: true}, "LP", "", true},
		{Test{Prerequisite: true}, "PL", "", false},
		{Test{Prerequisite: true}, "", "", false},
		{Test{Source: []string{"http://s/", "tag"}}, "L", "tag", true},
		{Test{Source: []string{"http://s/"}}, "L", "http://s/x", false},
		{Test{Hops: &Hops{MoreThan: count(2)}}, "LL", "", false},
		{Test{Hops: &Hops{MoreThan: count(2)}}, "LEL", "", true},
		{Test{Hops: &Hops{MoreThan: count(0)}}, "", "", false},
		{Test{Hops: &Hops{MoreThan: count(1), Of: "LM"}}, "LEEE", "", false},
		{Test{Hops: &Hops{MoreThan: count(1), Of: "LM"}}, "LEM", "", true},
		{Test{Hops: &Hops{Match: "^L*E$"}}, "LLE", "", true},
		{Test{Hops: &Hops{Match: "^L*E$"}}, "LLEE", "", false},
	} {
		if d := one(t, c.test).Decide(Candidate{URL: parse(t, "http://h/"), Hops: c.hops, Source: c.source}); d.Accept != c.accept {
			t.Errorf("%+v: %s %s: %+v", c.test, c.hops, c.source, d)
		}
	}
}

// TestTransclusion has what the javadoc of Heritrix's TransclusionDecideRule says, for its limits of 2 and 1 and others.
func TestTransclusion(t *testing.T) {
	for _, c := range []struct {
		hops          string
		most, guesses int
		accept        bool
	}{
		{"", 2, 1, false}, {"L", 2, 1, false}, {"EL", 2, 1, false},
		{"E", 2, 1, true}, {"LE", 2, 1, true}, {"LER", 2, 1, true}, {"LRE", 2, 1, true}, {"LERE", 2, 1, false}, {"EEE", 2, 1, false},
		{"X", 2, 1, true}, {"LXX", 2, 1, false}, {"LXE", 2, 1, true}, {"LEX", 2, 1, true}, {"LXX", 2, 2, true}, {"LX", 2, 0, false},
		{"E", 0, 0, false}, {"EEEE", 4, 1, true}, {"XLE", 1, 0, true},
		{"M", 2, 1, false}, {"ME", 2, 1, true}, {"P", 2, 1, true},
	} {
		s := one(t, Test{Transclusion: &Transclusion{Hops: &c.most, Speculative: &c.guesses}})
		if d := s.Decide(Candidate{URL: parse(t, "http://h/"), Hops: c.hops}); d.Accept != c.accept {
			t.Errorf("%q of %d and %d: %+v", c.hops, c.most, c.guesses, d)
		}
	}
}

func TestAfterHead(t *testing.T) {
	s := build(t, List{
		{Accept: &Test{Everything: true}},
		{Reject: &Test{Type: []string{"video/*", "application/zip"}}},
		{Accept: &Test{Regex: []string{"/keep/"}}},
		{Reject: &Test{Size: limit(1000)}},
	})
	if !s.LooksAtHeads() || build(t, Default()).LooksAtHeads() || !one(t, Test{Size: limit(1)}).LooksAtHeads() ||
		!one(t, Test{Type: []string{"a/b"}}).LooksAtHeads() {
		t.Error("LooksAtHeads is wrong")
	}
	for _, c := range []struct {
		url  string
		head Head
		rule int
	}{
		{"http://h/", Head{"text/html; charset=utf-8", 10}, 0},
		{"http://h/", Head{"", -1}, 0},
		{"http://h/", Head{"VIDEO/mp4; x=y", 10}, 1},
		{"http://h/", Head{"video/", 10}, 0},
		{"http://h/", Head{" application/ZIP ", -1}, 1},
		{"http://h/keep/", Head{"video/mp4", 10}, 2},
		{"http://h/keep/", Head{"video/mp4", 1001}, 3},
		{"http://h/keep/", Head{"video/mp4", 1000}, 2},
	} {
		before, after := s.Decide(Candidate{URL: parse(t, c.url)}), s.AfterHead(Candidate{URL: parse(t, c.url)}, c.head)
		if !before.Accept || after.Rule != c.rule || after.Accept != (c.rule%2 == 0) {
			t.Errorf("%s %+v: before %+v, after %+v, want rule %d", c.url, c.head, before, after, c.rule)
		}
	}
	// Turned round, what is not known stays so.
	html := build(t, List{{Accept: &Test{Everything: true}}, {Reject: &Test{Type: []string{"text/html"}, Not: true}},
		{Reject: &Test{Size: limit(5), Not: true}}})
	c := Candidate{URL: parse(t, "http://h/")}
	if !html.Decide(c).Accept || html.AfterHead(c, Head{"image/png", -1}).Accept || html.AfterHead(c, Head{"", -1}).Accept ||
		!html.AfterHead(c, Head{"text/html", -1}).Accept ||
		html.AfterHead(c, Head{"text/html", 5}).Accept {
		t.Error("not: is wrong")
	}
}

func TestExplain(t *testing.T) {
	s := build(t, append(Default(), Rule{Name: "no video", Reject: &Test{Type: []string{"video/*"}}},
		Rule{Reject: &Test{Regex: []string{"x", "z=1"}, Not: false}}), "http://h.org/")
	c := Candidate{URL: parse(t, "http://h.org/a/a/a/b.mp4?z=1"), Hops: "LLE", Via: parse(t, "http://h.org/")}
	var got []string
	for _, o := range s.Explain(c, nil) {
		got = append(got, fmt.Sprintf("%d %s: %s: %s (%v)", o.Rule, o.Name, o.Verdict, o.Why, o.Decides))
	}
	want := []string{
		"0 reject everything: reject: every URL (false)",
		"1 accept surts: accept: its SURT begins with one of 1 prefixes: http://(org,h,) (false)",
		"2 reject hops: pass: more than 20 hops from its seed (false)",
		"3 accept transclusion: accept: at most 2 hops from a page that is fetched, none of them a link, " +
			"at most 1 a guess: LLE (false)",
		"4 reject repeated_segments: reject: directories of its path are repeated more than 2 times: a/ (false)",
		"5 reject path_depth: pass: more than 20 segments in its path (false)",
		"6 accept prerequisite: pass: another URL needs it first (hop P) (false)",
		"7 no video: later: its MIME type is video/* (false)",
		"8 reject regex: reject: one of 2 regular expressions is found in it: z=1 (true)",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if o := s.Explain(c, &Head{Type: "video/mp4"})[7]; o.Verdict != Reject || o.Why != "its MIME type is video/*: video/mp4" {
		t.Errorf("with a head: %+v", o)
	}
	if all := one(t, Test{Seed: true}).Explain(c, nil); len(all) != 1 || all[0].Decides {
		t.Errorf("nothing decides, but %+v", all)
	}
}
