package decide

import (
	"fmt"
	"math"
	"slices"

	"holdfast/connector"
	"holdfast/job/supervise/rule"
)

// look gives the values of one look to all rules that want them.
func (m *Machine) look(sub *subscription, e *connector.Event, at moment) {
	m.due(at - 1)
	s := seen{at, e.ID}
	if s.event == "" {
		s.event = fmt.Sprint(int64(at))
	}
	m.looks++
	for i := range sub.uses {
		u := &sub.uses[i]
		switch u.role {
		case roleWith:
			m.further(sub.id, e)
		case roleMain:
			m.values(u, e, s)
		default:
			m.others(u, e, s)
		}
	}
}

// further keeps the value of a source that expressions ask for by name: that of its only series.
func (m *Machine) further(source string, e *connector.Event) {
	if e.Failed != "" || len(e.Samples) != 1 || e.Samples[0].Stale || math.IsNaN(e.Samples[0].Value) {
		delete(m.whole.with, source)
		return
	}
	m.whole.with[source] = e.Samples[0].Value
}

// others checks whether a value is what some key has waited for.
func (m *Machine) others(u *use, e *connector.Event, s seen) {
	if e.Failed != "" {
		return
	}
	for i := range e.Samples {
		f := m.sampleFacts(u, &e.Samples[i])
		if ok, err := holds(u, f); !ok || err != nil || e.Samples[i].Stale {
			continue
		}
		if u.role == roleHeal {
			m.healed(u.rs, f, s)
		} else {
			m.followed(u.rs, f, s)
		}
	}
}

func (m *Machine) sampleFacts(u *use, x *connector.Sample) *rule.Facts {
	f, v := m.newFacts(), x.Value
	f.Rule, f.Text, f.Labels, f.Fields, f.Vars, f.With = u.rs.rule.Name, x.Text, x.Labels, x.Fields, m.whole.vars, m.with(u.rs.rule)
	f.Value = &v
	f.Of(u.from, rule.Filter{})
	return f
}

// values gives the values of one look to a rule that is about them. Of a series that is not there nothing is known; that is
// not a value.
func (m *Machine) values(u *use, e *connector.Event, s seen) {
	rs := u.rs
	if e.Failed == "" {
		for i := range e.Samples {
			if !e.Samples[i].Stale {
				m.value(u, m.sampleFacts(u, &e.Samples[i]), s)
			}
		}
	}
	for _, ks := range rs.keys {
		if ks.looked != m.looks && !ks.absent {
			ks.absent = true
			m.touch(ks)
		}
	}
}

// value takes one value that a rule may be about.
func (m *Machine) value(u *use, f *rule.Facts, s seen) {
	rs, r := u.rs, u.rs.rule
	f.Key = f.LabelKey()
	if len(r.Key) > 0 {
		f.Key = f.KeyOf(r.Key)
	}
	isCondition := r.When != nil && r.When.For > 0 && r.When.Above == nil && r.When.Below == nil && r.When.State == nil
	ok, err := holds(u, f)
	switch {
	case err == nil && !ok && !isCondition:
		return
	case r.Mode == rule.Off:
		m.decide(rs, f, s, verdict{outcome: Off})
		return
	}
	ks, keyErr := m.key(rs, f.Key)
	switch {
	case keyErr != nil:
		m.decide(rs, f, s, verdict{outcome: Limit, reason: because(keyErr.Error())})
		return
	case ks.looked == m.looks:
		m.decide(rs, f, s, unmet("another series of this look has the same key"))
		return
	}
	before := ks.print()
	m.appeared(ks, s)
	var v verdict
	switch {
	case err != nil:
		v = unmet(err.Error())
	case r.State != nil:
		v = m.stateVerdict(ks, f, s)
	default:
		v = m.valueVerdict(ks, f, s, ok)
	}
	m.decide(rs, f, s, v)
	if ks.print() != before || ks.last-ks.kept >= keepSeen {
		m.touch(ks)
	} else {
		m.schedule(ks)
	}
}

// appeared marks that a series is there.
func (m *Machine) appeared(ks *keyState, s seen) {
	ks.looked, ks.absent, ks.silent, ks.unsure = m.looks, false, false, false
	ks.last = max(ks.last, s.at)
	if ks.key != "" {
		m.awaited(ks.rs)
	}
}

// print returns the part of a state whose change is worth a write. When a value was seen last is not.
func (ks *keyState) print() any {
	return [...]any{ks.holds, ks.since, ks.fired, ks.absent, ks.silent, ks.cooldown, ks.trailing, ks.armed, ks.heal, ks.was,
		len(ks.counts), ks.counts.last(), ks.began}
}

// stateVerdict steps a state of on and off.
func (m *Machine) stateVerdict(ks *keyState, f *rule.Facts, s seen) verdict {
	r := ks.rs.rule
	state, err := r.State.Of(f)
	switch {
	case state == "" && err != nil:
		return unmet("pending: " + err.Error())
	case state == "":
		return unmet("pending: neither on nor off")
	}
	f.State = state
	was := ks.was
	switch {
	case was == nil:
		ks.was = valueOf(f)
		return m.first(ks, f, s)
	case was.state == state:
		return unmet("unchanged: " + state)
	}
	ks.was = valueOf(f)
	return m.fire(ks, ks.rs.main, f, s, false)
}

// first takes the first value ever seen, which is a change for the actions that say so.
func (m *Machine) first(ks *keyState, f *rule.Facts, s seen) verdict {
	initial := rule.List{Name: "on_change"}
	for _, a := range ks.rs.rule.OnChange {
		if a.Initial {
			initial.Actions = append(initial.Actions, a)
		}
	}
	if len(initial.Actions) == 0 {
		return unmet("the first value ever seen")
	}
	return m.fire(ks, initial, f, s, false)
}

func valueOf(f *rule.Facts) *value { return &value{number: f.Value, text: f.Text, state: f.State} }

func (v *value) same(f *rule.Facts) bool {
	if v.text != f.Text || (v.number == nil) != (f.Value == nil) {
		return false
	}
	return v.number == nil || *v.number == *f.Value || math.IsNaN(*v.number) && math.IsNaN(*f.Value)
}

// valueVerdict steps a condition over values. where is the result of the condition of the rule itself.
func (m *Machine) valueVerdict(ks *keyState, f *rule.Facts, s seen, where bool) verdict {
	w := ks.rs.rule.When
	switch {
	case w.Count > 0:
		if got := ks.count(s.at, w); got < w.Count {
			return tooFew(got, w)
		}
		f.Count = w.Count
		return m.fire(ks, ks.rs.main, f, s, false)
	case w.Change:
		return m.changed(ks, f, s)
	case w.NoData != 0:
		return unmet("it was seen")
	case w.State != nil:
		return m.level(ks, f, s, slices.Contains(w.State, f.Text))
	case w.Above == nil && w.Below == nil:
		return m.level(ks, f, s, where)
	case f.Value == nil || math.IsNaN(*f.Value):
		return unmet("it is no number")
	}
	return m.level(ks, f, s, beyond(w, *f.Value, ks.holds))
}

// beyond reports whether a value is past a bound; or, if it was before, has not come back past the other bound yet.
func beyond(w *rule.When, v float64, was bool) bool {
	bound, sign := w.Above, 1.0
	if bound == nil {
		bound, sign = w.Below, -1
	}
	if was && w.Until != nil {
		bound = w.Until
	}
	return (v-*bound)*sign > 0
}

func (m *Machine) changed(ks *keyState, f *rule.Facts, s seen) verdict {
	was := ks.was
	switch {
	case was != nil && was.same(f):
		return unmet("unchanged")
	case was == nil && !ks.rs.rule.When.Initial:
		ks.was = valueOf(f)
		return unmet("the first value ever seen")
	}
	ks.was = valueOf(f)
	return m.fire(ks, ks.rs.main, f, s, false)
}

// level steps a condition that holds or does not: it leads to something once, when it has held for long enough.
func (m *Machine) level(ks *keyState, f *rule.Facts, s seen, is bool) verdict {
	w := ks.rs.rule.When
	if !is {
		ks.holds, ks.fired, ks.since, ks.began = false, false, 0, nil
		return unmet("it does not hold")
	}
	if !ks.holds {
		ks.holds, ks.since, ks.began = true, s.at, hold(f, s, m.cause(f))
	}
	switch {
	case ks.fired:
		return unmet("it holds still, and was acted upon")
	case s.at-ks.since < moment(w.For):
		return verdict{outcome: Unmet, reason: Reason{form: holding, within: w.For}}
	}
	ks.fired, ks.began = true, nil
	return m.fire(ks, ks.rs.main, f, s, false)
}
