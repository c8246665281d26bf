package decide

import (
	"testing"
	"time"

	"holdfast/connector"
)

const silenced = `
rules:
  - {name: a, from: {journal: {unit: a.service}}, match: lost, do: {notify: ops}}
  - {name: t, from: {journal: {unit: a.service}}, match: late, cooldown: {for: 10m, trailing: true}, do: {notify: ops}}`

// A silence that ended while nobody watched is told of once, with what was written under it meanwhile and is only read now;
// what was written behind it is acted upon.
func TestASilenceThatEndedWhileNobodyWatched(t *testing.T) {
	p := newProbe(t, silenced)
	store := keptStates{}
	p.m.Tick(p.now)
	if _, err := p.m.Silence(SilenceOf{Rule: "a", Until: begin.Add(time.Hour), Reason: "x"}, begin); err != nil {
		t.Fatal(err)
	}
	p.line("lost", time.Minute)
	store.commit(p.m)
	p.m, p.now = store.restart(t, p.set), begin.Add(3*time.Hour)
	var ended []SilenceEnd
	take := func(out Result) Result {
		ended = append(ended, out.Silences...)
		store.commit(p.m)
		return out
	}
	take(p.m.Tick(p.now)) // before anything is read
	wrote := func(id string, at time.Duration) Outcome {
		e := &connector.Event{Kind: connector.EventLine, ID: id, Time: begin.Add(at), Line: []byte("lost")}
		return take(p.m.Step(p.set.Sources[0].ID, e, p.now)).Decisions[0].Outcome
	}
	if o := wrote("x", 59*time.Minute); o != Silence {
		t.Errorf("what was written under it: %v", o)
	}
	if o := wrote("y", 61*time.Minute); o != Acted {
		t.Errorf("what was written behind it: %v", o)
	}
	if len(ended) > 0 {
		t.Errorf("told before all of it is read: %+v", ended)
	}
	take(p.m.Tick(p.now.Add(settling)))
	p.m = store.restart(t, p.set)
	take(p.m.Tick(p.now.Add(time.Hour)))
	take(p.m.Tick(p.now.Add(2 * time.Hour)))
	if len(ended) != 1 || len(ended[0].Began) != 1 || ended[0].Began[0].Times != 2 {
		t.Errorf("told %+v, want once, of two", ended)
	}
}

// What runs out under a silence is silent, also if the silence has ended by the time at which somebody looks.
func TestWhatRunsOutUnderASilence(t *testing.T) {
	p := newProbe(t, silenced)
	p.line("late", 0)
	p.line("late", time.Minute)
	if _, err := p.m.Silence(SilenceOf{Until: begin.Add(time.Hour), Reason: "x"}, p.now); err != nil {
		t.Fatal(err)
	}
	out := p.m.Tick(begin.Add(2 * time.Hour))
	if len(out.Decisions) != 1 || out.Decisions[0].Outcome != Silence {
		t.Fatalf("got %+v", out.Decisions)
	}
	if len(out.Silences) != 1 || len(out.Silences[0].Began) != 1 {
		t.Errorf("told %+v", out.Silences)
	}
}
