package decide

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/connector"
)

// crowd is a rule for which a number in a line is its key.
type crowd struct {
	*probe
	full []string
}

func newCrowd(t *testing.T, more string) *crowd {
	return &crowd{probe: newProbe(t, `
limit: {max: 1000000, within: 1h}
rules:
  - {name: a, from: {journal: {unit: a.service}}, match: '(?P<k>\d+)', key: [k], do: {set: x, value: y}, `+more+`}`)}
}

func (c *crowd) step(i int) Decision {
	e := &connector.Event{Kind: connector.EventLine, ID: strconv.Itoa(i), Time: c.now, Line: []byte(strconv.Itoa(i))}
	out := c.m.Step(c.set.Sources[0].ID, e, c.now)
	c.full = append(c.full, out.Full...)
	return out.Decisions[len(out.Decisions)-1]
}

// More keys than a rule remembers blind it for none: the one that was not seen for longest makes room. It is counted, and
// said once.
func TestTheOldestKeyMakesRoom(t *testing.T) {
	c := newCrowd(t, "when: {count: 2, within: 1h}")
	for i := range maxKeys {
		c.step(i)
	}
	if d := c.step(0); d.Outcome != Acted { // its window is empty now, and it is the newest
		t.Fatalf("%+v", d)
	}
	c.step(0)
	const more = 500
	for i := range more {
		if d := c.step(maxKeys + i); d.Outcome != Unmet {
			t.Fatalf("a new key: %v %v", d.Outcome, d.Reason)
		}
	}
	if d := c.step(0); d.Outcome != Acted {
		t.Errorf("a key that was seen lately: %v %v", d.Outcome, d.Reason)
	}
	if d := c.step(maxKeys - 1); d.Outcome != Acted {
		t.Errorf("a key that is not among the oldest: %v %v", d.Outcome, d.Reason)
	}
	if d := c.step(1); d.Outcome != Unmet {
		t.Errorf("the oldest: %v %v", d.Outcome, d.Reason)
	}
	if n, _ := c.m.Counts("a"); n.Forgotten != more+1 || len(c.m.rules["a"].keys) != maxKeys {
		t.Errorf("%d forgotten, want %d; %d keys", n.Forgotten, more+1, len(c.m.rules["a"].keys))
	}
	if strings.Join(c.full, " ") != "a" {
		t.Errorf("said of %q, want once", c.full)
	}
	agree(t, c.m)
}

// The order in which keys were seen, and that something was said, are known behind a restart.
func TestTheOldestKeyBehindARestart(t *testing.T) {
	c := newCrowd(t, "when: {count: 2, within: 10h}")
	for i := range maxKeys + 1 {
		c.now = c.now.Add(time.Second)
		c.step(i)
	}
	store := keptStates{}
	store.commit(c.m)
	c.m = store.restart(t, c.set)
	c.step(maxKeys + 1)
	for key, want := range map[string]bool{"0": false, "1": false, "2": true, fmt.Sprint(maxKeys): true} {
		if got := c.m.rules["a"].keys[key] != nil; got != want {
			t.Errorf("key %s is there: %v, want %v", key, got, want)
		}
	}
	if strings.Join(c.full, " ") != "a" {
		t.Errorf("said of %q, want once", c.full)
	}
}

// A key of which nothing matters any more makes room first, and nothing is lost with it.
func TestAnIdleKeyMakesRoom(t *testing.T) {
	c := newCrowd(t, "cooldown: 1m")
	for i := range maxKeys {
		c.step(i)
	}
	c.now = c.now.Add(2 * time.Minute)
	for i := range 100 {
		if d := c.step(maxKeys + i); d.Outcome != Acted {
			t.Fatalf("%+v", d)
		}
	}
	if n, _ := c.m.Counts("a"); n.Forgotten != 0 || len(c.full) > 0 {
		t.Errorf("%d forgotten, said of %q", n.Forgotten, c.full)
	}
	gone := 0
	for entry, value := range c.m.Changes() {
		if value == nil && strings.HasPrefix(entry, "k") {
			gone++
		}
	}
	if gone != 100 {
		t.Errorf("%d entries are gone, want 100", gone)
	}
}

// What is waited for is not forgotten, for that would be to miss it: then a new key is refused, which is counted, and said once.
func TestAKeyThatIsWaitedForMakesNoRoom(t *testing.T) {
	c := newCrowd(t, "when: {without: {match: 'never'}, within: 1m}")
	for i := range maxKeys + 10 {
		d := c.step(i)
		if want := map[bool]Outcome{true: Unmet, false: Limit}[i < maxKeys]; d.Outcome != want {
			t.Fatalf("key %d: %v %v, want %v", i, d.Outcome, d.Reason, want)
		}
	}
	if len(c.full) != 1 {
		t.Errorf("said of %q, want once", c.full)
	}
	acted := 0
	for _, d := range c.m.Tick(c.now.Add(time.Minute)).Decisions {
		if d.Outcome == Acted {
			acted++
		}
	}
	if acted != maxKeys {
		t.Errorf("acted for %d keys, want %d", acted, maxKeys)
	}
}

// A wait for what follows that has not come in time does not hold a key for ever.
func TestAWaitThatIsOverMakesRoom(t *testing.T) {
	c := newCrowd(t, "when: {then: {match: 'end (?P<k>\\d+)'}, within: 1m}")
	for i := range maxKeys {
		c.step(i)
	}
	c.now = c.now.Add(2 * time.Minute)
	if d := c.step(maxKeys); d.Outcome != Unmet {
		t.Errorf("%v %v", d.Outcome, d.Reason)
	}
}

// Series of one look do not push each other out, for each would be new again with the next one.
func TestSeriesOfALookMakeNoRoomForEachOther(t *testing.T) {
	set := load(t, "rules: [{name: a, from: {prometheus: {query: q}}, when: {change: true, initial: true}, do: {set: x, value: y}}]")
	m, e := New(set), &connector.Event{Kind: connector.EventLook, ID: "1", Time: begin}
	for i := range maxKeys + 10 {
		e.Samples = append(e.Samples, connector.Sample{Labels: map[string]string{"s": strconv.Itoa(i)}})
	}
	for look, want := range []int{maxKeys, 0} {
		n := 0
		for _, d := range m.Step(set.Sources[0].ID, e, begin.Add(time.Duration(look)*time.Second)).Decisions {
			if d.Outcome == Acted {
				n++
			}
		}
		if n != want {
			t.Errorf("look %d: acted %d times, want %d", look, n, want)
		}
	}
}
