package decide

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/connector"
)

// across is a machine that is another process after each thing that it sees: what it needs is what the store has.
type across struct {
	*probe
	t     *testing.T
	store keptStates
	all   []string // the actions
	ends  []Healing
}

func newAcross(t *testing.T, text string) *across {
	return &across{probe: newProbe(t, text), t: t, store: keptStates{}}
}

func (a *across) take(out Result) {
	for _, c := range out.Calls {
		a.all = append(a.all, c.Words())
	}
	a.ends = append(a.ends, out.Healings...)
	a.store.commit(a.m)
}

// sees has time go by, and then sees a line of a source, which may be old, as another process than the one before.
func (a *across) sees(source int, text string, after, age time.Duration) {
	a.t.Helper()
	a.m = a.store.restart(a.t, a.set)
	a.take(a.m.Tick(a.now))
	a.now = a.now.Add(after)
	a.m.Pass(a.now, a.take)
	if text == "" {
		return
	}
	a.n++
	e := &connector.Event{Kind: connector.EventLine, ID: strconv.Itoa(a.n), Time: a.now.Add(-age), Line: []byte(text)}
	a.take(a.m.Step(a.set.Sources[source].ID, e, a.now))
}

func (a *across) did(want ...string) {
	a.t.Helper()
	if got := strings.Join(a.all, "; "); got != strings.Join(want, "; ") {
		a.t.Errorf("done: %s\nwant: %s", got, strings.Join(want, "; "))
	}
}

const sequences = `
rules:
  - {name: then, from: {journal: {unit: a.service}}, match: 'a(?P<k>\w)', key: [k], when: {then: {match: 'b(?P<k>\w)'}, within: 10m}, do: {run: [/then, "{{k}}"]}}
  - {name: without, from: {journal: {unit: a.service}}, match: 'c(?P<k>\w)', key: [k], when: {without: {match: 'd(?P<k>\w)'}, within: 10m}, do: {run: [/without, "{{k}}"]}}
  - {name: heal, from: {journal: {unit: a.service}}, match: 'ill', do: {run: [/first]}, heal: {expect: well, within: 10m, else: [{run: [/second]}, {run: [/third]}], then: ops}}
  - {name: trail, from: {journal: {unit: a.service}}, match: 't(?P<n>\d)', cooldown: {for: 10m, trailing: true}, do: {run: [/trail, "{{n}}"]}}
`

// A then B, A and not B, rungs of a heal and what is made up for behind a cooldown go on over a restart between any two steps.
func TestSequencesAcrossRestarts(t *testing.T) {
	a := newAcross(t, sequences)
	a.sees(0, "ax", 0, 0)
	a.sees(0, "bx", 9*time.Minute, 0)
	a.did("/then x")
	a.sees(0, "ax", 0, 0)
	a.sees(0, "bx", 11*time.Minute, 0)
	a.did("/then x")
	a.sees(0, "bx", time.Hour, 65*time.Minute) // it was written in time, while nobody watched
	a.did("/then x", "/then x")

	a = newAcross(t, sequences)
	a.sees(0, "cx", 0, 0)
	a.sees(0, "cy", time.Minute, 0)
	a.sees(0, "dx", time.Minute, 0)
	a.sees(0, "", time.Hour, 0)
	a.did("/without y")

	a = newAcross(t, sequences)
	a.sees(0, "ill", 0, 0)
	a.did("/first")
	a.sees(0, "", 9*time.Minute, 0)
	a.sees(0, "", 2*time.Minute, 0)
	a.did("/first", "/second")
	a.sees(0, "", 8*time.Minute, 0)
	a.did("/first", "/second")
	a.sees(0, "", 2*time.Minute, 0)
	a.did("/first", "/second", "/third")
	a.sees(0, "well", time.Minute, 0)
	a.sees(0, "", time.Hour, 0)
	a.did("/first", "/second", "/third")
	if len(a.ends) != 1 || !a.ends[0].Healed || a.ends[0].Rungs != 2 {
		t.Errorf("healed: %+v", a.ends)
	}

	a = newAcross(t, sequences)
	a.sees(0, "t1", 0, 0)
	a.sees(0, "t2", time.Minute, 0)
	a.sees(0, "t3", time.Minute, 0)
	a.sees(0, "", 7*time.Minute, 0)
	a.did("/trail 1")
	a.sees(0, "", 2*time.Minute, 0)
	a.did("/trail 1", "/trail 3")
	a.sees(0, "t4", time.Minute, 0)
	a.did("/trail 1", "/trail 3")
	a.sees(0, "", time.Hour, 0)
	a.did("/trail 1", "/trail 3", "/trail 4")
}

// Two sources are read each by itself, so that behind a start what follows may be told before what it follows: it counts as
// if they had been told in their order.
func TestSourcesThatAreReadOutOfOrder(t *testing.T) {
	text := `
rules:
  - {name: without, from: {journal: {unit: a.service}}, match: 'c(?P<k>\w)', key: [k],
     when: {without: {from: {file: /var/log/x}, match: 'd(?P<k>\w)'}, within: 10m}, do: {run: [/without, "{{k}}"]}}
  - {name: then, from: {journal: {unit: a.service}}, match: 'c(?P<k>\w)', key: [k],
     when: {then: {from: {file: /var/log/x}, match: 'd(?P<k>\w) (?P<how>\w+)'}, within: 10m}, do: {run: [/then, "{{k}}", "{{how}}"]}}`
	a := newAcross(t, text)
	a.sees(0, "nothing", 0, 0)
	a.m, a.now = a.store.restart(t, a.set), a.now.Add(time.Hour)
	a.take(a.m.Tick(a.now))
	told := func(source int, text string, age time.Duration) {
		a.n++
		e := &connector.Event{Kind: connector.EventLine, ID: strconv.Itoa(a.n), Time: a.now.Add(-age), Line: []byte(text)}
		a.take(a.m.Step(a.set.Sources[source].ID, e, a.now))
	}
	told(1, "dx well", 49*time.Minute)
	told(1, "dy well", 51*time.Minute)
	told(1, "dz well", 30*time.Minute)
	told(0, "cx", 50*time.Minute) // followed
	told(0, "cy", 50*time.Minute) // what was before does not follow
	told(0, "cz", 50*time.Minute) // too late
	a.did("/then x well")
	a.m.Pass(a.now.Add(time.Hour), a.take)
	a.did("/then x well", "/without y", "/without z")
}
