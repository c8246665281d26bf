package decide

import (
	"fmt"
	"reflect"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/connector"
	"holdfast/job/supervise/rule"
)

// kept is a store: what Changes gave so far.
type keptStates map[string][]byte

func (k keptStates) commit(m *Machine) {
	for entry, value := range m.Changes() {
		if value == nil {
			delete(k, entry)
		} else {
			k[entry] = value
		}
	}
}

// restart is what another process makes of a store.
func (k keptStates) restart(t interface{ Fatal(...any) }, set *rule.Set) *Machine {
	m := New(set)
	for entry, value := range k {
		if err := m.Load(entry, value); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// flood is a rule whose condition is a count, with everything that may speak against acting.
type flood struct {
	count                    int
	within, cooldown, maxAge time.Duration
	trailing                 bool
	limit                    int // within an hour; 0 is none
	mode                     rule.Mode
}

func (f flood) set(t *rapid.T) *rule.Set {
	text := fmt.Sprintf(`
rules:
  - {name: r, from: {journal: {unit: a.service}}, match: '^hit (?P<k>\w)', key: [k], when: {count: %d, within: %v}, mode: '%s',
     stale_after: %v, cooldown: {for: %v, trailing: %v}, do: {notify: ops, text: "{{k}}"}`,
		f.count, f.within, f.mode, f.maxAge, f.cooldown, f.trailing)
	if f.limit > 0 {
		text += fmt.Sprintf(", limit: {max: %d, within: 1h}", f.limit)
	}
	return parse(t, text+"}")
}

func parse(t *rapid.T, text string) *rule.Set {
	set, err := rule.Load("r", []byte(text), kinds, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// said is a decision, as the model and the machine both give it.
type said struct {
	key, event string
	outcome    Outcome
	due        bool
}

// model is the slow and obvious way: it keeps all that ever happened, and looks through it each time.
type model struct {
	f        flood
	now      time.Duration // as it went forward
	counted  map[string][]time.Duration
	queued   map[string][]time.Duration // when the rule did something for a key
	all      []time.Duration
	silences []*modelSilence
	settled  time.Duration // what was written before is read
	trailing map[string]string
	said     []said
}

// modelSilence is a silence, and until when what happened under it is still silent when it is read: after a start that is
// not all read at once.
type modelSilence struct{ end, known time.Duration }

// restart is what a restart means to silences.
func (m *model) restart() {
	m.settled = m.now + settling
	for _, s := range m.silences {
		if s.known > m.now {
			s.known = max(s.known, m.settled)
		}
	}
}

// advance lets time go by, and makes up for what was suppressed.
func (m *model) advance(d time.Duration) {
	end := m.now + max(0, d)
	for {
		first := ""
		for key := range m.trailing {
			if first == "" || m.cool(key) < m.cool(first) || m.cool(key) == m.cool(first) && key < first {
				first = key
			}
		}
		if first == "" || m.cool(first) > end {
			break
		}
		m.now = max(m.now, m.cool(first))
		event := m.trailing[first]
		delete(m.trailing, first)
		m.fire(first, event, m.now, true)
	}
	m.now = end
}

// cool is until when a key is cooled down.
func (m *model) cool(key string) (until time.Duration) {
	for _, at := range m.queued[key] {
		until = max(until, at+m.f.cooldown)
	}
	return until
}

func (m *model) hit(key, event string, age time.Duration) {
	if m.f.mode == rule.Off {
		m.said = append(m.said, said{key, event, Off, false})
		return
	}
	at := m.now - age
	if m.f.count > 1 {
		// The order is that of arrival: what came later did not happen earlier.
		if all := m.counted[key]; len(all) > 0 {
			at = max(at, all[len(all)-1])
		}
		m.counted[key] = append(m.counted[key], at)
		n := 0
		for _, t := range m.counted[key] {
			if t > at-m.f.within {
				n++
			}
		}
		if n < m.f.count {
			m.said = append(m.said, said{key, event, Unmet, false})
			return
		}
		m.counted[key] = nil
	}
	m.fire(key, event, m.now-age, false)
}

func (m *model) fire(key, event string, at time.Duration, due bool) {
	o := Acted
	recent := 0
	for _, t := range m.all {
		if t > m.now-time.Hour {
			recent++
		}
	}
	silent := false
	for _, s := range m.silences {
		silent = silent || at < s.end && m.now < s.known
	}
	switch {
	case m.f.maxAge > 0 && m.now-at > m.f.maxAge:
		o = Stale
	case silent:
		o = Silence
	case m.cool(key) > m.now:
		o = Cooldown
		if m.f.trailing {
			m.trailing[key] = event
		}
	case m.f.limit > 0 && recent >= m.f.limit:
		o = Limit
	default:
		if m.f.mode == rule.Shadow {
			o = Shadow
		}
		delete(m.trailing, key)
		if m.f.cooldown > 0 {
			m.queued[key] = append(m.queued[key], m.now)
		}
		m.all = append(m.all, m.now)
	}
	m.said = append(m.said, said{key, event, o, due})
}

var seconds = func(from, to int) *rapid.Generator[time.Duration] {
	return rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.IntRange(from, to).Draw(t, "s")) * time.Second
	})
}

// Each matching line is exactly one of what can become of it, as the model says, whatever the clocks do and however often the
// process ends; and no action is decided twice.
func TestFloodControlIsThatOfTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := flood{count: rapid.IntRange(1, 3).Draw(t, "count"), within: seconds(1, 60).Draw(t, "within"),
			cooldown: seconds(0, 60).Draw(t, "cooldown"), maxAge: seconds(0, 40).Draw(t, "stale"), limit: rapid.IntRange(0, 4).Draw(t, "limit"),
			mode: rapid.SampledFrom([]rule.Mode{rule.Live, rule.Live, rule.Live, rule.Shadow, rule.Off}).Draw(t, "mode")}
		f.trailing = f.cooldown > 0 && rapid.Bool().Draw(t, "trailing")
		set := f.set(t)
		store, m, now := keptStates{}, New(set), begin
		want := &model{f: f, counted: map[string][]time.Duration{}, queued: map[string][]time.Duration{}, trailing: map[string]string{}}
		var got []said
		ids := map[string]bool{}
		take := func(out Result) {
			for _, d := range out.Decisions {
				got = append(got, said{d.Key, d.Event, d.Outcome, d.Due})
				for _, c := range d.Calls {
					if ids[c.ID] {
						t.Fatalf("%s is decided twice", c.ID)
					}
					ids[c.ID] = true
				}
			}
			store.commit(m)
		}
		take(m.Tick(now))
		pass := func(d time.Duration) {
			end := now.Add(d)
			for wait, ok := m.Next(); ok && !now.Add(wait).After(end); wait, ok = m.Next() {
				now = now.Add(wait)
				take(m.Tick(now))
			}
			now = end
			take(m.Tick(now))
			want.advance(d)
		}
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				m = store.restart(t, set)
				take(m.Tick(now))
				want.restart()
			case 1:
				pass(-seconds(1, 7200).Draw(t, "back"))
			case 2:
				d := seconds(1, 60).Draw(t, "silence")
				if _, err := m.Silence(SilenceOf{Until: now.Add(d)}, now); err != nil {
					t.Fatal(err)
				}
				want.silences = append(want.silences, &modelSilence{want.now + d, max(want.now+d, want.settled)})
				store.commit(m)
			case 3:
				pass(seconds(0, 2000).Draw(t, "long"))
			default:
				pass(seconds(0, 20).Draw(t, "pass"))
				key, age := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key"), max(0, seconds(-60, 60).Draw(t, "age"))
				e := &connector.Event{Kind: connector.EventLine, ID: strconv.Itoa(i), Time: now.Add(-age), Line: []byte("hit " + key)}
				take(m.Step(set.Sources[0].ID, e, now))
				want.hit(key, e.ID, age)
				e.Line = []byte("miss " + key)
				take(m.Step(set.Sources[0].ID, e, now))
			}
			if !reflect.DeepEqual(got, want.said) {
				t.Fatalf("%+v\n got %v\nwant %v", f, got, want.said)
			}
		}
		agree(t, m)
	})
}

// agree checks the law of the counts.
func agree(t interface{ Fatalf(string, ...any) }, m *Machine) {
	for _, r := range m.set.Rules {
		c, _ := m.Counts(r.Name)
		sum := uint64(0)
		for _, n := range c.Outcomes {
			sum += n
		}
		if sum != c.Matched+c.Due {
			t.Fatalf("%s: matched %d and due %d are not the sum of outcomes %v", r.Name, c.Matched, c.Due, c.Outcomes)
		}
	}
}

// A state calls when it becomes another than it was last known to be, and at no other time: not for no data, not for failed
// looks, not for restarts.
func TestStatesCallWhenTheyChange(t *testing.T) {
	set := load(t, `
rules:
  - {name: r, from: {prometheus: {query: q}}, state: {on: value == 1, off: value == 0},
     on_change: {set: x, value: "{{state.on}}", initial: true}}`)
	rapid.Check(t, func(t *rapid.T) {
		store, m, now := keptStates{}, New(set), begin
		want, got := []string(nil), []string(nil)
		last := map[string]string{}
		for i, v := range rapid.SliceOfN(rapid.SampledFrom([]string{"0", "1", "1", "2", "absent", "failed", "stale", "restart"}), 1, 40).Draw(t, "values") {
			now = now.Add(seconds(-5, 20).Draw(t, "pass"))
			series := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "series")
			e := &connector.Event{Kind: connector.EventLook, ID: strconv.Itoa(i), Time: now}
			switch n, err := strconv.Atoi(v); {
			case v == "restart":
				m = store.restart(t, set)
				continue
			case v == "failed":
				e.Failed = "down"
			case v == "stale" || err == nil:
				e.Samples = []connector.Sample{{Labels: map[string]string{"s": series}, Value: float64(n), Stale: err != nil}}
			}
			if word := map[string]string{"0": "false", "1": "true"}[v]; word != "" && last[series] != word {
				last[series] = word
				want = append(want, "s="+series+" "+word)
			}
			for _, d := range m.Step(set.Sources[0].ID, e, now).Decisions {
				if d.Outcome == Acted {
					got = append(got, d.Key+" "+d.Calls[0].Value)
				}
			}
			store.commit(m)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		agree(t, m)
	})
}

// everything has a rule of each form.
const everything = `
limit: {max: 20, within: 5m, then: ops}
loop: {max: 3, within: 5m}
rules:
  - {name: count, from: {journal: {unit: a.service}}, match: 'a(?P<k>\w)', key: [k], when: {count: 2, within: 30s}, cooldown: {for: 20s, trailing: true},
     limit: {max: 3, within: 2m, then: ops}, do: [{systemctl: restart, unit: a.service}, {set: n, value: "{{k}}"}],
     heal: {expect: 'h(?P<k>\w)', within: 15s, else: [[{systemctl: start, unit: a.service}]], then: ops}}
  - {name: then, from: {journal: {unit: a.service}}, match: 'a(?P<k>\w)', key: [k], when: {then: {match: 'b(?P<k>\w)'}, within: 30s}, do: {run: [/bin/x, "{{k}}"]}}
  - {name: without, from: {journal: {unit: a.service}}, match: 'a(?P<k>\w)', key: [k], when: {without: {match: 'b(?P<k>\w)'}, within: 30s}, do: {notify: ops}}
  - {name: quiet, from: {journal: {unit: a.service}}, match: 'b', when: {no_data: 40s}, do: {notify: ops}}
  - {name: above, from: {unit: u}, when: {above: 5, until: 3, for: 10s}, do: {notify: ops}}
  - {name: state, from: {unit: u}, state: {on: value == 1, off: value == 0, no_data: 15s}, on_change: {notify: ops, initial: true}, on_no_data: {notify: ops}}
  - {name: change, from: {unit: u}, with: {w: {prometheus: {query: w}}}, when: {change: true}, where: 'w > 2 || value > 5', do: {notify: ops}}
  - {name: shadow, from: {unit: u}, where: 'vars.n == "x"', when: {count: 2, within: 1m}, mode: shadow, do: {notify: ops}}
`

// A machine whose state is written down and read again at any step goes on as if it had not been.
func TestAStateThatWasKeptGoesOnEqually(t *testing.T) {
	set := load(t, everything)
	rapid.Check(t, func(t *rapid.T) {
		one, two, now := New(set), New(set), begin
		store := keptStates{}
		for i := range rapid.IntRange(1, 80).Draw(t, "steps") {
			now = now.Add(seconds(-3, 15).Draw(t, "pass"))
			var a, b Result
			if e, source := anything(t, i, now, set); e != nil {
				a, b = one.Step(source, e, now), two.Step(source, e, now)
			} else {
				a, b = one.Tick(now), two.Tick(now)
			}
			if !reflect.DeepEqual(a, b) {
				t.Fatalf("step %d:\n got %+v\nwant %+v", i, b, a)
			}
			store.commit(two)
			if rapid.Bool().Draw(t, "restart") {
				read := store.restart(t, set)
				next, err := two.With(set)
				if err != nil {
					t.Fatal(err)
				}
				same(t, read, next)
				two = next
			}
		}
		agree(t, one)
	})
}

// same checks that what a store has is what the machine has, as far as it matters.
func same(t *rapid.T, a, b *Machine) {
	for name, rs := range a.rules {
		other := b.rules[name]
		if string(rs.encode()) != string(other.encode()) || len(rs.keys) != len(other.keys) {
			t.Fatalf("%s: the store has %+v, the machine %+v", name, rs, other)
		}
		for key, ks := range rs.keys {
			x, y := *ks, *other.keys[key]
			x.last, y.last = 0, 0 // when it was seen is not written each time
			if string(x.encode()) != string(y.encode()) {
				t.Fatalf("%s %s: the store has %+v, the machine %+v", name, key, x, y)
			}
		}
	}
	if string(a.whole.encode()) != string(b.whole.encode()) || string(a.clock.encode()) != string(b.clock.encode()) {
		t.Fatalf("the store has %+v, the machine %+v", a.whole, b.whole)
	}
}

// anything is an event of any kind for the rules of everything; nil for none.
func anything(t *rapid.T, i int, now time.Time, set *rule.Set) (*connector.Event, string) {
	e := &connector.Event{ID: strconv.Itoa(i), Time: now.Add(-max(0, seconds(-20, 20).Draw(t, "age")))}
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		return nil, ""
	case 1:
		e.Kind = connector.EventLook
		e.Samples = []connector.Sample{{Value: float64(rapid.IntRange(0, 6).Draw(t, "w"))}}
		return e, set.Rule("change").With["w"].ID
	case 2, 3:
		e.Kind = connector.EventLook
		for _, s := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"x", "y"}), 0, 2, rapid.ID[string]).Draw(t, "series") {
			e.Samples = append(e.Samples, connector.Sample{Labels: map[string]string{"s": s}, Value: float64(rapid.IntRange(0, 6).Draw(t, "v"))})
		}
		return e, set.Rule("above").From.ID
	}
	e.Kind = connector.EventLine
	e.Line = []byte(rapid.StringMatching(`[abh][xy]( b[xy])?`).Draw(t, "line"))
	e.Fields = map[string]string{"_SYSTEMD_UNIT": "a.service"}
	return e, set.Rule("count").From.ID
}

func FuzzState(f *testing.F) {
	set := load(f, everything)
	m := New(set)
	for i, line := range []string{"ax", "ax", "ay", "bx", "ax"} {
		now := begin.Add(time.Duration(i) * time.Second)
		m.Step(set.Rules[0].From.ID, &connector.Event{Kind: connector.EventLine, ID: "1", Time: now, Line: []byte(line)}, now)
	}
	for entry, value := range m.Changes() {
		f.Add(entry, value)
	}
	f.Fuzz(func(t *testing.T, entry string, value []byte) {
		m := New(set)
		if m.Load(entry, value) != nil {
			return
		}
		now := begin
		for range 3 {
			now = now.Add(time.Hour)
			m.Step(set.Rules[0].From.ID, &connector.Event{Kind: connector.EventLine, ID: "1", Time: now, Line: []byte("ax bx hx")}, now)
			m.Step(set.Rule("above").From.ID, &connector.Event{Kind: connector.EventLook, Samples: []connector.Sample{{Value: 6}}}, now)
		}
		for range m.Changes() {
		}
	})
}
