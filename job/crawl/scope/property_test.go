package scope

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"holdfast/base/weburl"
)

// TestPrefixSet compares the look-up with one that looks at every prefix, also of those that were added later.
func TestPrefixSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringOfN(rapid.RuneFrom([]rune("ab,)")), 0, 5, -1)
		first, more := rapid.SliceOf(word).Draw(t, "first"), rapid.SliceOf(word).Draw(t, "more")
		set := newPrefixSet(slices.Clone(first)).with(more[:len(more)/2]).with(more[len(more)/2:])
		for _, s := range rapid.SliceOfN(rapid.StringOfN(rapid.RuneFrom([]rune("ab,)")), 0, 8, -1), 1, 20).Draw(t, "asked") {
			want := slices.ContainsFunc(append(slices.Clone(first), more...), func(p string) bool { return strings.HasPrefix(s, p) })
			p, got := set.find(s)
			if got != want || !strings.HasPrefix(s, p) {
				t.Fatalf("%q: got %q, %v; want %v", s, p, got, want)
			}
		}
	})
}

// repeatsAsRegex is what Heritrix's expression /(.*?/)\1{most,} finds: some text that ends in a slash stands behind a
// slash, and then again and again.
func repeatsAsRegex(path string, most int) bool {
	for i := range len(path) {
		if path[i] != '/' {
			continue
		}
		for end := i + 2; end <= len(path); end++ {
			if block := path[i+1 : end]; block[len(block)-1] == '/' && strings.HasPrefix(path[end:], strings.Repeat(block, most)) {
				return true
			}
		}
	}
	return false
}

func TestRepeats(t *testing.T) {
	for path, want := range map[string]string{
		"/a/a/a/boo.html": "a/", "/a/a/a": "", "/a/a/a/": "a/", "/a/a/b/a/": "", "/a/b/a/b/a/b/c": "a/b/", "/aa/a/a/": "",
		"/x/a/a/aa/": "",
		"////":       "/", "///": "", "/": "", "/a/a/a/a/a/foo.html": "a/", "": "",
	} {
		if got := repeats(path, 2); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	long := strings.Repeat("/a/b", 500)
	if repeats(long, 2) == "" || repeats(long, 1<<40) != "" {
		t.Error("a long path")
	}
	rapid.Check(t, func(t *rapid.T) {
		path := "/" + rapid.StringOfN(rapid.RuneFrom([]rune("ab///")), 0, 40, -1).Draw(t, "path")
		most := rapid.IntRange(1, 4).Draw(t, "most")
		if got := repeats(path, int64(most)); (got != "") != repeatsAsRegex(path, most) || !strings.Contains(path, strings.Repeat(got,
			most+1)) {
			t.Fatalf("%s more than %d times: got %q", path, most, got)
		}
	})
}

// TestLastMatchWins: what decides is the last of the opinions that is one, and Decide gives that.
func TestLastMatchWins(t *testing.T) {
	tests := []Test{{Everything: true}, {Seed: true}, {Prerequisite: true}, {Regex: []string{"a"}},
		{Hops: &Hops{MoreThan: count(1)}}, {Transclusion: &Transclusion{}},
		{SURTs: &SURTs{List: []string{"h.org"}}}, {PathDepth: limit(2)}, {RepeatedSegments: limit(1)}, {Scheme: []string{"https"}},
		{Extension: []string{"a"}},
		{Type: []string{"text/*"}}, {Size: limit(5)}, {Source: []string{"s"}}}
	rapid.Check(t, func(t *rapid.T) {
		var l List
		for range rapid.IntRange(1, 8).Draw(t, "rules") {
			test := rapid.SampledFrom(tests).Draw(t, "test")
			test.Not = rapid.Bool().Draw(t, "not")
			if rapid.Bool().Draw(t, "accept") {
				l = append(l, Rule{Accept: &test})
			} else {
				l = append(l, Rule{Reject: &test})
			}
		}
		s, err := New(l, nil)
		if err != nil {
			t.Fatal(err)
		}
		u, err := weburl.Parse(rapid.SampledFrom([]string{"http://h.org/", "https://h.org/a/a/a/b.a", "http://b.org/x"}).Draw(t, "url"))
		if err != nil {
			t.Fatal(err)
		}
		c := Candidate{URL: u, Hops: rapid.StringOfN(rapid.RuneFrom([]rune("LEXPM")), 0, 4, -1).Draw(t, "hops"),
			Source: rapid.SampledFrom([]string{"", "s"}).Draw(t, "source")}
		for _, head := range []*Head{nil, {"text/html", 10}, {"image/png", -1}} {
			want := Decision{Rule: -1}
			all := s.Explain(c, head)
			for _, o := range all {
				if o.Verdict == Accept || o.Verdict == Reject {
					want = Decision{Accept: o.Verdict == Accept, Rule: o.Rule}
				}
			}
			got := s.Decide(c)
			if head != nil {
				got = s.AfterHead(c, *head)
			}
			if got.Accept != want.Accept || got.Rule != want.Rule || want.Rule >= 0 && (!all[want.Rule].Decides ||
				all[want.Rule].Name != got.Name) {
				t.Fatalf("got %+v, want %+v of %+v", got, want, all)
			}
		}
	})
}

// settings are what the tests of sheets put on each other.
type settings struct {
	Name string `yaml:"name"`
	Max  int    `yaml:"max"`
}

func over(base, sheet settings) settings {
	if sheet.Name != "" {
		base.Name = sheet.Name
	}
	if sheet.Max != 0 {
		base.Max = sheet.Max
	}
	return base
}

// TestSheetsMerge compares with putting every sheet that fits on the base, one after another by length.
func TestSheetsMerge(t *testing.T) {
	surts := []string{"http://(", "http://(org,", "http://(org,a,", "http://(org,a,b,)", "http://(org,a,)/x",
		"http://(org,a,)/x/y", "http://(com,", "http://(org,ab,"}
	urls := []string{"http://a.org/", "http://a.org/x/y/z", "http://a.org/x/", "http://b.a.org/x", "http://ab.org/",
		"http://z.net/", "http://c.com/", "http://aa.org/"}
	rapid.Check(t, func(t *rapid.T) {
		var sheets []Sheet[settings]
		for i := range rapid.IntRange(0, 8).Draw(t, "sheets") {
			set := settings{Max: rapid.IntRange(0, 2).Draw(t, "max") * (i + 1)}
			if rapid.Bool().Draw(t, "named") {
				set.Name = fmt.Sprint(i)
			}
			sheets = append(sheets, Sheet[settings]{For: rapid.SliceOfN(rapid.SampledFrom(surts), 1, 3).Draw(t, "for"), Set: set})
		}
		base := settings{"base", 100}
		s, err := NewSheets(base, sheets, over)
		if err != nil {
			t.Fatal(err)
		}
		for _, raw := range urls {
			u, err := weburl.Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			want, applied := base, []string(nil)
			sorted := slices.Clone(surts)
			slices.SortFunc(sorted, func(a, b string) int { return len(a) - len(b) })
			for _, p := range sorted {
				found := false
				for _, sheet := range sheets {
					for _, f := range sheet.For {
						if f == p && strings.HasPrefix(u.SURT(), p) {
							want, found = over(want, sheet.Set), true
						}
					}
				}
				if found {
					applied = append(applied, p)
				}
			}
			if got := s.For(u); got != want || !slices.Equal(s.Applied(u), applied) {
				t.Fatalf("%s: got %+v of %q, want %+v of %q", raw, got, s.Applied(u), want, applied)
			}
		}
	})
}

// TestSeedHosts: the prefixes of a seed's host are about the URLs of that host and port, whatever their scheme says of
// the usual port; those of its domain about the hosts of the domain.
func TestSeedHosts(t *testing.T) {
	hosts := []string{"a.org", "b.a.org", "a.organic", "xa.org", "a.org.b.net", "127.0.0.1", "127.0.0.11", "[::1]", "[::11]",
		"localhost", "a.org.", "a.co.uk", "b.a.co.uk"}
	address := rapid.Custom(func(t *rapid.T) weburl.URL {
		u, err := weburl.Parse(rapid.SampledFrom([]string{"http://", "https://"}).Draw(t, "scheme") + rapid.SampledFrom(hosts).Draw(t,
			"host") +
			rapid.SampledFrom([]string{"", ":80", ":8", ":8080"}).Draw(t, "port") + rapid.SampledFrom([]string{"/", "/a/b",
			"/?c)"}).Draw(t, "path"))
		if err != nil {
			t.Fatal(err)
		}
		return u
	})
	rapid.Check(t, func(t *rapid.T) {
		seed, u := address.Draw(t, "seed"), address.Draw(t, "url")
		for mode, want := range map[string]bool{
			seedHost:   seed.Host() == u.Host() && seed.Port() == u.Port(),
			seedDomain: seed.Domain() == u.Domain(),
		} {
			if mode == seedDomain && strings.HasSuffix(seed.Host()+u.Host(), ".") {
				continue // another host to a SURT, the same domain to the list
			}
			s, err := New(List{{Accept: &Test{SURTs: &SURTs{Seeds: mode}}}}, []string{seed.String()})
			if err != nil {
				t.Fatal(err)
			}
			if d := s.Decide(Candidate{URL: u}); d.Accept != want {
				t.Fatalf("%s of %s: %s: %v", mode, seed, u, d.Accept)
			}
		}
	})
}
