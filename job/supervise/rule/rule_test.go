package rule

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"holdfast/base/fault"
)

type journal struct {
	Unit     string `yaml:"unit"`
	Priority string `yaml:"priority"`
}
type prom struct {
	URL   string `yaml:"url"`
	Query string `yaml:"query"`
}
type unit struct {
	Unit string `yaml:"unit"`
}
type logfile struct {
	Path string `yaml:"path"`
}

var kinds = Kinds{
	"journal": {Config: &journal{}, Past: true, Names: map[string]string{"unit": "_SYSTEMD_UNIT", "pid": "_PID"},
		Trusted: func(c any) bool { return c.(*journal).Unit != "" }},
	"file":       {Config: &logfile{}, Past: true, Word: "path"},
	"prometheus": {Config: &prom{}, Looks: true, Polled: true},
	"unit": {Config: &unit{}, Looks: true, Word: "unit", Trusted: func(any) bool { return true },
		States: []string{"active", "inactive", "failed"}},
}

func load(t testing.TB, text string) *Set {
	t.Helper()
	s, err := Load("rules.yaml", []byte(text), kinds, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func noEnv(string) (string, bool) { return "", false }

const shape = `
rules:
  - name: electrs-cookie
    why: electrs loses bitcoind when its cookie changes
    from: {journal: {unit: electrs.service}}
    match: 'reconnecting to bitcoind: (?P<cause>no reply from daemon)'
    key: [unit]
    when: {count: 1, within: 60s}
    do: [{systemctl: restart, unit: electrs.service, timeout: 30s}]
    cooldown: 30s
    limit: {max: 5, within: 1h, then: ops}
    heal: {expect: 'connected to bitcoind', within: 2m}
    tests: [{lines: ["WARN - reconnecting to bitcoind: no reply from daemon"], repeat: 3, expect: {runs: 1, suppressed: 2}}]
  - name: ibd
    from: {prometheus: {url: "http://127.0.0.1:9090", query: bitcoin_ibd}, every: 10s}
    state: {on: "value == 1", off: "value == 0", no_data: 2m}
    on_change: {run: [/usr/local/sbin/bbb-config.sh, set, bitcoin_ibd, "{{state.on}}"], initial: true}
  - name: bitcoind-down
    from: {unit: bitcoind.service}
    when: {state: [failed, inactive], for: 1m}
    do: [{notify: ops}]
`

// The title of a source is the name of its gate, and stands in metrics.
func TestTitlesHaveNoPassword(t *testing.T) {
	s := load(t, strings.ReplaceAll(shape, "http://127.0.0.1:9090", "http://us:geheim@127.0.0.1:9090"))
	for _, s := range s.Sources {
		if strings.Contains(s.Title, "geheim") {
			t.Errorf("title %s", s.Title)
		}
	}
}

func TestTheShapeOfARuleFile(t *testing.T) {
	s := load(t, shape)
	if len(s.Rules) != 3 || len(s.Sources) != 3 {
		t.Fatalf("%d rules, %d sources; want 3 and 3", len(s.Rules), len(s.Sources))
	}
	r := s.Rule("electrs-cookie")
	if r.Cooldown.For.String() != "30s" || r.Mode != Live || r.Unknown != Ask || *r.Tests[0].Expect.Suppressed != 2 {
		t.Errorf("got %+v", r)
	}
	if got := s.Sources[0].Title; got != `journal {unit: "electrs.service"}` {
		t.Errorf("title %s", got)
	}
	if a := s.Rule("ibd").OnChange; len(a) != 1 || !a[0].Initial || a[0].Timeout != defaultTimeout {
		t.Errorf("on_change: %+v", a)
	}
}

func TestMistakesHaveTheirPlace(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "rules.yaml:1:1: it is empty"},
		{"rules:\n  - name: a\n    from: {journal: {unit: x}}\n    match: '(?P<client>.)'\n    key: [clinet]\n    do: [{notify: ops}]",
			"rules.yaml:5:11: rules[0].key[0]: clinet is no group of match, and no field; match has: client"},
		{"rules:\n  - name: a\n    from: {journal: {unit: x}}\n    match: '(?P<client>.)'\n    captures: {clinet: ip}\n    do: [{notify: ops}]",
			"rules.yaml:5:24: rules[0].captures.clinet: is no group of match"},
		{"rules: [", "rules.yaml:1:8: this is no YAML"},
		{"rules: []", "rules.yaml:1:8: rules: there is no rule"},
		{"rulez: []", `rules.yaml:1:1: unknown key "rulez"; want one of: allow, limit, loop, rules`},
		{"rules:\n  - name: a\n    from: {journal: {unti: x}}", `rules.yaml:3:22: rules[0].from.journal: unknown key "unti"`},
		{"rules:\n  - name: a\n    from: {journal: {unit: x}}\n    match: '('\n    do: {notify: ops}",
			"rules.yaml:4:12: rules[0].match: is no regular expression of RE2"},
		{"rules:\n  - name: a\n    from: {journal: {unit: x}}\n    where: 'fields.x >'\n    do: {notify: ops}",
			"rules.yaml:4:12: rules[0].where: is no condition: "},
		{"rules:\n  - name: a\n    from: {journal: {unit: x}}\n    where: 'nobody == 1'\n    do: {notify: ops}", "unknown name nobody"},
		{"rules:\n  - name: a\n    from: {journal: {unit: x}}\n    where: 'now().Year() > 1'\n    do: {notify: ops}", "is no condition"},
		{"rules:\n  - name: a\n    from: {journal: {unit: x}}\n    cooldown: soon\n    do: {notify: ops}", "rules.yaml:4:15: rules[0].cooldown: want a time"},
		{"rules:\n  - name: a\n    from: {journal: {unit: x}}\n    cooldown: 4000d\n    do: {notify: ops}", "cooldown: want a time from 0s to 3650d"},
		{"rules:\n  - name: a\n    from: {journal: {unit: x}}\n    do: {run: [sh, -c, reboot]}", "rules.yaml:4:16: rules[0].do[0].run[0]: want a program by its absolute"},
		{"rules:\n  - name: a\n    from: {journal: {unit: x}}\n    do: {run: [/bin/echo, 'a{{line}}']}", "a capture is an argument of its own"},
		{"rules:\n  - name: a\n    from: {journal: {unit: x}}\n    do: {run: [/bin/echo, '{{whom}}']}", "{{whom}} is nothing that this rule knows"},
		{"rules:\n  - name: a\n    from: {journal: {unit: x}}\n    do: {systemctl: isolate, unit: a.service}", "want one of start, stop"},
		{"rules:\n  - name: a\n    from: {journal: {unit: x}}\n    do: {systemctl: start, unit: a.service, notify: ops}", "want exactly one of systemctl"},
		{"rules:\n  - name: a\n    from: {journal: {unit: x}}\n    match: '(?P<unit>x)'\n    do: {notify: ops}", "a line could forge it"},
		{"rules:\n  - name: a\n    from: {journal: {unit: x}}\n    match: '(?P<_PID>x)'\n    do: {notify: ops}", "a line could forge it"},
		{"rules:\n  - name: a\n    from: {unit: x}\n    state: {on: 'true', off: 'false'}\n    do: {notify: ops}", "on_change: is missing"},
		{"rules:\n  - name: a\n    from: {journal: {unit: x}}\n    when: {above: 1}\n    do: {notify: ops}", "is about values"},
		{"rules:\n  - name: a\n    from: {journal: {unit: x}, unit: y}\n    do: {notify: ops}", "a source is one thing"},
		{"rules:\n  - name: a\n    from: {unit: x, since: boot}\n    do: {notify: ops}", "has no past"},
		{"rules:\n  - &a\n    name: a\n", "a word that begins with & is a name"},
		{"rules:\n  - name: a\n    name: b\n", "rules.yaml:3:5"},
		{"rules:\n  - name: a\n    from: {unit: x}\n    do: {notify: ops}\n    tests: [{lines: [x], repeat: 0, expect: {runs: 0}}]", "repeat: want a number from 1"},
		{"rules:\n  - name: a\n    from: {unit: x}\n    do: {notify: ops}\n    tests: [{lines: [x], repeat: 99999999999, expect: {runs: 0}}]", "repeat: want a number from 1"},
		{"rules:\n  - name: a\n    from: {prometheus: {url: 'http://127.0.0.1:9090', query: x}, every: 0s}\n    do: {notify: ops}", "every: want at least 100ms"},
		{"rules:\n  - name: a\n    from: {journal: {unit: x}}\n    match: x\n    do: {notify: ops}\n    heal: {expect: y, within: 1m, else: [[]]}", "else[0]: is empty"},
		{strings.Repeat("[", 100), "nested too deep"},
		{"rules:\n  - name: a\n    from: {journal: {unit: x}}\n    do: {notify: ops}\n  - name: a\n    from: {journal: {unit: x}}\n    do: {notify: ops}",
			"rules.yaml:5:11: rules[1].name: another rule has the name"},
	} {
		_, err := Load("rules.yaml", []byte(c.text), kinds, noEnv)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	_, err := Load("r", []byte("rules:\n  - name: 'a b'\n    from: {journal: {unit: x}}\n    mode: on\n    stale_after: 3s\n    do: {notify: 'x y'}"), kinds, noEnv)
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("want three mistakes, got %v", err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(shape))
	f.Add([]byte("rules: [{name: a, from: {unit: x}, when: {above: 1, until: 2}, do: {notify: ops}}]"))
	f.Add([]byte("rules: [{name: a, from: {file: x}, match: '(?P<n>\\d+)', where: 'int(n) > 3', heal: {where: cut, within: 1s}, do: {set: x, value: y}}]"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte(`rules: [null, {}, {from: {}}, {heal: {from: {}}}, {when: {then: {from: {}}}}, {do: [null]}, {captures: {a: null}}, {with: {a: null}},` +
		` {tests: [null]}, {on_change: null, state: {}}, {from: {journal: {}}, heal: {from: {unit: x}, expect: y}}, {from: 3, when: {without: 4, for: 1m}}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Load("f", text, kinds, noEnv)
		if (err == nil) == (s == nil) {
			t.Fatalf("set %v, error %v", s, err)
		}
	})
}

// What is no regular file is refused, and not waited for.
func TestFileThatIsNone(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{fifo, t.TempDir(), "/dev/zero", filepath.Join(t.TempDir(), "none")} {
		if _, err := LoadFile(name, kinds); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// All mistakes of a file are told in one run, each with its place, and nothing that only follows from another.
func TestAllMistakesAreToldAtOnce(t *testing.T) {
	_, err := Load("r.yaml", []byte(`limitt: {max: 1}
allow: [x]
rules:
  - name: a
    frm: {journal: {unit: a.service}}
    match: 'lost('
    match: again
    when: {count: 3, above: 4}
    do: [{systemctl: restrt, unit: a.service, text: x}, {run: [foo, "a{{b}}"], notify: ops}]
    cooldown: soon
    tests:
      - {lines: [x], expct: {runs: 1}}
  - name: a
    from: {unit: a.service}
    with: {blocks: {promtheus: {query: x}}, state: {prometheus: {quer: x}}}
    where: value > blocks
    captures: {foo: {typ: word}}
    do: [{http: {url: "ftp://x", heders: {a: b}}}, {name: 1, set: x}, {run: [/bin/x], env: {a-b: c}}]
    when: {for: 1m}
  - name: c
    from: {prometheus: {query: q}, every: 1ms}
    where: |
      value > 1 &&
      valu < 3
    when: {for: 1m}
    heal: {within: 0s}
    do: []
  -
  - [1, 2]
`), kinds, noEnv)
	want := []string{`1:1: unknown key "limitt"`, `2:9: allow[0]: want an absolute path`, `5:5: rules[0]: unknown key "frm"`,
		"6:12: rules[0].match: is no regular expression", "7:5: rules[0].match: the key is there twice", "8:11: rules[0].when: want one of count, above",
		"9:22: rules[0].do[0].systemctl: want one of", "9:53: rules[0].do[0].text: means nothing", "9:57: rules[0].do[1]: want exactly one of",
		"9:64: rules[0].do[1].run[0]: want a program", "9:69: rules[0].do[1].run[1]: want a word", "10:15: rules[0].cooldown: want a time",
		`12:22: rules[0].tests[0]: unknown key "expct"`, `13:11: rules[1].name: another rule has the name "a", in line 4`,
		`15:21: rules[1].with.blocks: unknown key "promtheus"`, "15:52: rules[1].with.state: the name state has a meaning",
		`15:66: rules[1].with.state.prometheus: unknown key "quer"`, `17:22: rules[1].captures.foo: unknown key "typ"`,
		"18:23: rules[1].do[0].http.url: want a URL", `18:34: rules[1].do[0].http: unknown key "heders"`, `18:59: rules[1].do[1].name: two actions are called "1"`,
		"18:78: rules[1].do[2].run[0]: /bin/x is not under allow", `18:98: rules[1].do[2].env.a-b: "a-b" is no name`, "21:43: rules[2].from.every: want at least 100ms",
		"22:12: rules[2].where: is no condition: unknown name valu, in its line 2", "26:11: rules[2].heal: want expect", "26:20: rules[2].heal.within: is missing",
		"27:9: rules[2].do: is missing", "28:4: rules[3]: is empty", "29:5: rules[4]: want keys and values, got a list"}
	var got []string
	if err != nil {
		got = strings.Split(err.Error(), "\n")
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("not told: %s", want[i])
		case i >= len(want) || !strings.HasPrefix(strings.TrimPrefix(got[i], "r.yaml:"), want[i]):
			t.Errorf("%d: got %s", i, got[i])
		}
	}
}
