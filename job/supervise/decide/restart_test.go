package decide

import (
	"strings"
	"testing"
	"time"

	"holdfast/connector"
	"holdfast/job/supervise/rule"
)

const waits = `
rules:
  - {name: without, from: {journal: {unit: a.service}}, match: stop, when: {without: {match: start}, within: 10s}, do: {notify: ops}}
  - {name: down, from: {unit: a.service}, when: {state: [failed], for: 1m}, do: {notify: ops}}`

func lineOf(set *rule.Set, text string, at time.Time) (string, *connector.Event) {
	return set.Sources[0].ID, &connector.Event{Kind: connector.EventLine, ID: text, Time: at, Line: []byte(text)}
}

func lookOf(set *rule.Set, text string, at time.Time) (string, *connector.Event) {
	return set.Rule("down").From.ID, &connector.Event{Kind: connector.EventLook, ID: text, Time: at, Samples: []connector.Sample{{Text: text}}}
}

// acted are the rules that acted, with a comma between.
func acted(out Result) string {
	var all []string
	for _, d := range out.Decisions {
		if d.Outcome == Acted {
			all = append(all, d.Rule)
		}
	}
	return strings.Join(all, ",")
}

// begun is a machine in which both rules wait for something, as another process finds it an hour later.
func begunWaiting(t *testing.T) (*rule.Set, *Machine, time.Time) {
	set := load(t, waits)
	store, m := keptStates{}, New(set)
	source, e := lineOf(set, "stop", begin)
	m.Step(source, e, begin)
	source, e = lookOf(set, "failed", begin)
	m.Step(source, e, begin)
	store.commit(m)
	return set, store.restart(t, set), begin.Add(time.Hour)
}

func TestAfterAStartNothingIsConcludedFromWhatWasNotReadYet(t *testing.T) {
	_, m, now := begunWaiting(t)
	if got := acted(m.Tick(now)); got != "" {
		t.Errorf("at once %s acted: what came meanwhile is not read yet", got)
	}
	if wait, ok := m.Next(); !ok || wait != settling {
		t.Errorf("next is in %v, want %v", wait, settling)
	}
	if got := acted(m.Tick(now.Add(settling))); got != "without" {
		t.Errorf("then %q acted, want without alone: nobody has said that the unit is down still", got)
	}
}

// A backlog that takes longer to read: what should have followed is waited for as long as lines from before the start come, but
// not for ever.
func TestALongBacklogIsReadFirst(t *testing.T) {
	set, m, now := begunWaiting(t)
	source, e := lineOf(set, "something else", begin.Add(5*time.Second))
	m.Tick(now)
	if got := acted(m.Step(source, e, now.Add(settling-time.Second))) + acted(m.Tick(now.Add(2*settling-2*time.Second))); got != "" {
		t.Errorf("%s acted amid the backlog", got)
	}
	source, e = lineOf(set, "start", begin.Add(9*time.Second))
	if got := acted(m.Step(source, e, now.Add(2*settling-time.Second))) + acted(m.Tick(now.Add(time.Hour))); got != "" {
		t.Errorf("%s acted, and it had followed", got)
	}
	set, m, now = begunWaiting(t)
	m.Tick(now)
	got, at := "", now
	for ; got == "" && at.Before(now.Add(time.Hour)); at = at.Add(settling / 2) { // lines whose clock is an hour late
		source, e = lineOf(set, "something else", at.Add(-time.Hour))
		got = acted(m.Step(source, e, at))
	}
	if waited := at.Sub(now); got != "without" || waited < mostSettling || waited > mostSettling+time.Minute {
		t.Errorf("%q acted behind %v", got, waited)
	}
}

func TestWhatFollowedWhileNobodyWatchedCounts(t *testing.T) {
	set, m, now := begunWaiting(t)
	source, e := lineOf(set, "start", begin.Add(9*time.Second)) // an hour old
	if got := acted(m.Step(source, e, now)) + acted(m.Tick(now.Add(time.Hour))); got != "" {
		t.Errorf("%s acted", got)
	}
	set, m, now = begunWaiting(t)
	source, e = lineOf(set, "start", begin.Add(11*time.Second)) // too late
	if got := acted(m.Step(source, e, now)) + acted(m.Tick(now.Add(time.Hour))); got != "without" {
		t.Errorf("%q acted, want without", got)
	}
}

func TestAConditionHasToBeSeenAgain(t *testing.T) {
	set, m, now := begunWaiting(t)
	m.Tick(now)
	source, e := lookOf(set, "failed", now)
	if got := acted(m.Step(source, e, now)); got != "down" {
		t.Errorf("%q acted, want down: it has been so for an hour", got)
	}
	set, m, now = begunWaiting(t)
	source, e = lookOf(set, "active", now)
	if got := acted(m.Step(source, e, now)); got != "" {
		t.Errorf("%s acted", got)
	}
}

// Other rules take over what still means something, and what is gone with a rule is gone from the store.
func TestAReload(t *testing.T) {
	p := newProbe(t, `
rules:
  - {name: a, from: {journal: {unit: a.service}}, match: lost, cooldown: 1h, do: {notify: ops}}
  - {name: b, from: {journal: {unit: a.service}}, match: lost, when: {count: 3, within: 1h}, do: {notify: ops}}`)
	store := keptStates{}
	p.line("lost", 0)
	store.commit(p.m)
	next := load(t, `
rules:
  - {name: a, from: {journal: {unit: a.service}}, match: 'lost|gone', cooldown: 5m, do: {notify: dev}}
  - {name: c, from: {journal: {unit: a.service}}, match: lost, do: {notify: ops}}`)
	var err error
	if p.m, err = p.m.With(next); err != nil {
		t.Fatal(err)
	}
	p.set = next
	out := p.line("lost", time.Minute)
	store.commit(p.m)
	if len(out.Decisions) != 2 || out.Decisions[0].Outcome != Cooldown || out.Decisions[1].Outcome != Acted {
		t.Errorf("got %+v", out.Decisions)
	}
	for entry := range store {
		if strings.HasPrefix(entry[1:], "b") {
			t.Errorf("%q is still there", entry)
		}
	}
	if c, _ := p.m.Counts("a"); c.Matched != 2 {
		t.Errorf("a has matched %d times, want 2", c.Matched)
	}
}

// A rule that is about something else than before, by its source or its key, begins from nothing, after a restart too: else
// it would miss the data of series that nobody asks for. How often it is asked makes it no other rule.
func TestARuleAboutSomethingElse(t *testing.T) {
	text := "rules: [{name: r, from: {prometheus: {query: %q}, every: %e}, key: [%k], when: {no_data: 1m}, do: {notify: ops, text: '{{key}}'}}]"
	with := func(query, every, key string) *rule.Set {
		return load(t, strings.NewReplacer("%q", query, "%e", every, "%k", key).Replace(text))
	}
	for _, c := range []struct {
		name string
		next *rule.Set
		want string
	}{{"the same, less often", with("q", "30s", "s"), "a"}, {"another query", with("p", "10s", "s"), ""}, {"another key", with("q", "10s", "job"), ""}} {
		for _, restart := range []bool{false, true} {
			set := with("q", "10s", "s")
			store, m := keptStates{}, New(set)
			source, e := valueOfQ(set, begin, "a")
			m.Step(source, e, begin)
			store.commit(m)
			if restart {
				m = store.restart(t, c.next)
			} else {
				var err error
				if m, err = m.With(c.next); err != nil {
					t.Fatal(err)
				}
			}
			m.Tick(begin)
			store.commit(m)
			got := ""
			for _, d := range m.Tick(begin.Add(time.Minute)).Decisions {
				got += d.Key
			}
			if got != c.want {
				t.Errorf("%s, restart %v: no data of %q, want %q", c.name, restart, got, c.want)
			}
			if _, is := store[keyEntry("r", "a")]; is != (c.want == "a") {
				t.Errorf("%s, restart %v: what is known of the key is kept: %v", c.name, restart, is)
			}
		}
	}
}

// What ran out before a line was written is decided before it, however late the line is told of.
func TestTimesRunOutInTheirOrder(t *testing.T) {
	set := load(t, waits)
	m := New(set)
	source, e := lineOf(set, "stop", begin)
	m.Step(source, e, begin)
	source, e = lineOf(set, "stop", begin.Add(time.Minute))
	e.ID = "second"
	out := m.Step(source, e, begin.Add(time.Minute))
	if len(out.Decisions) != 2 || !out.Decisions[0].Due || out.Decisions[0].Event != "stop" || out.Decisions[1].Outcome != Unmet {
		t.Fatalf("got %+v", out.Decisions)
	}
	if got := acted(m.Tick(begin.Add(70 * time.Second))); got != "without" {
		t.Errorf("%q acted, want without: the second waited for itself", got)
	}
}

// A condition of which nothing is known does not hold for long enough by time alone.
func TestWithoutDataNothingHolds(t *testing.T) {
	set := load(t, waits)
	m := New(set)
	source, e := lookOf(set, "failed", begin)
	m.Step(source, e, begin)
	m.Step(source, &connector.Event{Kind: connector.EventLook, ID: "no", Time: begin, Failed: "no bus"}, begin.Add(time.Second))
	if got := acted(m.Tick(begin.Add(2 * time.Minute))); got != "" {
		t.Errorf("%s acted, and nobody knows how the unit is", got)
	}
	if s := m.shown("down", ""); len(s) != 1 || s[0].Now != "no data" || s[0].Holds.IsZero() {
		t.Errorf("states %+v", s)
	}
	if got := acted(m.Step(source, e, begin.Add(3*time.Minute))); got != "down" {
		t.Errorf("%q acted, want down", got)
	}
}

// Two series that a rule does not tell apart would make its state go to and fro.
func TestOneSeriesOfALookCountsForAKey(t *testing.T) {
	set := load(t, `
rules:
  - {name: r, from: {prometheus: {query: q}}, key: [job], when: {change: true, initial: true}, do: {notify: ops}}`)
	m := New(set)
	e := &connector.Event{Kind: connector.EventLook, ID: "1", Time: begin, Samples: []connector.Sample{
		{Labels: map[string]string{"job": "a", "core": "0"}, Value: 1}, {Labels: map[string]string{"job": "a", "core": "1"}, Value: 2},
		{Labels: map[string]string{"job": "b", "core": "0"}, Value: 2}}}
	out := m.Step(set.Sources[0].ID, e, begin)
	want := []Outcome{Acted, Unmet, Acted}
	for i, d := range out.Decisions {
		if d.Outcome != want[i] {
			t.Errorf("%d: %v (%s), want %v", i, d.Outcome, d.Reason, want[i])
		}
	}
	if len(out.Decisions) != 3 || len(out.Calls) != 2 {
		t.Errorf("%d decisions, %d calls", len(out.Decisions), len(out.Calls))
	}
}
