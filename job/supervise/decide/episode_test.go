package decide

import (
	"strings"
	"testing"
	"time"
)

// While a flood goes on who is to know is told once that the limit is reached, though the window has room now and then; and
// at its end, also if that comes in another life, how much it was.
func TestALimitIsToldOncePerEpisode(t *testing.T) {
	p := newProbe(t, `
limit: {max: 4, within: 1m, then: dev}
rules:
  - {name: a, from: {journal: {unit: a.service}}, match: lost, limit: {max: 3, within: 1m, then: ops}, do: {set: x, value: y}}
  - {name: b, from: {journal: {unit: a.service}}, match: gone, do: {run: [/bin/x]}}`)
	store := keptStates{}
	var told []string
	var episodes []Episode
	take := func(out Result) {
		for _, c := range out.Calls {
			if c.Notify != "" {
				told = append(told, c.Notify+" "+c.Text)
			}
		}
		episodes = append(episodes, out.Episodes...)
		store.commit(p.m)
	}
	acted := 0
	for i := range 600 { // ten minutes
		p.now = p.now.Add(time.Second)
		p.m.Pass(p.now, take)
		out := p.line("lost", 0)
		for _, d := range out.Decisions {
			if d.Outcome == Acted {
				acted++
			}
		}
		take(out)
		if i == 300 {
			p.m = store.restart(t, p.set)
			take(p.m.Tick(p.now))
		}
	}
	if len(told) != 1 || !strings.HasPrefix(told[0], "ops a : the limit of the rule was reached: 3 within 1m0s") || acted != 30 {
		t.Fatalf("acted %d times, told %d times: %.300q", acted, len(told), told)
	}
	p.m = store.restart(t, p.set)
	take(p.m.Tick(p.now))
	p.now = p.now.Add(59 * time.Second)
	p.m.Pass(p.now, take)
	if len(told) != 1 {
		t.Errorf("told before it is over: %q", told)
	}
	p.now = p.now.Add(time.Second)
	p.m.Pass(p.now, take)
	if len(told) != 2 || !strings.Contains(told[1], "570 times") {
		t.Fatalf("at the end told %q", told)
	}
	if len(episodes) != 2 || episodes[0].Over || !episodes[1].Over || episodes[1].Held != 570 || episodes[1].What != "limit of the rule" {
		t.Errorf("episodes %+v", episodes)
	}
	p.now = p.now.Add(time.Hour)
	p.m.Pass(p.now, take)
	for range 4 { // a new one is told anew
		take(p.line("lost", 0))
	}
	if len(told) != 3 {
		t.Errorf("a new episode is told of %d times", len(told)-2)
	}
	for range 6 { // that of all rules
		take(p.line("gone", 0))
	}
	p.now = p.now.Add(time.Hour)
	p.m.Pass(p.now, take)
	if got := strings.Join(told[3:], "|"); len(told) != 6 || !strings.Contains(got, "dev b : the limit of all rules was reached") ||
		!strings.Contains(got, "dev b : the limit of all rules is no longer reached: 2 times") {
		t.Errorf("told %q", told[3:])
	}
}

// A reload that takes the limit away ends its episode, and says nothing more.
func TestALimitThatIsNoMore(t *testing.T) {
	p := newProbe(t, "rules: [{name: a, from: {journal: {unit: a.service}}, match: lost, limit: {max: 1, within: 1m, then: ops}, do: {set: x, value: y}}]")
	p.line("lost", 0)
	if out := p.line("lost", 0); len(out.Calls) != 1 {
		t.Fatalf("got %+v", out)
	}
	next := load(t, "rules: [{name: a, from: {journal: {unit: a.service}}, match: lost, do: {set: x, value: y}}]")
	m, err := p.m.With(next)
	if err != nil {
		t.Fatal(err)
	}
	if out := m.Tick(p.now.Add(time.Hour)); len(out.Calls)+len(out.Episodes) != 0 {
		t.Errorf("got %+v", out)
	}
}
