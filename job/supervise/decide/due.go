package decide

import (
	"container/heap"
	"fmt"
	"time"

	"holdfast/job/supervise/rule"
)

// dueHeap are the keys of which a time will run out, the next one first. Keys of the same moment are in the order of their
// names, so that decisions do not depend on chance.
type dueHeap []*keyState

func (h dueHeap) Len() int { return len(h) }
func (h dueHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	switch {
	case a.due != b.due:
		return a.due < b.due
	case a.rs != b.rs:
		return a.rs.rule.Name < b.rs.rule.Name
	}
	return a.key < b.key
}
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}
func (h *dueHeap) Push(x any) {
	ks := x.(*keyState)
	*h = append(*h, ks)
	ks.index = len(*h)
}
func (h *dueHeap) Pop() any {
	old := *h
	ks := old[len(old)-1]
	old[len(old)-1] = nil
	*h, ks.index = old[:len(old)-1], 0
	return ks
}

// schedule moves a key to the place in the heap that its next time has.
func (m *Machine) schedule(ks *keyState) {
	at, what := m.next(ks)
	switch {
	case what == timeNone && ks.index > 0:
		heap.Remove(&m.heap, ks.index-1)
	case what == timeNone:
	case ks.index == 0:
		ks.due = at
		heap.Push(&m.heap, ks)
	case ks.due != at:
		ks.due = at
		heap.Fix(&m.heap, ks.index-1)
	}
}

// timer is the kind of a time that runs out.
type timer uint8

const (
	timeNone    timer = iota
	timeWithout       // what should have followed has not
	timeHeld          // a condition has held for long enough
	timeSilent        // nothing was seen for too long
	timeTrail         // what a cooldown suppressed is made up for
	timeRung          // the actions did not help in time
)

// next returns when the first of the times of a key runs out, and which it is.
func (m *Machine) next(ks *keyState) (at moment, what timer) {
	sooner := func(t moment, is timer) {
		if what == timeNone || t < at {
			at, what = t, is
		}
	}
	r := ks.rs.rule
	if w := r.When; w != nil {
		if w.Without != nil && ks.armed != nil {
			sooner(max(ks.armed.at+moment(w.Within), m.settled, m.unread), timeWithout)
		}
		// If the source is polled, the next look says whether the condition still holds.
		if ks.holds && !ks.fired && !ks.absent && !ks.unsure && r.From.Every == 0 {
			sooner(ks.since+moment(w.For), timeHeld)
		}
	}
	// What was not seen while nobody watched says nothing, so after a start the whole time has to pass. Without a time the
	// first look that finds nothing is enough.
	if d, ok := noData(r); ok && !ks.silent && (d > 0 || ks.absent) {
		sooner(max(max(ks.last, m.start)+moment(d), m.unread), timeSilent)
	}
	if ks.trailing != nil {
		sooner(ks.cooldown, timeTrail)
	}
	if ks.heal != nil {
		sooner(max(ks.heal.until, m.settled, m.unread), timeRung)
	}
	return at, what
}

// run acts on a time of a key that has run out.
func (m *Machine) run(ks *keyState, what timer, at moment) {
	switch what {
	case timeWithout:
		m.without(ks, at)
	case timeHeld:
		m.held(ks, at)
	case timeSilent:
		m.silent(ks, at)
	case timeTrail:
		m.trail(ks, at)
	case timeRung:
		m.rung(ks, at)
	}
}

// noData returns after how long without data a rule fires; false if it does not.
func noData(r *rule.Rule) (time.Duration, bool) {
	switch {
	case r.Mode == rule.Off:
		return 0, false
	case r.When != nil:
		return r.When.NoData, r.When.NoData > 0
	}
	return r.State.NoData, len(r.OnNoData) > 0
}

// due lets all times run out up to a moment, in their order.
func (m *Machine) due(until moment) {
	for {
		if end, ok, which := m.nextEnd(); ok && end <= until && (len(m.heap) == 0 || end <= m.heap[0].due) {
			m.end(which)
			continue
		}
		if len(m.heap) == 0 || m.heap[0].due > until {
			return
		}
		ks := m.heap[0]
		at, what := m.next(ks)
		if what == timeNone || at > until {
			m.schedule(ks)
			continue
		}
		m.run(ks, what, at)
		m.touch(ks)
	}
}

// nextEnd returns when the next silence or episode ends, and its index: silences come first, then episodes.
func (m *Machine) nextEnd() (at moment, ok bool, which int) {
	for i, s := range m.whole.silences {
		// Lines that were written during the silence while nobody watched are read first.
		if t := max(s.until, m.settled); !ok || t < at {
			at, ok, which = t, true, i
		}
	}
	for i, x := range m.ending {
		if t := max(x.at(), m.settled); !ok || t < at {
			at, ok, which = t, true, len(m.whole.silences)+i
		}
	}
	return at, ok, which
}

func (m *Machine) end(which int) {
	if n := len(m.whole.silences); which >= n {
		m.endEpisode(which - n)
		return
	}
	m.endSilence(which)
}

// again returns the facts of something that was held, as if it were seen now.
func (m *Machine) again(ks *keyState, h *held, at moment) (*rule.Facts, seen) {
	f := *h.facts
	f.Vars, f.Key, f.Rule = m.whole.vars, ks.key, ks.rs.rule.Name
	f.Of(&ks.rs.rule.From, rule.Filter{})
	return &f, seen{at, h.event}
}

// main are the actions of a rule.
func main(r *rule.Rule) rule.List {
	if r.State != nil {
		return rule.List{Name: "on_change", Actions: r.OnChange}
	}
	return rule.List{Name: "do", Actions: r.Do}
}

// without acts on a line that was not followed by what should have followed it.
func (m *Machine) without(ks *keyState, at moment) {
	f, s := m.again(ks, ks.armed, at)
	ks.armed = nil
	m.dueVerdict(ks, ks.rs.main, f, s)
}

// held acts on a condition that has held for long enough.
func (m *Machine) held(ks *keyState, at moment) {
	f, s := m.again(ks, ks.began, at)
	ks.fired, ks.began = true, nil
	m.dueVerdict(ks, ks.rs.main, f, s)
}

// trail makes up for what a cooldown suppressed.
func (m *Machine) trail(ks *keyState, at moment) {
	f, s := m.again(ks, ks.trailing, at)
	ks.trailing = nil
	m.dueVerdict(ks, ks.rs.main, f, s)
}

// silent acts on a key of which nothing was seen for too long.
func (m *Machine) silent(ks *keyState, at moment) {
	ks.silent = true
	f := &rule.Facts{Rule: ks.rs.rule.Name, Key: ks.key, Vars: m.whole.vars}
	f.Of(&ks.rs.rule.From, rule.Filter{})
	list := ks.rs.main
	if ks.rs.rule.State != nil {
		list = rule.List{Name: "on_no_data", Actions: ks.rs.rule.OnNoData}
	}
	m.dueVerdict(ks, list, f, seen{at, fmt.Sprintf("no data since %d", int64(ks.last))})
}

func (m *Machine) dueVerdict(ks *keyState, list rule.List, f *rule.Facts, s seen) {
	if ks.rs.rule.Mode == rule.Off {
		m.decide(ks.rs, f, s, verdict{outcome: Off, due: true})
		return
	}
	m.decide(ks.rs, f, s, m.fire(ks, list, f, s, true))
}

// rung climbs the heal ladder: the actions so far did not help in time.
func (m *Machine) rung(ks *keyState, at moment) {
	h, r := ks.heal, ks.rs.rule
	if r.Mode != rule.Live {
		ks.heal = nil
		return
	}
	if h.rung >= len(r.Heal.Else) {
		ks.heal = nil
		m.out.Healings = append(m.out.Healings, Healing{Rule: r.Name, Key: ks.key, Event: h.event, Rungs: h.rung})
		if r.Heal.Then != "" {
			m.notify(r.Heal.Then, fmt.Sprintf("%s %s: what was done has not helped within %v", r.Name, ks.key, r.Heal.Within),
				r.Name, ks.key, h.event, "not healed")
		}
		return
	}
	h.rung++
	h.until = max(at, m.clock.at) + moment(r.Heal.Within)
	f, s := m.again(ks, &h.held, at)
	v := verdict{due: true, rung: h.rung, caused: h.cause}
	list := rule.List{Name: fmt.Sprintf("else[%d]", h.rung-1), Actions: r.Heal.Else[h.rung-1]}
	if !m.silenced(ks, s, &v) && !m.limited(ks, f, s, &v, list) {
		if m.act(ks, list, f, s, &v); v.outcome != Refused {
			m.cool(ks)
		}
	}
	m.decide(ks.rs, f, s, v)
}

// healed takes a line or a value that shows that actions have helped: those of its key, or those of all keys if it lacks the
// fields that make up a key.
func (m *Machine) healed(rs *ruleState, f *rule.Facts, s seen) {
	key, known := f.LabelKey(), false
	if len(rs.rule.Key) > 0 {
		key = f.KeyOf(rs.rule.Key)
	}
	for _, name := range rs.rule.Key {
		_, is := f.Lookup(name)
		known = known || is
	}
	if ks := rs.keys[key]; ks != nil {
		m.heals(ks, s)
		return
	}
	if known {
		return
	}
	for _, ks := range rs.sorted() {
		m.heals(ks, s)
	}
}

func (m *Machine) heals(ks *keyState, s seen) {
	if ks.heal == nil || s.at < ks.heal.at {
		return
	}
	m.out.Healings = append(m.out.Healings, Healing{Rule: ks.rs.rule.Name, Key: ks.key, Event: ks.heal.event, Healed: true,
		Rungs: ks.heal.rung})
	ks.heal = nil
	m.touch(ks)
}

// await begins the wait of a rule that has to notice that nothing was ever seen.
func (m *Machine) await(rs *ruleState) {
	if _, ok := noData(rs.rule); !ok || len(rs.rule.Key) > 0 && !rs.rule.From.Looks() || len(rs.keys) > 0 {
		return
	}
	ks, err := m.key(rs, "")
	if err == nil {
		ks.placeholder = true
		m.touch(ks)
	}
}

// awaited ends that wait: something has come, under a key of its own.
func (m *Machine) awaited(rs *ruleState) {
	if ks := rs.keys[""]; ks != nil && ks.placeholder {
		m.drop(ks)
	}
}
