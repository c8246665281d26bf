package decide

import (
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/connector"
	"holdfast/job/supervise/rule"
)

type journal struct {
	Unit string `yaml:"unit"`
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
	Join string `yaml:"join"`
}

var kinds = rule.Kinds{
	"journal": {Config: &journal{}, Past: true, Names: map[string]string{"unit": "_SYSTEMD_UNIT", "pid": "_PID"},
		Trusted: func(c any) bool { return c.(*journal).Unit != "" }},
	"file":       {Config: &logfile{}, Past: true, Word: "path", Joins: func(c any) bool { return c.(*logfile).Join != "" }},
	"prometheus": {Config: &prom{}, Looks: true, Polled: true},
	"unit":       {Config: &unit{}, Looks: true, Word: "unit", Trusted: func(any) bool { return true }},
}

func load(t testing.TB, text string) *rule.Set {
	t.Helper()
	s, err := rule.Load("rules.yaml", []byte(text), kinds, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// try runs the tests in some rules.
func try(t *testing.T, text string) {
	t.Helper()
	n, failures := Test(load(t, text))
	if n == 0 {
		t.Fatal("there are no tests")
	}
	for _, f := range failures {
		t.Errorf("%s, test %s: %s", f.Rule, f.Test, f.Text)
	}
}

func TestBitBoxBase(t *testing.T) {
	text, err := os.ReadFile("../../../examples/bitboxbase.yaml")
	if err != nil {
		t.Fatal(err)
	}
	try(t, string(text))
}

// What the documentation shows is taken, and its tests hold.
func TestTheDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../../docs/supervise-rules.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, block := range strings.Split(string(text), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		if strings.HasPrefix(block, "rules:") {
			found++
			try(t, block)
		}
	}
	tests := strings.Split(string(text), "```yaml\ntests:\n")
	if len(tests) != 2 || found == 0 {
		t.Fatal("its examples are not found")
	}
	block, _, _ := strings.Cut(tests[1], "  - with:")
	try(t, `rules:
  - name: b
    from: {journal: {unit: electrs.service}}
    match: finished full compaction
    cooldown: 30s
    do: {systemctl: restart, unit: electrs.service}
    tests:
`+strings.ReplaceAll("\n"+strings.TrimRight(block, "\n"), "\n", "\n    "))
}

func TestATestThatFailsSaysWhy(t *testing.T) {
	set := load(t, `
rules:
  - name: a
    from: {journal: {unit: a.service}}
    match: x
    do: {notify: ops, text: "{{line}}"}
    tests:
      - {lines: [x], expect: {runs: 2, actions: [notify ops y], matched: 1}}
      - {name: fine, lines: [x], expect: {runs: 1}}`)
	n, failures := Test(set)
	var all []string
	for _, f := range failures {
		all = append(all, f.Test+": "+f.Text)
	}
	want := `1: runs: got 1, want 2|1: actions: got ["notify ops x"], want ["notify ops y"]`
	if got := strings.Join(all, "|"); n != 2 || got != want {
		t.Errorf("%d tests\n got %s\nwant %s", n, got, want)
	}
}

var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// line is one line of the first source.
func (p *probe) line(text string, after time.Duration) Result {
	p.now = p.now.Add(after)
	p.n++
	e := &connector.Event{Kind: connector.EventLine, ID: string(rune('a' + p.n)), Time: p.now, Line: []byte(text)}
	return p.m.Step(p.set.Sources[0].ID, e, p.now)
}

type probe struct {
	set *rule.Set
	m   *Machine
	now time.Time
	n   int
}

func newProbe(t testing.TB, text string) *probe {
	set := load(t, text)
	return &probe{set: set, m: New(set), now: begin}
}

func TestADecisionSaysWhatLedToIt(t *testing.T) {
	p := newProbe(t, `
rules:
  - name: a
    from: {journal: {unit: a.service}}
    match: 'x(?P<n>\d+)'
    key: [n]
    do: [{run: [/bin/echo, "{{n}}"], timeout: 3s}, {systemctl: restart, unit: b.service}]
    cooldown: 30s`)
	out := p.line("x17", 0)
	if len(out.Decisions) != 1 || len(out.Calls) != 2 {
		t.Fatalf("got %+v", out)
	}
	d, c := out.Decisions[0], out.Calls[0]
	if d.Rule != "a" || d.Key != "17" || d.Event != "b" || d.Outcome != Acted || !d.Time.Equal(begin) {
		t.Errorf("decision %+v", d)
	}
	if c.ID != "a/17/b/0/1" || c.Words() != "/bin/echo 17" || c.Timeout != 3*time.Second || len(c.After) != 0 {
		t.Errorf("call %+v", c)
	}
	if c = out.Calls[1]; c.ID != "a/17/b/0/2" || len(c.After) != 1 || c.After[0] != "1" || c.Group != out.Calls[0].Group {
		t.Errorf("second call %+v", c)
	}
	out = p.line("x17", 10*time.Second)
	if d = out.Decisions[0]; d.Outcome != Cooldown || d.Reason.String() != "for 20s more" || len(out.Calls) != 0 {
		t.Errorf("decision %+v", d)
	}
}
