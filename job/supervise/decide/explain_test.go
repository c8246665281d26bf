package decide

import (
	"strings"
	"testing"
	"time"

	"holdfast/connector"
)

func TestExplain(t *testing.T) {
	p := newProbe(t, `
rules:
  - {name: a, from: {journal: {unit: a.service}}, match: lost, cooldown: 30s, do: {notify: ops}}
  - {name: b, from: {journal: {unit: a.service}}, match: found, do: {notify: ops}}
  - {name: c, from: {file: /var/log/x}, match: lost, where: fields.x == "1", do: {notify: ops}}
  - {name: d, from: {unit: a.service}, when: {change: true}, do: {notify: ops}}`)
	p.line("lost", 0)
	e := &connector.Event{Kind: connector.EventLine, ID: "?", Line: []byte("lost")}
	for range 2 { // the second time it is as it was
		all, err := p.m.Explain("", e, p.now.Add(time.Second))
		if err != nil || len(all) != 3 {
			t.Fatalf("%d opinions, %v", len(all), err)
		}
		if d := all[0].Decision; d == nil || d.Outcome != Cooldown || d.Reason.String() != "for 29s more" {
			t.Errorf("a: %+v", d)
		}
		if all[1].Why != "match does not: found" || !strings.HasPrefix(all[2].Why, "where is not so: ") {
			t.Errorf("b: %s, c: %s", all[1].Why, all[2].Why)
		}
	}
	if out := p.line("lost", time.Minute); out.Decisions[0].Outcome != Acted {
		t.Errorf("afterwards: %+v", out.Decisions)
	}
	if s := p.m.shown("a", ""); len(s) != 1 || !s[0].Cooldown.Equal(p.now.Add(30*time.Second)) {
		t.Errorf("states %+v", s)
	}
}

// A text of several lines is one to a source that joins its lines, and several to one that does not; fields may be given by
// their short names, and of those that are not given it is said that nothing is known.
func TestExplainLinesAndFields(t *testing.T) {
	p := newProbe(t, `
rules:
  - {name: joined, from: {file: {path: /x, join: 'yes'}}, match: '(?s)first.*second', do: {notify: ops}}
  - {name: single, from: {file: /x}, match: '(?s)first.*second', do: {notify: ops}}
  - {name: second, from: {file: /x}, match: '^second$', do: {notify: ops}}
  - {name: where, from: {journal: {}}, match: first, where: 'unit == "a.service" && fields.X != "1"', do: {notify: ops}}
  - {name: wrong, from: {journal: {}}, match: '(?P<n>\w+)$', where: 'int(n) > 3', do: {notify: ops}}`)
	ask := func(line string, fields map[string]string) string {
		var all []string
		found, err := p.m.Explain("", &connector.Event{Kind: connector.EventLine, ID: "?", Line: []byte(line), Fields: fields}, p.now)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range found {
			text := o.Rule + ": " + o.Why
			if o.Decision != nil {
				text = o.Rule + ": " + o.Decision.Outcome.String() + " " + o.Decision.Reason.String()
			}
			all = append(all, strings.TrimSpace(text))
		}
		return strings.Join(all, "|")
	}
	for _, c := range []struct {
		line   string
		fields map[string]string
		want   []string
	}{
		{"first\nsecond\n", nil, []string{"joined: acted", "single: match does not: (?s)first.*second; file /x has no join, so that each of the 2 lines comes by itself",
			"second: acted", `where: where is not so: unit == "a.service" && fields.X != "1"; nothing is known here of unit, X, which --field gives the line`,
			"wrong: unmet int(n) > 3: "}},
		{"first", map[string]string{"unit": "a.service", "X": "2"}, []string{"where: acted"}},
		{"first", map[string]string{"_SYSTEMD_UNIT": "a.service", "X": "1"}, []string{`where: where is not so: unit == "a.service" && fields.X != "1"|`}},
	} {
		got := ask(c.line, c.fields)
		for _, want := range c.want {
			if !strings.Contains("|"+got+"|", "|"+want) {
				t.Errorf("%q %v\n got %s\nwant %s", c.line, c.fields, got, want)
			}
		}
		if strings.Contains(got, "\n") {
			t.Errorf("it has ends of lines: %q", got)
		}
	}
}

func TestSilencesTellWhatBegan(t *testing.T) {
	p := newProbe(t, `
rules:
  - {name: a, from: {journal: {unit: a.service}}, match: 'lost (?P<k>\w)', key: [k], do: {notify: ops}}`)
	p.m.Tick(p.now)
	id, err := p.m.Silence(SilenceOf{Rule: "a", Key: "x", Until: begin.Add(time.Hour), Reason: "work on it"}, begin)
	if err != nil || len(p.m.Silences()) != 1 {
		t.Fatal(id, err)
	}
	p.line("lost x", 0)
	p.line("lost x", 10*time.Minute)
	if out := p.line("lost y", 0); out.Decisions[0].Outcome != Acted {
		t.Errorf("another key: %+v", out.Decisions)
	}
	if p.m, err = p.m.Copy(); err != nil {
		t.Fatal(err)
	}
	p.m.Tick(begin.Add(50 * time.Minute))
	out := p.m.Tick(begin.Add(time.Hour))
	if len(out.Silences) != 1 || len(out.Silences[0].Began) != 1 || out.Silences[0].Reason != "work on it" {
		t.Fatalf("got %+v", out.Silences)
	}
	if b := out.Silences[0].Began[0]; b.Rule != "a" || b.Key != "x" || b.Times != 2 || !b.First.Equal(begin) || !b.Last.Equal(begin.Add(10*time.Minute)) {
		t.Errorf("got %+v", b)
	}
	for _, bad := range []SilenceOf{{Rule: "nobody", Until: begin.Add(2 * time.Hour)}, {Until: begin}} {
		if _, err := p.m.Silence(bad, begin.Add(time.Hour)); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestALoopIsStopped(t *testing.T) {
	p := newProbe(t, `
loop: {max: 2, within: 10m, then: ops}
rules:
  - {name: a, from: {journal: {unit: a.service}}, match: lost, do: {systemctl: restart, unit: a.service}}`)
	lost := func() Result {
		p.now = p.now.Add(time.Second)
		p.n++
		e := &connector.Event{Kind: connector.EventLine, ID: string(rune('a' + p.n)), Time: p.now, Line: []byte("lost"),
			Fields: map[string]string{"_SYSTEMD_UNIT": "a.service"}}
		return p.m.Step(p.set.Sources[0].ID, e, p.now)
	}
	first := lost()
	if d := first.Decisions[0]; d.Outcome != Acted || d.Caused != "" {
		t.Fatalf("got %+v", d)
	}
	for range 2 {
		if d := lost().Decisions[0]; d.Outcome != Acted || d.Caused == "" {
			t.Fatalf("got %+v", d)
		}
	}
	out := lost()
	if d := out.Decisions[0]; d.Outcome != Limit || !strings.HasPrefix(d.Reason.String(), "loop guard") {
		t.Errorf("got %+v", d)
	}
	if len(out.Calls) != 1 || out.Calls[0].Notify != "ops" {
		t.Errorf("people are not told: %+v", out.Calls)
	}
	if out = lost(); len(out.Calls) != 0 {
		t.Errorf("people are told twice: %+v", out.Calls)
	}
}
