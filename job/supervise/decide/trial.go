package decide

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"holdfast/connector"
	"holdfast/job/supervise/rule"
)

// Failure is what is wrong in a test of a rule file.
type Failure struct {
	Rule, Test string
	Text       string
}

// Test runs the tests of a rule file, and returns how many there are and what is wrong.
func Test(set *rule.Set) (tests int, failures []Failure) {
	for _, r := range set.Rules {
		for i := range r.Tests {
			tests++
			name := r.Tests[i].Name
			if name == "" {
				name = strconv.Itoa(i + 1)
			}
			for _, text := range trialOf(set, r, &r.Tests[i]) {
				failures = append(failures, Failure{r.Name, name, text})
			}
		}
	}
	return tests, failures
}

// trialStart is when the tests take place.
var trialStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// trial is one test that is running. The other rules run too, so that the values that they set are set; but only the decisions
// of this rule count.
type trial struct {
	r      *rule.Rule
	m      *Machine
	now    time.Time
	events int
	// further are the values under `with`, which are told again after a restart.
	further map[string]string
	all     tally
	wrong   []string
}

// tally is what came of a test.
type tally struct {
	matched, runs, suppressed, unmet, refused int
	actions                                   []string
	healed                                    *bool
}

func trialOf(set *rule.Set, r *rule.Rule, t *rule.Test) []string {
	x := &trial{r: r, m: New(set), now: trialStart}
	x.take(x.m.Tick(x.now))
	for range max(1, t.Repeat) {
		x.with(t.With)
		for _, line := range t.Lines {
			x.line(&r.From, rule.Step{Line: line, Fields: t.Fields})
		}
		for i, v := range t.Values {
			if i > 0 {
				x.pass(x.every(t.Every))
			}
			x.value(&r.From, v, t.Labels)
		}
	}
	for i := range t.Steps {
		x.step(i, &t.Steps[i])
	}
	x.compare("", &t.Expect, &x.all)
	return x.wrong
}

func (x *trial) every(d time.Duration) time.Duration {
	if d == 0 {
		d = x.r.From.Every
	}
	if d == 0 {
		d = 10 * time.Second
	}
	return d
}

// pass lets time go by, as the job does.
func (x *trial) pass(d time.Duration) {
	x.now = x.now.Add(d)
	x.m.Pass(x.now, x.take)
}

func (x *trial) step(i int, s *rule.Step) {
	before := x.all
	x.all = tally{}
	x.pass(s.After)
	x.with(s.With)
	from := x.source(i, s.Of)
	switch {
	case from == nil:
	case s.Value != "":
		x.value(from, s.Value, s.Labels)
	case s.Line != "":
		x.line(from, *s)
	}
	if s.Expect != nil {
		x.compare(fmt.Sprintf("step %d: ", i+1), s.Expect, &x.all)
	}
	before.add(&x.all)
	x.all = before
}

// source returns the source that a step of a test belongs to.
func (x *trial) source(i int, of string) *rule.Source {
	f := follow(x.r)
	switch {
	case of == "" || of == "from":
		return &x.r.From
	case (of == "then" || of == "without") && f != nil:
		return other(f.From, &x.r.From)
	case of == "heal" && x.r.Heal != nil:
		return other(x.r.Heal.From, &x.r.From)
	}
	x.wrong = append(x.wrong, fmt.Sprintf("step %d: the rule has no %s", i+1, of))
	return nil
}

func (x *trial) event(kind connector.EventKind, age time.Duration) *connector.Event {
	x.events++
	return &connector.Event{Kind: kind, ID: strconv.Itoa(x.events), Time: x.now.Add(-age)}
}

func (x *trial) line(from *rule.Source, s rule.Step) {
	e := x.event(connector.EventLine, s.Age)
	e.Line, e.Fields = []byte(s.Line), s.Fields
	x.take(x.m.Step(from.ID, e, x.now))
}

// value is one look: a number, a word, or one of absent, unanswered, stale, restart.
func (x *trial) value(from *rule.Source, v string, labels map[string]string) {
	e := x.event(connector.EventLook, 0)
	sample := connector.Sample{Labels: labels}
	number, err := strconv.ParseFloat(v, 64)
	switch {
	case v == "restart":
		x.restart()
		return
	case v == "absent":
		x.take(x.m.Step(from.ID, e, x.now))
		return
	case v == "unanswered":
		e.Failed = "as the test says"
	case v == "stale":
		sample.Stale = true
	case err == nil:
		sample.Value = number
	default:
		sample.Text = v
	}
	e.Samples = []connector.Sample{sample}
	x.take(x.m.Step(from.ID, e, x.now))
}

// restart goes on with a machine that has loaded what this one keeps.
func (x *trial) restart() {
	next, err := x.m.Copy()
	if err != nil {
		x.wrong = append(x.wrong, "restart: "+err.Error())
		return
	}
	x.m = next
	x.with(x.further)
}

func (x *trial) with(all map[string]string) {
	if len(all) > 0 {
		x.further = all
	}
	for name, v := range all {
		s := x.r.With[name]
		if s == nil {
			x.wrong = append(x.wrong, fmt.Sprintf("the rule has no %s under with", name))
			continue
		}
		x.value(s, v, nil)
	}
}

func (x *trial) take(out Result) {
	for _, d := range out.Decisions {
		if d.Rule == x.r.Name {
			x.all.decision(&d)
		}
	}
	for _, h := range out.Healings {
		if h.Rule == x.r.Name {
			x.all.healed = &h.Healed
		}
	}
}

func (t *tally) decision(d *Decision) {
	if !d.Due {
		t.matched++
	}
	switch {
	case d.Outcome == Acted || d.Outcome == Shadow:
		t.runs++
		for i := range d.Calls {
			t.actions = append(t.actions, strings.TrimSpace(d.Calls[i].Words()))
		}
	case d.Outcome.suppressed():
		t.suppressed++
	case d.Outcome == Unmet:
		t.unmet++
	case d.Outcome == Refused:
		t.refused++
	}
}

func (t *tally) add(o *tally) {
	t.matched += o.matched
	t.runs += o.runs
	t.suppressed += o.suppressed
	t.unmet += o.unmet
	t.refused += o.refused
	t.actions = append(t.actions, o.actions...)
	if o.healed != nil {
		t.healed = o.healed
	}
}

// compare tells how what happened differs from what the test expects.
func (x *trial) compare(where string, want *rule.Expect, got *tally) {
	differ := func(what string, got, want any) {
		x.wrong = append(x.wrong, fmt.Sprintf("%s%s: got %v, want %v", where, what, got, want))
	}
	if got.runs != want.Runs {
		differ("runs", got.runs, want.Runs)
	}
	for _, n := range []struct {
		what string
		got  int
		want *int
	}{{"suppressed", got.suppressed, want.Suppressed}, {"unmet", got.unmet, want.Unmet}, {"matched", got.matched, want.Matched},
		{"refused", got.refused, want.Refused}} {
		if n.want != nil && *n.want != n.got {
			differ(n.what, n.got, *n.want)
		}
	}
	if want.Actions != nil && strings.Join(want.Actions, "\n") != strings.Join(got.actions, "\n") {
		differ("actions", fmt.Sprintf("%q", got.actions), fmt.Sprintf("%q", want.Actions))
	}
	if want.Healed != nil && (got.healed == nil || *got.healed != *want.Healed) {
		said := "nothing"
		if got.healed != nil {
			said = strconv.FormatBool(*got.healed)
		}
		differ("healed", said, *want.Healed)
	}
}
