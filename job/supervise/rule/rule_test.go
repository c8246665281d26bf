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
	"unit":       {Config: &unit{}, Looks: true, Word: "unit", Trusted: func(any) bool { return true }},
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
