package decide

import (
	"bytes"
	"maps"
	"math"
	"slices"
	"strconv"

	"holdfast/connector"
	"holdfast/job/supervise/rule"
)

// maxHeld is how much of a line is kept while it waits for something.
const maxHeld = 2048

// seen is one thing that was seen, on its way through the rules.
type seen struct {
	at    moment
	event string
}

// line gives one line to all rules whose pattern it matches.
func (m *Machine) line(sub *subscription, e *connector.Event, at moment) {
	found := sub.matcher.Line(e.Line)
	if len(found) == 0 {
		return
	}
	m.due(at - 1) // what ran out before it was written
	s := seen{at, e.ID}
	for _, i := range found {
		u := &sub.uses[i]
		f := m.lineFacts(u, e)
		switch ok, err := holds(u, f); {
		case err != nil && u.role == roleMain:
			m.decide(u.rs, f, s, unmet(err.Error()))
		case !ok:
		case u.role == roleMain:
			m.matched(u.rs, f, s)
		case u.role == roleFollow:
			m.followed(u.rs, f, s)
		case u.role == roleHeal:
			m.healed(u.rs, f, s)
		}
	}
}

// holds evaluates the condition of a use; a use without one always holds.
func holds(u *use, f *rule.Facts) (bool, error) {
	if u.filter.Where == nil {
		return true, nil
	}
	return u.filter.Where.Holds(f)
}

func (m *Machine) lineFacts(u *use, e *connector.Event) *rule.Facts {
	f := m.newFacts()
	f.Rule, f.Line, f.Cut, f.Fields, f.Vars, f.With = u.rs.rule.Name, e.Line, e.Cut, e.Fields, m.whole.vars, m.with(u.rs.rule)
	f.Of(u.from, u.filter)
	return f
}

// newFacts returns facts about nothing yet.
func (m *Machine) newFacts() *rule.Facts {
	const atOnce = 32
	if len(m.room.facts) == 0 {
		m.room.facts = make([]rule.Facts, atOnce)
	}
	f := &m.room.facts[0]
	m.room.facts = m.room.facts[1:]
	return f
}

// with returns the values of a rule's further sources, as far as they are known.
func (m *Machine) with(r *rule.Rule) map[string]float64 {
	if len(r.With) == 0 {
		return nil
	}
	all := map[string]float64{}
	for name, s := range r.With {
		if v, ok := m.whole.with[s.ID]; ok {
			all[name] = v
		}
	}
	return all
}

// matched takes a line that a rule is about.
func (m *Machine) matched(rs *ruleState, f *rule.Facts, s seen) {
	r := rs.rule
	f.Key = f.KeyOf(r.Key)
	if r.Mode == rule.Off {
		m.decide(rs, f, s, verdict{outcome: Off})
		return
	}
	ks, err := m.key(rs, f.Key)
	if err != nil {
		m.decide(rs, f, s, verdict{outcome: Limit, reason: because(err.Error())})
		return
	}
	v := m.lineVerdict(ks, f, s)
	ks.last, ks.silent = max(ks.last, s.at), false
	m.decide(rs, f, s, v)
	if early := ks.early; early != nil && ks.armed != nil {
		f, s := m.again(ks, early, early.at)
		m.follow(ks, f, s)
	}
	m.touch(ks)
}

// lineVerdict steps the condition of a rule by a line, and returns what that leads to.
func (m *Machine) lineVerdict(ks *keyState, f *rule.Facts, s seen) verdict {
	r, w := ks.rs.rule, ks.rs.rule.When
	switch {
	case w.Then != nil:
		ks.armed = hold(f, s, "")
		return unmet("it waits for what follows within " + w.Within.String())
	case w.Without != nil && m.stale(r, s.at):
		return verdict{outcome: Stale, reason: m.age(s.at)}
	case w.Without != nil:
		if ks.armed != nil {
			return unmet("it waits already")
		}
		ks.armed = hold(f, s, m.cause(f))
		return unmet("it waits whether something follows within " + w.Within.String())
	case w.NoData != 0:
		return unmet("it was seen")
	}
	if got := ks.count(s.at, w); got < w.Count {
		return tooFew(got, w)
	}
	f.Count = w.Count
	return m.fire(ks, ks.rs.main, f, s, false)
}

func tooFew(got int, w *rule.When) verdict {
	return verdict{outcome: Unmet, reason: Reason{form: counted, n: got, of: w.Count, within: w.Within}}
}

// count adds one to the window of a key and returns how many it holds; a window that is full begins anew.
func (ks *keyState) count(at moment, w *rule.When) int {
	if w.Count <= 1 {
		return w.Count
	}
	ks.counts.add(at, w.Within, w.Count)
	got := len(ks.counts)
	if got >= w.Count {
		ks.counts = nil
	}
	return got
}

// followed takes a line that something may have waited for, or will wait for.
func (m *Machine) followed(rs *ruleState, f *rule.Facts, s seen) {
	f.Key = f.KeyOf(follow(rs.rule).Key)
	ks := rs.keys[f.Key]
	if ks != nil && m.follow(ks, f, s) {
		m.touch(ks)
		return
	}
	if !readByItself(rs.rule) || rs.rule.Mode == rule.Off {
		return
	}
	if ks == nil {
		var err error
		if ks, err = m.key(rs, f.Key); err != nil {
			return // it is one of those for which nothing can wait
		}
	}
	ks.early = hold(f, s, "")
	m.touch(ks)
}

// readByItself reports whether a rule waits for lines of another source: then nobody knows in which order the lines of both
// are told.
func readByItself(r *rule.Rule) bool {
	f := follow(r)
	return f != nil && f.From != nil && !f.From.Looks() && f.From.ID != r.From.ID
}

// follow reports whether a line is what a key has waited for, and takes what that leads to.
func (m *Machine) follow(ks *keyState, f *rule.Facts, s seen) bool {
	rs, w := ks.rs, ks.rs.rule.When
	if ks.armed == nil || s.at < ks.armed.at || s.at > ks.armed.at+moment(w.Within) {
		return false
	}
	armed := ks.armed
	ks.armed, ks.early = nil, nil
	if w.Then == nil {
		return true
	}
	all := maps.Clone(armed.facts.Captures)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, f.Captured())
	f.Captures = all
	if rs.rule.Mode == rule.Off {
		m.decide(rs, f, s, verdict{outcome: Off})
	} else {
		m.decide(rs, f, s, m.fire(ks, rs.main, f, s, false))
	}
	return true
}

// hold copies what was seen, because the event and what it points to belong to the caller.
func hold(f *rule.Facts, s seen, cause string) *held {
	f.Captured()
	kept := *f
	kept.Vars = nil
	kept.Line = bytes.Clone(f.Line[:min(len(f.Line), maxHeld)])
	kept.Fields, kept.Labels, kept.Captures = small(f.Fields), small(f.Labels), small(f.Captures)
	if f.Value != nil && (math.IsNaN(*f.Value) || math.IsInf(*f.Value, 0)) {
		kept.Value, kept.Text = nil, strconv.FormatFloat(*f.Value, 'f', -1, 64) // JSON knows neither
	}
	return &held{at: s.at, event: s.event, facts: &kept, cause: cause}
}

// small returns a copy of the fields that are short enough to be kept. The others count as not known, so that an action that
// needs one is refused.
func small(all map[string]string) map[string]string {
	var out map[string]string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if len(name)+len(all[name]) > maxHeld/2 || len(out) >= 64 {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[name] = all[name]
	}
	return out
}
