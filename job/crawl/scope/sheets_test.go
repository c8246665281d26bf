package scope

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"

	"holdfast/base/fault"
	"holdfast/base/weburl"
)

func TestSheets(t *testing.T) {
	var sheets []Sheet[settings]
	if err := yaml.UnmarshalWithOptions([]byte(`
- {for: [slow.example, "*.slower.example"], set: {max: 1}}
- {for: ["http://(example,slow,)/archive/"], set: {name: archive}}
- {for: [slow.example], set: {name: slow}}
`), &sheets, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	s, err := NewSheets(settings{"usual", 5}, sheets, over)
	if err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]settings{
		"http://other.example/":                {"usual", 5},
		"http://slow.example/":                 {"slow", 1},
		"https://www.slow.example:81/x":        {"slow", 1},
		"http://slow.example/archive/2026":     {"archive", 1},
		"http://www.slow.example/archive/2026": {"slow", 1},
		"http://a.slower.example/":             {"usual", 1},
	} {
		if got := s.For(parse(t, url)); got != want {
			t.Errorf("%s: got %+v, want %+v", url, got, want)
		}
	}
	if got := s.Applied(parse(t, "http://slow.example/archive/2026")); !slices.Equal(got, []string{"http://(example,slow,",
		"http://(example,slow,)/archive/"}) {
		t.Errorf("applied %q", got)
	}
	none, err := NewSheets(settings{"usual", 5}, nil, over)
	if err != nil || none.For(parse(t, "http://a/")).Max != 5 || none.Applied(parse(t, "http://a/")) != nil {
		t.Errorf("without sheets: %v", err)
	}
	for want, bad := range map[string]Sheet[settings]{"sheets[1].for: is empty": {}, "sheets[1].for[1]: ": {For: []string{"a.org",
		"ftp://x/"}}} {
		if _, err := NewSheets(settings{}, []Sheet[settings]{{For: []string{"b.org"}}, bad}, over); err == nil ||
			!strings.HasPrefix(err.Error(), want) || !fault.Is(err, fault.Invalid) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestMany: scopes and sheets are used by many at once; the race detector looks on.
func TestMany(t *testing.T) {
	s := build(t, append(Default(), Rule{Reject: &Test{Regex: []string{"x"}}}), "http://h.org/")
	sheets, err := NewSheets(settings{}, []Sheet[settings]{{For: []string{"h.org"}, Set: settings{Max: 1}}}, over)
	if err != nil {
		t.Fatal(err)
	}
	c := Candidate{URL: parse(t, "http://h.org/a"), Hops: "L"}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 100 {
				next, err := s.With("http://i.org/")
				if err != nil || !s.Decide(c).Accept || !next.AfterHead(c, Head{}).Accept || len(s.Explain(c, nil)) != 8 ||
					sheets.For(c.URL).Max != 1 {
					t.Error("another answer among many")
					return
				}
			}
		})
	}
	all.Wait()
}

func TestPatternOf(t *testing.T) {
	for url, want := range map[string]string{
		"http://h.org/":                                               "",
		"http://h2.org:81/may/":                                       "",
		"http://10.0.0.1/about":                                       "",
		"http://h.org/cal/2024/05/06":                                 "org,h, /cal/#/#/#",
		"https://h.org/cal?y=2024&m=5":                                "org,h,#443 /cal?y=#&m=#",
		"http://h.org/cal/2024-May-06T10:00":                          "org,h, /cal/#-#-#T#:#",
		"http://h.org/cal/6june2024":                                  "org,h, /cal/###",
		"http://h.org/may/flowers":                                    "",
		"http://h.org/may/2024":                                       "org,h, /#/#",
		"http://h.org/mayor/2024":                                     "org,h, /mayor/#",
		"http://h.org/a%20b":                                          "",
		"http://h.org/%E2%80%93?":                                     "",
		"http://h.org/a%201":                                          "org,h, /a%20#",
		"http://h.org/i/550e8400-e29b-41d4-a716-446655440000":         "org,h, /i/#-#-#-#-#",
		"http://h.org/i/d41d8cd98f00b204e9800998ecf8427e.html":        "org,h, /i/#.html",
		"http://h.org/decade/cafe":                                    "",
		"http://h.org/page2":                                          "org,h, /page#",
		"http://h.org:8080/x/1":                                       "org,h,#8080 /x/#",
		"http://h.org/x/" + strings.Repeat("9", 1000) + "/y?z=" + "1": "org,h, /x/#/y?z=#",
	} {
		if got := PatternOf(parse(t, url)); got != want {
			t.Errorf("%s: got %q, want %q", url, got, want)
		}
	}
}

func FuzzPatternOf(f *testing.F) {
	for _, s := range []string{"http://h/cal/2024/may/05?x=%20", "http://h/%", "http://h/abcdef12%4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := weburl.Parse(raw)
		if err != nil {
			return
		}
		p := PatternOf(u)
		if len(p) > len(u.QueueKey())+1+len(u.String()) || p != "" && !strings.Contains(p[len(u.QueueKey()):], "#") {
			t.Fatalf("%s: %q", u, p)
		}
		repeats(u.Path(), 2)
		if s, err := New(Default(), []string{raw}); err == nil {
			s.Explain(Candidate{URL: u}, nil)
		}
	})
}
