package decide

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/connector"
	"holdfast/job/supervise/rule"
)

// prober is a rule about the value q of an own job.
const quietValue = `
rules:
  - {name: gone, from: {prometheus: {query: q}, every: 10s}, when: {no_data: 5m}, do: {notify: ops, text: "{{key}}"}}`

// valueOfQ is one look at which the series of q have a value; without any there is none.
func valueOfQ(set *rule.Set, at time.Time, series ...string) (string, *connector.Event) {
	e := &connector.Event{Kind: connector.EventLook, ID: strconv.FormatInt(at.Unix(), 10), Time: at}
	for _, s := range series {
		e.Samples = append(e.Samples, connector.Sample{Labels: map[string]string{"s": s}, Value: 1})
	}
	return set.Sources[0].ID, e
}

// Data that came just before the end, and comes again soon after the start, was never missing: whatever was not seen while nobody
// watched, the whole time has to go by after a start.
func TestNoDataCountsFromTheStart(t *testing.T) {
	set := load(t, quietValue)
	store, m, now := keptStates{}, New(set), begin
	for range 360 { // an hour
		now = now.Add(10 * time.Second)
		source, e := valueOfQ(set, now, "a", "b")
		if got := acted(m.Step(source, e, now)); got != "" {
			t.Fatalf("%s acted, and there was data", got)
		}
		store.commit(m)
	}
	last := now
	m, now = store.restart(t, set), now.Add(20*time.Second)
	if s := m.shown("gone", ""); len(s) == 0 || last.Sub(s[0].Seen) > time.Minute {
		t.Errorf("it was seen at %v last, and the state has %+v", last, s)
	}
	started := now
	for ; now.Before(started.Add(5 * time.Minute)); now = now.Add(10 * time.Second) {
		source, e := valueOfQ(set, now, "a") // b has gone meanwhile
		if got := acted(m.Tick(now)) + acted(m.Step(source, e, now)); got != "" {
			t.Fatalf("%s acted %v after the start", got, now.Sub(started))
		}
		store.commit(m)
	}
	out := m.Tick(started.Add(5 * time.Minute))
	if got := acted(out); got != "gone" || out.Decisions[0].Key != "s=b" {
		t.Errorf("after the whole time acted %q: %+v", got, out.Decisions)
	}
	// That it was told is kept too, and that the series is away.
	store.commit(m)
	now = started.Add(6 * time.Minute)
	m = store.restart(t, set)
	m.Tick(now)
	if s := m.shown("gone", "s=a"); len(s) != 1 || s[0].Now != "no data" {
		t.Errorf("b is %+v", s)
	}
	for range 100 {
		now = now.Add(10 * time.Second)
		source, e := valueOfQ(set, now, "a")
		if got := acted(m.Step(source, e, now)); got != "" {
			t.Fatalf("%s acted again", got)
		}
	}
}

// A state without a time for no data is without data at the first look that finds none, and not at once behind each value.
func TestNoDataAtOnce(t *testing.T) {
	set := load(t, `
rules:
  - {name: r, from: {prometheus: {query: q}}, state: {on: value == 1, off: value == 0}, on_change: {set: x, value: "{{state}}"}, on_no_data: {notify: ops}}`)
	m, now := New(set), begin
	var told []string
	look := func(series ...string) {
		now = now.Add(10 * time.Second)
		source, e := valueOfQ(set, now, series...)
		for _, c := range m.Step(source, e, now).Calls {
			told = append(told, c.Text)
		}
	}
	look("a")
	look("a")
	if len(told) > 0 {
		t.Errorf("with data told %q", told)
	}
	look()
	look()
	look("a")
	look("a")
	look()
	if got := strings.Join(told, "; "); got != "r s=a: no data; r s=a: no data" {
		t.Errorf("told %q, want it twice", got)
	}
}
