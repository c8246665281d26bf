package robots

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestMatchesAsRegex compares the matching with regular expressions, which say the same in another way.
func TestMatchesAsRegex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := "/" + rapid.StringOfN(rapid.RuneFrom([]rune("ab/*$?")), 0, 10, -1).Draw(t, "pattern")
		path := "/" + rapid.StringOfN(rapid.RuneFrom([]rune("ab/?$*")), 0, 12, -1).Draw(t, "path")
		bare, exact := strings.CutSuffix(pattern, "$")
		re := "^" + strings.ReplaceAll(regexp.QuoteMeta(bare), `\*`, `.*`)
		if exact {
			re += "$"
		}
		want := !regexp.MustCompile(re).MatchString(path)
		if got, _ := Parse([]byte("user-agent: *\ndisallow: "+pattern+"\n"), "x").Allowed(path); got != want {
			t.Fatalf("%s of %s: allowed %v, want %v", path, pattern, got, want)
		}
	})
}

// TestOrder: of the rules that match, the longest decides, and an allow where they are as long; wherever they stand.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sign := rapid.RuneFrom([]rune("ab/*"))
		lines := rapid.SliceOfN(rapid.Map(rapid.StringOfN(sign, 0, 4, -1), func(s string) string { return "/" + s }), 1, 8).Draw(t,
			"patterns")
		allow := rapid.SliceOfN(rapid.Bool(), len(lines), len(lines)).Draw(t, "allow")
		path := "/" + rapid.StringOfN(rapid.RuneFrom([]rune("ab/")), 0, 6, -1).Draw(t, "path")
		file := "user-agent: *\n"
		want, longest, wantLine := true, 0, 0
		for i, p := range lines {
			file += fmt.Sprintf("%s: %s\n", map[bool]string{true: "allow", false: "disallow"}[allow[i]], p)
			r := newRules(p, true, 0)[0]
			if matches(r.pattern, path, r.flags) && (len(p) > longest || len(p) == longest && allow[i] && !want) {
				want, longest, wantLine = allow[i], len(p), i+2
			}
		}
		got, line := Parse([]byte(file), "x").Allowed(path)
		if got != want {
			t.Fatalf("%s of %q: allowed %v by line %d, want %v by %d", path, file, got, line, want, wantLine)
		}
		if line > 0 && (allow[line-2] != got || len(lines[line-2]) != longest) || (line == 0) != (wantLine == 0) {
			t.Fatalf("%s of %q: line %d did not decide", path, file, line)
		}
	})
}

func TestNormal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.StringOfN(rapid.RuneFrom([]rune("%2fFaA3?:*$/")), 0, 20, -1)).Draw(t, "s")
		once := normal(s, false, "")
		if again := normal(once, false, ""); again != once {
			t.Fatalf("%q becomes %q, and that %q", s, once, again)
		}
		for _, b := range []byte(once) {
			if b <= ' ' || b > '~' {
				t.Fatalf("%q becomes %q", s, once)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "user-agent: *\ndisallow: /",
		"\xef\xbb\xbfuser-agent: x\r\nallow: /a*b$\r\rcrawl-delay: 1.5\nsitemap: s\n",
		"disallow: *%2f?%3a*$\nuser-agent: x\nuser-agent: *\ndisallow: *%2f?%3a*$\nallow /a*%2f",
		strings.Repeat("user-agent: *\ndisallow: /*a*a*a*a*b\n", 50)} {
		f.Add([]byte(s), "/a/b?c=%2F")
	}
	f.Fuzz(func(t *testing.T, body []byte, path string) {
		for _, agent := range []string{"x", ""} {
			r := Parse(body, agent)
			ok, line := r.Allowed(path)
			if line < 0 || line > len(body)+1 || !ok && line == 0 {
				t.Fatalf("%q: allowed %v by line %d", path, ok, line)
			}
			if r.Delay() < 0 || r.Delay() > MaxDelay {
				t.Fatalf("delay %v", r.Delay())
			}
			if again, err := Decode(r.Encode()); err != nil || again != r {
				t.Fatalf("read back: %v", err)
			}
			if r.Size() > 8*len(body)+64 {
				t.Fatalf("%d bytes for a file of %d", r.Size(), len(body))
			}
			use(r)
		}
		if ok, _ := Parse([]byte("user-agent: *\ndisallow: /"), "x").Allowed(path); ok && path != "/robots.txt" {
			t.Fatalf("%q escapes", path)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(Parse([]byte("user-agent: *\ndisallow: /a*b$\nallow: /c\ncrawl-delay: 2\nsitemap: /s\n"), "x").Encode())
	f.Add([]byte{1, 2, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := Decode(b); err == nil {
			use(r)
		}
	})
}

// usual is a file as most are.
const usual = "User-agent: *\nDisallow: /admin/\nDisallow: /private/\nAllow: /private/public\nDisallow: /*?sort=\n" +
	"Sitemap: https://example.com/sitemap.xml\n"

// hostile is a file of rules that take as long as rules can.
func hostile() []byte {
	var b strings.Builder
	b.WriteString("user-agent: *\n")
	for i := 0; b.Len() < MaxBytes-40; i++ {
		fmt.Fprintf(&b, "disallow: /*a*f*g%d\n", i)
	}
	return []byte(b.String())
}

func BenchmarkAllowed(b *testing.B) {
	var many strings.Builder
	fmt.Fprintf(&many, "User-agent: *\n")
	for i := range 300 {
		fmt.Fprintf(&many, "Disallow: /directory%d/\n", i)
	}
	for _, c := range []struct {
		name string
		body []byte
		path string
	}{
		{"4", []byte(usual), "/some/path/page.html?id=12345"},
		{"300", []byte(many.String()), "/some/path/page.html?id=12345"},
		{"encoded", []byte(usual), "/some/path/%C3%A9page.html?id=12345"},
		{"hostile", hostile(), "/" + strings.Repeat("abcdef", 340)},
	} {
		r := Parse(c.body, "x")
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.ReportMetric(float64(r.Size()), "bytes")
			for b.Loop() {
				r.Allowed(c.path)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	b.Run("usual", func(b *testing.B) {
		for b.Loop() {
			Parse([]byte(usual), "x")
		}
	})
	b.Run("hostile", func(b *testing.B) {
		for b.Loop() {
			Parse(hostile(), "x")
		}
	})
}
