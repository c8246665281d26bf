package robots

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// asked are paths with what is expected of them: a + or - in front.
type asked []string

// check parses a file for an agent and asks.
func check(t *testing.T, file, agent string, paths asked) {
	t.Helper()
	r := Parse([]byte(file), agent)
	for _, p := range paths {
		if got, line := r.Allowed(p[1:]); got != (p[0] == '+') {
			t.Errorf("%q for %s: %s allowed: %v, by line %d", file, agent, p[1:], got, line)
		}
	}
}

// TestGroups has the examples of RFC 9309, 2.2.1 and 5.1.
func TestGroups(t *testing.T) {
	const merged = "user-agent: ExampleBot\ndisallow: /foo\ndisallow: /bar\n\nuser-agent: ExampleBot\ndisallow: /baz\n"
	check(t, merged, "ExampleBot", asked{"-/foo", "-/bar", "-/baz", "+/qux"})
	const others = "user-agent: *\ndisallow: /foo\ndisallow: /bar\n\nuser-agent: BazBot\ndisallow: /baz\n"
	check(t, others, "ExampleBot", asked{"-/foo", "-/bar", "+/baz"})
	check(t, others, "BazBot", asked{"+/foo", "-/baz"})
	check(t, others, "Baz", asked{"-/foo", "+/baz"})
	check(t, others, "BazBotter", asked{"-/foo", "+/baz"})
	check(t, others, "bAzBOT/1.2 (+http://x)", asked{"+/foo", "-/baz"})

	const simple = "User-Agent: *\nDisallow: *.gif$\nDisallow: /example/\nAllow: /publications/\n\n" +
		"User-Agent: foobot\nDisallow:/\nAllow:/example/page.html\nAllow:/example/allowed.gif\n\n" +
		"User-Agent: barbot\nUser-Agent: bazbot\nDisallow: /example/page.html\n\nUser-Agent: quxbot\n"
	check(t, simple, "any", asked{"-/a.gif", "-/a/b.gif", "+/a.gif?x", "-/example/", "+/example", "+/publications/a.gif",
		"-/example/a"})
	check(t, simple, "foobot", asked{"-/", "-/example/", "+/example/page.html", "+/example/page.html?x", "+/example/allowed.gif",
		"-/a.gif"})
	check(t, simple, "barbot", asked{"+/", "-/example/page.html", "+/a.gif"})
	check(t, simple, "bazbot", asked{"+/", "-/example/page.html"})
	check(t, simple, "quxbot", asked{"+/", "+/example/", "+/a.gif"})

	check(t, "Disallow: /a\nuser-agent: *\ndisallow: /b\n", "x", asked{"+/a", "-/b"})     // a rule of no group
	check(t, "user-agent: x\ndisallow:\nuser-agent: *\ndisallow: /\n", "x", asked{"+/a"}) // empty is a rule too
	check(t, "user-agent: x\nuser-agent: *\ndisallow: /a\n", "x", asked{"-/a", "+/b"})    // both begin the group
	check(t, "user-agent: x\nfoo: bar\nsitemap: http://s\nuser-agent: y\ndisallow: /\n", "x",
		asked{"-/"}) // other records end nothing
	check(t, "user-agent: x\ndisallow: /a\nsitemap: /s\nnoindex: /q\ndisallow: /b\n", "x", asked{"-/a", "-/b", "+/q"})
	check(t, "user-agent: x\ndisallow: /a\nuser-agent: *\ndisallow: /\n", "x", asked{"-/a", "+/b"})
	check(t, "user-agent: *\ndisallow: /\nuser-agent: x\n", "x", asked{"+/a"}) // named without rules
	check(t, "", "x", asked{"+/", "+"})
	check(t, "user-agent: *\ndisallow: /\n", "", asked{"-/"})
}

func TestMostSpecific(t *testing.T) {
	check(t, "user-agent: *\nallow: /example/page/\ndisallow: /example/page/disallowed.gif\n", "x",
		asked{"+/example/page/", "-/example/page/disallowed.gif", "+/example/page/a.gif"}) // RFC 9309, 5.2
	check(t, "user-agent: *\ndisallow: /folder\nallow: /folder\n", "x", asked{"+/folder/page"}) // an allow wins
	check(t, "user-agent: *\nallow: /page\ndisallow: /*.htm\n", "x", asked{"-/page.htm", "+/page"})
	check(t, "user-agent: *\nallow: /page\ndisallow: /*.ph\n", "x", asked{"+/page.php"}) // as long
	check(t, "user-agent: *\nallow: /$\ndisallow: /\n", "x", asked{"+/", "-/page.html", "-/?a"})
	check(t, "user-agent: *\ndisallow: /\n", "x", asked{"-", "-/", "-?q", "+/robots.txt", "-/robots.txt/x", "-/Robots.txt"})
	check(t, "user-agent: *\ndisallow: /x\n", "x", asked{"+/X", "-/xy"})
	check(t, "user-agent: *\ndisallow:\nallow:\n", "x", asked{"+/"})
}

func TestSpecialSigns(t *testing.T) {
	const agent = "user-agent: *\n"
	check(t, agent+"disallow: /this/*/exactly\n", "x", asked{"-/this/a/exactly", "-/this//exactly", "-/this/a/b/exactly/c",
		"+/this/exactly"})
	check(t, agent+"disallow: /exactly$\n", "x", asked{"-/exactly", "+/exactly/", "+/exactly?a"})
	check(t, agent+"disallow: /a*b*c$\n", "x", asked{"-/abc", "-/axbxbcxc", "+/acb", "+/abcd", "+/ac"})
	check(t, agent+"disallow: /a*ab$\n", "x", asked{"-/aab", "-/aabab", "+/ab"})
	check(t, agent+"disallow: /**a***\n", "x", asked{"-/a", "-/xax", "+/b"})
	check(t, agent+"disallow: /a$b\n", "x", asked{"-/a$b", "-/a%24bc", "+/a"})
	check(t, agent+"disallow: /a*$\n", "x", asked{"-/a", "-/abc"})
	check(t, agent+"disallow: *\n", "x", asked{"-/", "-/a"})
	check(t, agent+"disallow: /a # comment\n#disallow: /b\ndisallow: /c#d\n", "x", asked{"-/a", "+/b", "-/c"})
	check(t, agent+"disallow: /path/file-with-a-%2A.html\n", "x", asked{"-/path/file-with-a-*.html", "-/path/file-with-a-%2a.html",
		"+/path/file-with-a-b.html"})
	check(t, agent+"disallow: /path/foo-%24\n", "x", asked{"-/path/foo-$", "-/path/foo-$x", "+/path/foo-"})
	check(t, agent+"disallow: fish/\n", "x", asked{"-/fish/", "+/fish"}) // no slash in front: meant
}

// TestEncoding has the table of RFC 9309, 2.2.2, both ways.
func TestEncoding(t *testing.T) {
	same := [][]string{
		{"/foo/bar?baz=quz", "/foo/bar?baz=quz"},
		{"/foo/bar?baz=https://foo.bar", "/foo/bar?baz=https%3A%2F%2Ffoo.bar", "/foo/bar?baz=https%3a%2f%2ffoo.bar"},
		{"/foo/bar/\u30c4", "/foo/bar/%E3%83%84", "/foo/bar/%e3%83%84"},
		{"/foo/bar/%62%61%7A", "/foo/bar/baz"},
		{"/a b", "/a%20b"},
		{"/%7Ejohn|", "/~john%7C"},
		{"/\xff", "/%FF"},
	}
	for _, all := range same {
		for _, pattern := range all {
			for _, path := range all {
				check(t, "user-agent: *\ndisallow: "+pattern+"\n", "x", asked{"-" + path, "-" + path + "x"})
			}
		}
	}
	const agent = "user-agent: *\ndisallow: "
	check(t, agent+"/a/b\n", "x", asked{"+/a%2Fb", "-/a/b"}) // an encoded slash is another sign in a path
	check(t, agent+"/a%2Fb\n", "x", asked{"-/a%2fb", "+/a/b"})
	check(t, agent+"/*%2Fb\n", "x", asked{"-/a%2Fb", "+/a/b", "-/a?x=%2Fb", "-/a?x=/b"}) // which may begin a query
	check(t, agent+"/*/b\n", "x", asked{"-/a/b", "-/a?x=%2Fb", "+/a%2Fb"})
	check(t, agent+"/%\n", "x", asked{"-/%", "-/%zz", "+/a"})
	check(t, agent+"/%2541\n", "x", asked{"-/%2541", "+/A", "+/%41"})
}

func TestLines(t *testing.T) {
	for name, file := range map[string]string{
		"LF":        "user-agent: x\n\nallow: /a/b\ndisallow: /a\n",
		"CRLF":      "user-agent: x\r\n\r\nallow: /a/b\r\ndisallow: /a\r\n",
		"CR":        "user-agent: x\r\rallow: /a/b\rdisallow: /a\r",
		"mixed":     "user-agent: x\r\n\rallow: /a/b\ndisallow: /a",
		"mark":      "\xef\xbb\xbfuser-agent: x\n\nallow: /a/b\ndisallow: /a\n",
		"half mark": "\xef\xbbuser-agent: x\n\nallow: /a/b\ndisallow: /a\n",
		"spaces":    " \tUSER-AGENT \t:\t x \t\n \t\n\tallow\t: \t/a/b\t\n\tdisallow : /a # c\n",
		"no colon":  "user-agent x\n\nallow /a/b\ndisallow /a\n",
		"misspelt":  "useragent: x\n\nallow: /a/b\ndissallow: /a\n",
	} {
		r := Parse([]byte(file), "x")
		for path, want := range map[string]string{"/a/b": "true 3", "/a": "false 4", "/b": "true 0"} {
			ok, line := r.Allowed(path)
			if got := fmt.Sprint(ok, " ", line); got != want {
				t.Errorf("%s: %s: got %s, want %s", name, path, got, want)
			}
		}
	}
	check(t, "user-agent: x\n\xef\xbb\xbfdisallow: /\n", "x", asked{"+/"}) // a mark elsewhere makes another key
	check(t, "user-agent: x y\ndisallow: /\n", "x", asked{"-/"})
	check(t, "user-agent: x/1.0\ndisallow: /\n", "x", asked{"-/"})
	check(t, "user-agent: *x\ndisallow: /\n", "x", asked{"+/"})
	check(t, "user-agent: MJ12bot\ndisallow: /\n", "MJ", asked{"+/"})
	check(t, "user-agent: H\xef\xbf\xbdm\ndisallow: *\n\x00\xff: \x01\n", "x", asked{"+/"})
}

func TestLimit(t *testing.T) {
	file := "user-agent: *\ndisallow: /a\n" + strings.Repeat("#\n", MaxBytes/2)
	check(t, file+"disallow: /b\n", "x", asked{"-/a", "+/b"})
	// What the limit cuts in two is not read: /private/x is not /private.
	head := "user-agent: *\n#"
	rule := "\ndisallow: /private/x\n"
	check(t, head+strings.Repeat(".", MaxBytes-len(head)-len(rule)+3)+rule, "x", asked{"+/private/y", "+/private/x"})
	check(t, head+strings.Repeat(".", MaxBytes-len(head)-len(rule))+rule, "x", asked{"+/private/y", "-/private/x"})
}

func TestDelayAndSitemaps(t *testing.T) {
	const file = "Sitemap: http://h/1\nuser-agent: a\ncrawl-delay: 3.5\nuser-agent: b\ndisallow: /\nSITEMAP:/2\n" +
		"user-agent: c\ncrawldelay: 0.0001\nsite-map: http://h/3 # c\nallow: /\nuser-agent: *\nCrawl-delay: 10\nsitemap:\n" +
		"user-agent: d\ncrawl-delay: ten\ncrawl-delay: -1\ncrawl-delay: NaN\nallow: /\n" +
		"user-agent: e\ncrawl-delay: 1e300\nuser-agent: f\ncrawl-delay: inf\nallow: /\n" +
		"user-agent: g\ncrawl-delay: 2\nallow: /\nuser-agent: g\nallow: /\ncrawl-delay: 1\n"
	for agent, want := range map[string]time.Duration{"a": 3500 * time.Millisecond, "b": 0, "c": time.Millisecond,
		"x": 10 * time.Second, "d": 0, "e": MaxDelay, "f": MaxDelay, "g": 2 * time.Second} {
		r := Parse([]byte(file), agent)
		if r.Delay() != want {
			t.Errorf("%s: delay %v, want %v", agent, r.Delay(), want)
		}
		if got := r.Sitemaps(); !slices.Equal(got, []string{"http://h/1", "/2", "http://h/3"}) {
			t.Errorf("%s: sitemaps %q", agent, got)
		}
	}
	check(t, file, "a", asked{"-/"}) // the delay of a does not end the group of a and b
}

func TestToken(t *testing.T) {
	for agent, want := range map[string]string{
		"Holdfast/1.0 (+mailto:a@b)": "Holdfast", "holdfast": "holdfast", "": "", "(x)": "", " a_b-c d": "a_b-c",
		"archive.org_bot": "archive.org_bot", "\u30c4": "",
	} {
		if got := Token(agent); got != want {
			t.Errorf("%q: got %q, want %q", agent, got, want)
		}
	}
}

func TestEncode(t *testing.T) {
	r := Parse([]byte("user-agent: *\ndisallow: /a*b$\nallow: /c\ncrawl-delay: 2\nsitemap: /s\nsitemap: /t\n"), "x")
	again, err := Decode(r.Encode())
	if err != nil || again != r {
		t.Fatalf("got %v, %v", again, err)
	}
	b := r.Encode()
	for i := range b { // each shorter form, and each changed byte, is refused or can be read
		for _, bad := range [][]byte{b[:i], append(append(slices.Clone(b[:i]), b[i]^0x80), b[i+1:]...),
			append(append(slices.Clone(b[:i]), 0xff), b[i+1:]...)} {
			if r, err := Decode(bad); err == nil {
				use(r)
			}
		}
	}
	if r, err := Decode(nil); err != nil || r != (Rules{}) || len(r.Encode()) != 0 {
		t.Errorf("nothing: %v, %v", r, err)
	}
	if _, err := Decode([]byte{9, 1, 0, 0}); err == nil {
		t.Error("another version is read")
	}
}

// use calls all that reads rules.
func use(r Rules) {
	r.Allowed("/a/b?c")
	r.Delay()
	r.Sitemaps()
	_ = r.State().String()
}

func TestSize(t *testing.T) {
	r := Parse([]byte(usual), "x")
	if r.Size() > 120 || (Rules{}).Size() != 16 {
		t.Errorf("a usual file takes %d bytes, none %d", r.Size(), (Rules{}).Size())
	}
}
