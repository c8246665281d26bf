package match

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func compile(t testing.TB, patterns ...string) []*regexp.Regexp {
	t.Helper()
	all := make([]*regexp.Regexp, len(patterns))
	for i, p := range patterns {
		if p != "" {
			all[i] = regexp.MustCompile(p)
		}
	}
	return all
}

// slow is the obvious way.
func slow(all []*regexp.Regexp, line []byte) (found []int32) {
	for i, re := range all {
		if re == nil || re.Match(line) {
			found = append(found, int32(i))
		}
	}
	return found
}

func TestMatchesWhatRegexpMatches(t *testing.T) {
	all := compile(t, `Failed password for (?P<user>\w+)`, `finished full compaction`, `(?i)disk FULL`, `error|failure`, "",
		`re(start|load)ed`, `^\d+$`, `(?i)kernel`, `(ab){2,}c`, `x*`, `\x{fffd}y`, `é+tat`, `a.c`, `[Ff]atal`)
	m := New(all).Matcher()
	for _, line := range []string{"", "Failed password for root", "Failed password for ", "finished full compaction", "DISK full", "diſK full",
		"Kernel", "\u212aernel", "failures", "reloaded", "restarted", "12", "ababc", "abc", "\xffy", "étatatat", "ÉTAT", "Fatal fatal",
		"finished full finished full compaction", "erroerror"} {
		if got, want := m.Line([]byte(line)), slow(all, []byte(line)); !slices.Equal(got, want) {
			t.Errorf("%q: matched by %v, want %v", line, got, want)
		}
	}
}

// A match may begin at a later one of the texts with which it begins, at the beginning of the line alone, or with another
// one of them.
func TestTextsAtTheBegin(t *testing.T) {
	all := compile(t, `^Failed password for (root|\d+)$`, `Failed password for (root|\d+)$`, `(ssh|ftp)d\[\d+\]`, `Failed password for é`, `(abcdef)+g`,
		`abcabcd`, `^abc|def`)
	m := New(all).Matcher()
	for _, line := range []string{"Failed password for root", "Failed password for Failed password for 12", "xFailed password for root", "Failed password for root ",
		"Failed password for é", "é Failed password for root", "sshd[ ftpd[1]", "abcdefabcdefg", "abcabcabcd", "xabc", "abc", "def"} {
		if got, want := m.Line([]byte(line)), slow(all, []byte(line)); !slices.Equal(got, want) {
			t.Errorf("%q: matched by %v, want %v", line, got, want)
		}
	}
}

// Texts within texts, and behind what looked like another.
func TestTextsOverlap(t *testing.T) {
	all := compile(t, "she", "he", "hers", "ushers", "rse")
	m := New(all).Matcher()
	for _, line := range []string{"ushers", "she", "xhex", "ushe", "uushersers", "hershe", "USHERS"} {
		if got, want := m.Line([]byte(line)), slow(all, []byte(line)); !slices.Equal(got, want) {
			t.Errorf("%q: matched by %v, want %v", line, got, want)
		}
	}
}

func TestMatchesAnyPatternsLikeRegexp(t *testing.T) {
	word := rapid.StringOfN(rapid.RuneFrom([]rune("abkKsSé.F\u212aſ ")), 1, 6, -1)
	pattern := rapid.Custom(func(t *rapid.T) string {
		parts := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
			w := regexp.QuoteMeta(word.Draw(t, "word"))
			return rapid.SampledFrom([]string{w, "(" + w + ")+", "(?i:" + w + ")", "(?:" + w + "|b)", w + "?", ".*", "(" + w + "){2,3}",
				"[" + w + "]", "^", "$", `\b`, "(^|b)", "($|a)", "(?m:^)", `\W+`, "(a|b)*"}).Draw(t, "part")
		}), 1, 4).Draw(t, "parts")
		return strings.Join(parts, "")
	})
	rapid.Check(t, func(t *rapid.T) {
		var all []*regexp.Regexp
		for _, p := range rapid.SliceOfN(pattern, 1, 8).Draw(t, "patterns") {
			if re, err := regexp.Compile(p); err == nil {
				all = append(all, re)
			}
		}
		m := New(all).Matcher()
		for range 5 {
			line := []byte(strings.Join(rapid.SliceOfN(word, 0, 6).Draw(t, "line"), ""))
			if got, want := m.Line(line), slow(all, line); !slices.Equal(got, want) {
				t.Fatalf("%q with %v: %v, want %v", line, all, got, want)
			}
		}
	})
}

func TestManyTextsStaySmall(t *testing.T) {
	var all []*regexp.Regexp
	for i := range 20_000 {
		all = append(all, regexp.MustCompile(regexp.QuoteMeta(strings.Repeat(string(rune('a'+i%26)), i%7+1)+string(rune('0'+i%10))+
			strings.Repeat("xyzzy", 8)+string(rune(0x100+i)))))
	}
	s := New(all)
	if size := len(s.auto.next) * 4; size > maxTable {
		t.Errorf("the table has %d bytes, want at most %d", size, maxTable)
	}
	line := []byte(all[77].String())
	if got, want := s.Matcher().Line(line), slow(all, line); !slices.Equal(got, want) {
		t.Errorf("matched by %v, want %v", got, want)
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("Failed (password|none) for", "(?i)kernel", []byte("Failed none for KERNEL"))
	f.Add("a|b|", "x{2,3}y", []byte("xxxy"))
	f.Fuzz(func(t *testing.T, one, two string, line []byte) {
		if len(one)+len(two) > 200 {
			return
		}
		var all []*regexp.Regexp
		for _, p := range []string{one, two} {
			if re, err := regexp.Compile(p); err == nil {
				all = append(all, re)
			}
		}
		if got, want := New(all).Matcher().Line(line), slow(all, line); !slices.Equal(got, want) {
			t.Fatalf("%q with %v: %v, want %v", line, all, got, want)
		}
	})
}
