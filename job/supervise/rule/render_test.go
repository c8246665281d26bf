package rule

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"holdfast/base/fault"
)

const hostile = `
rules:
  - name: r
    from: {journal: {unit: a.service}}
    match: '(?s)W=(?P<w>.*) I=(?P<i>.*) P=(?P<p>.*) U=(?P<u>.*) F=(?P<f>.*) E=(?P<e>.*)$'
    captures: {w: {type: word, max: 8}, i: int, p: ip, u: unit, f: {path_under: /var/log}, e: {enum: [on, off]}}
    do:
      - {run: [/bin/echo, --flag, "{{w}}", "{{i}}", "{{p}}", "{{u}}", "{{f}}", "{{e}}"], env: {X: "{{w}}"}}
      - {systemctl: restart, unit: "{{u}}"}
      - {notify: ops, text: "{{w}}|{{line}}"}
`

// good are captures that may all become arguments.
func good() map[string]string {
	return map[string]string{"w": "a-b.c_1", "i": "17", "p": "2001:db8::1", "u": "a@b.service", "f": "/var/log/x/y.log", "e": "on"}
}

func facts(captures map[string]string) *Facts {
	return &Facts{Rule: "r", Line: []byte("line"), Captures: captures}
}

func TestCapturesBecomeSingleArguments(t *testing.T) {
	r := load(t, hostile).Rules[0]
	c, err := r.Render("do", &r.Do[0], facts(good()))
	want := []string{"/bin/echo", "--flag", "a-b.c_1", "17", "2001:db8::1", "a@b.service", "/var/log/x/y.log", "on"}
	if err != nil || !slices.Equal(c.Run, want) || c.Env["X"] != "a-b.c_1" {
		t.Errorf("got %q, %v", c.Run, err)
	}
}

func TestWhatCouldBeMoreThanAnArgumentIsRefused(t *testing.T) {
	r := load(t, hostile).Rules[0]
	for name, all := range map[string][]string{
		"w": {"", "-rf", "--", "a b", "a\nb", "a\x00b", "\x1b[2J", "$(reboot)", "`reboot`", "a;b", "a|b", "a>b", "a&b", "*", "a=b", "'a'",
			"\xff\xfe", "aaaaaaaaa", "a\u202eb", "a\u2028b", "a\u00adb", "\ufeffa", "\r", "~root", "é"},
		"i": {"-1", "+1", "1.5", "0x10", "1e9", " 1", "1\n", "٣", strings.Repeat("9", 20)},
		"p": {"10.0.0", "10.0.0.256", "fe80::1%eth0", "fe80::1%$(reboot)", "10.0.0.1/8", "10.0.0.1\n", "localhost", "-10.0.0.1", "::1 "},
		"u": {"a", "a.exe", "-a.service", "-.mount", "a/b.service", "a b.service", "a.service\n", ".service;reboot", strings.Repeat("a", 300) + ".service"},
		"f": {"/etc/passwd", "/var/log", "/var/log/", "/var/log/../../etc/passwd", "/var/log/./x", "/var/logs/x", "var/log/x", "/var/log//x",
			"/var/log/x\n", "/var/log/x\x00", "/var/log/" + strings.Repeat("x", 2000)},
		"e": {"On", "on ", "yes", ""},
	} {
		for _, bad := range all {
			captures := good()
			captures[name] = bad
			if c, err := r.Render("do", &r.Do[0], facts(captures)); !fault.Is(err, fault.Invalid) || c.Run != nil {
				t.Errorf("%s=%q: argv %q, error %v; want a refusal", name, bad, c.Run, err)
			}
		}
	}
	if _, err := r.Render("do", &r.Do[0], facts(nil)); !fault.Is(err, fault.Invalid) {
		t.Errorf("without captures: %v, want a refusal", err)
	}
	if _, err := r.Render("do", &r.Do[1], facts(map[string]string{"u": "sshd"})); !fault.Is(err, fault.Invalid) {
		t.Errorf("a unit that is none: %v, want a refusal", err)
	}
}

func TestTextForPeopleHasNoControlCharacters(t *testing.T) {
	r := load(t, hostile).Rules[0]
	c, err := r.Render("do", &r.Do[2], &Facts{Captures: map[string]string{"w": "\x1b[2J{{line}}\n\xff"}, Line: []byte(strings.Repeat("x", 1<<20))})
	if err != nil || strings.ContainsAny(c.Text, "\x1b\n") || !utf8.ValidString(c.Text) || len(c.Text) > maxText {
		t.Fatalf("%d bytes %.100q, %v", len(c.Text), c.Text, err)
	}
	if want := `\u001b[2J{{line}}\u000a` + "\uFFFD|xxx"; !strings.HasPrefix(c.Text, want) {
		t.Errorf("got %.60q, want it to begin with %q: what is put in is not looked at again", c.Text, want)
	}
}

func TestNumbersAsArguments(t *testing.T) {
	r := load(t, `
rules:
  - {name: n, from: {prometheus: {query: q}}, when: {change: true}, do: {run: [/bin/x, "{{value}}", "{{labels.l}}"]}}`).Rules[0]
	for v, want := range map[float64]string{0: "0", 596000: "596000", 0.25: "0.25", 1e15: "1000000000000000"} {
		c, err := r.Render("do", &r.Do[0], &Facts{Value: &v, Labels: map[string]string{"l": "x"}})
		if err != nil || c.Run[1] != want {
			t.Errorf("%v: got %q, %v", v, c.Run, err)
		}
	}
	nan, minus := 0.0, -1.0
	nan /= nan
	for _, v := range []*float64{&nan, &minus, nil} {
		if c, err := r.Render("do", &r.Do[0], &Facts{Value: v, Labels: map[string]string{"l": "x"}}); err == nil {
			t.Errorf("%v became %q", v, c.Run)
		}
	}
}

func TestCallsAreToldApart(t *testing.T) {
	seen := map[string]string{}
	for _, rule := range []string{"a", "a.b"} {
		for _, key := range []string{"", "x", "x/y", "x%2Fy", "/", "%"} {
			for _, event := range []string{"", "x", "y/x", "1"} {
				for rung := range 2 {
					for place := range 2 {
						id := CallID(rule, key, event, rung, place)
						is := strings.Join([]string{rule, key, event, itoa(rung), itoa(place)}, "\x00")
						if other, ok := seen[id]; ok {
							t.Errorf("%q is both %q and %q", id, other, is)
						}
						seen[id] = is
					}
				}
			}
		}
	}
}

func TestKeysAreToldApartAndShort(t *testing.T) {
	one := (&Facts{Captures: map[string]string{"a": "x,y", "b": "z"}}).KeyOf([]string{"a", "b"})
	two := (&Facts{Captures: map[string]string{"a": "x", "b": "y,z"}}).KeyOf([]string{"a", "b"})
	if one == two {
		t.Errorf("both are %q", one)
	}
	long := strings.Repeat("x", 1000)
	one, two = (&Facts{Captures: map[string]string{"a": long}}).KeyOf([]string{"a"}), (&Facts{Captures: map[string]string{"a": long + "y"}}).KeyOf([]string{"a"})
	if one == two || len(one) > maxKey {
		t.Errorf("%d bytes, the same: %v", len(one), one == two)
	}
}

// Whatever is written in a line: what becomes an argument begins with no -, has no character that is not seen, is not longer
// than its type says, and there are as many arguments as the rule has.
func FuzzRender(f *testing.F) {
	f.Add("W=a I=1 P=1.2.3.4 U=a.service F=/var/log/x E=on")
	f.Add("W=$(reboot) I=-1 P=::1%x U=-.mount F=/var/log/../x E=on\n")
	set, err := Load("r", []byte(hostile), kinds, noEnv)
	if err != nil {
		f.Fatal(err)
	}
	r := set.Rules[0]
	f.Fuzz(func(t *testing.T, line string) {
		seen := &Facts{Line: []byte(line)}
		seen.Of(&r.From, r.Filter())
		c, err := r.Render("do", &r.Do[0], seen)
		if err != nil {
			if c.Run != nil || !fault.Is(err, fault.Invalid) {
				t.Fatalf("refused with %v, and %q", err, c.Run)
			}
			return
		}
		if len(c.Run) != len(r.Do[0].Run) {
			t.Fatalf("%d words of %q", len(c.Run), c.Run)
		}
		for _, word := range c.Run[2:] {
			if strings.HasPrefix(word, "/var/log/") { // a path may have any character that is seen
				word = strings.Map(func(r rune) rune {
					if unicode.IsGraphic(r) {
						return 'x'
					}
					return r
				}, word)
			}
			if word == "" || word[0] == '-' || len(word) > 1024 || !utf8.ValidString(word) || strings.ContainsFunc(word, unicode.IsControl) ||
				strings.ContainsAny(word, " $`;|&<>*?'\"(){}[]=\u2028\u202e") {
				t.Fatalf("argument %q of %q", word, line)
			}
		}
	})
}
