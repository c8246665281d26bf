package decide

import (
	"slices"
	"time"

	"holdfast/job/supervise/rule"
)

// verdict is what becomes of one thing that was seen, or of a time that ran out.
type verdict struct {
	outcome Outcome
	reason  Reason
	calls   []rule.Call
	caused  string
	rung    int
	due     bool
}

func unmet(reason string) verdict { return verdict{outcome: Unmet, reason: because(reason)} }

// decide counts a decision, and adds it to the result of the step.
func (m *Machine) decide(rs *ruleState, f *rule.Facts, s seen, v verdict) {
	if v.due {
		rs.counts.Due++
	} else {
		rs.counts.Matched++
		rs.counts.Seen = m.clock.time(s.at)
	}
	rs.counts.Outcomes[v.outcome]++
	m.dirty.rule(rs)
	m.add(Decision{Rule: rs.rule.Name, Key: f.Key, Event: s.event, Time: m.clock.time(s.at), Outcome: v.outcome, Reason: v.reason,
		Due: v.due, Rung: v.rung, Caused: v.caused, Calls: v.calls, Facts: f})
	if v.outcome != Acted {
		return
	}
	for _, c := range v.calls {
		if c.Set == "" {
			m.out.Calls = append(m.out.Calls, c)
		}
	}
}

// add adds a decision to the result of the step. The decisions of one step stand in one slice, which the caller of Step may
// keep.
func (m *Machine) add(d Decision) {
	const atOnce = 32
	if m.out.Decisions == nil {
		if len(m.room.decisions) == cap(m.room.decisions) {
			m.room.decisions = make([]Decision, 0, atOnce)
		}
		m.out.Decisions = m.room.decisions[len(m.room.decisions):]
	}
	m.out.Decisions = append(m.out.Decisions, d)
}

// give returns the result of a step. Its memory is not used again.
func (m *Machine) give() Result {
	n, used := len(m.out.Decisions), len(m.room.decisions)
	switch {
	case n == 0:
	case n > cap(m.room.decisions)-used: // they stand elsewhere
		m.room.decisions = nil
	default:
		m.room.decisions = m.room.decisions[:used+n]
		m.out.Decisions = m.out.Decisions[:n:n]
	}
	return m.out
}

// stale reports whether something is too old to be acted upon.
func (m *Machine) stale(r *rule.Rule, at moment) bool {
	return r.StaleAfter > 0 && m.clock.at-at > moment(r.StaleAfter)
}

func (m *Machine) age(at moment) Reason {
	return Reason{form: old, within: time.Duration(m.clock.at - at).Round(time.Second)}
}

// fire lets a rule whose condition is met act, unless a silence, a cooldown or a limit speaks against it.
func (m *Machine) fire(ks *keyState, list rule.List, f *rule.Facts, s seen, due bool) verdict {
	r := ks.rs.rule
	v := verdict{due: due, caused: m.cause(f)}
	switch {
	case m.stale(r, s.at):
		v.outcome, v.reason = Stale, m.age(s.at)
	case m.silenced(ks, s, &v):
	case ks.cooldown > m.clock.at:
		v.outcome, v.reason = Cooldown, Reason{form: cooling, within: time.Duration(ks.cooldown - m.clock.at)}
		if r.Cooldown.Trailing && !due {
			ks.trailing = hold(f, s, v.caused)
		}
	case m.limited(ks, f, s, &v, list):
	default:
		if m.act(ks, list, f, s, &v); v.outcome != Refused {
			m.cool(ks)
		}
	}
	return v
}

// cool begins the cooldown of a key, because actions were queued for it now.
func (m *Machine) cool(ks *keyState) {
	if d := ks.rs.rule.Cooldown.For; d > 0 {
		ks.cooldown = m.clock.at + moment(d)
	}
	ks.trailing = nil
}

// limited checks the limits of the rule, of what our own actions cause, and of all rules; v then says which one is reached.
func (m *Machine) limited(ks *keyState, f *rule.Facts, s seen, v *verdict, list rule.List) bool {
	w, set, r := &m.whole, m.set, ks.rs.rule
	if r.Limit != nil && ks.rs.limit.full(m.clock.at, r.Limit) {
		m.holdBack(&ks.rs.over, r.Limit, r, f.Key, s, limitOfRule)
		v.outcome, v.reason = Limit, Reason{form: ofTheRule, n: r.Limit.Max, within: r.Limit.Within}
		return true
	}
	if r.Mode == rule.Shadow || harmless(list) {
		return false
	}
	m.dirty.whole = true
	if v.caused != "" && w.loop.full(m.clock.at, set.Loop) {
		m.holdBack(&w.loopOver, set.Loop, r, f.Key, s, limitOfLoop)
		v.outcome, v.reason = Limit, Reason{form: ofLoops, n: set.Loop.Max, within: set.Loop.Within}
		return true
	}
	if w.limit.full(m.clock.at, set.File.Limit) {
		m.holdBack(&w.limitOver, set.File.Limit, r, f.Key, s, limitOfAll)
		v.outcome, v.reason = Limit, Reason{form: ofAll, n: set.File.Limit.Max, within: set.File.Limit.Within}
		return true
	}
	return false
}

// harmless reports whether actions have no effect outside of the machine.
func harmless(list rule.List) bool {
	return !slices.ContainsFunc(list.Actions, func(a rule.Action) bool { return a.Set == "" })
}

func (m *Machine) notify(to, text, ofRule, key, event, name string) {
	about := event + " " + name
	m.out.Calls = append(m.out.Calls, rule.Call{
		ID: rule.CallID(ofRule, key, about, 0, 1), Group: rule.GroupID(ofRule, key, about, 0),
		Rule: ofRule, Key: key, Event: event, Name: name, Notify: to, Text: text, Timeout: 30 * time.Second, Retries: 3,
		RetryAfter: 10 * time.Second, Unknown: rule.Repeat})
}

// act renders the actions and counts them against the limits. If one can't be rendered none is done.
func (m *Machine) act(ks *keyState, list rule.List, f *rule.Facts, s seen, v *verdict) {
	r := ks.rs.rule
	calls, err := render(r, list, f, s.event, v.rung)
	if err != nil { // nothing is queued, so it holds up nothing: else who writes lines could switch a rule off
		v.outcome, v.reason = Refused, because(err.Error())
		return
	}
	if r.Limit != nil {
		ks.rs.limit.add(m.clock.at, r.Limit.Within, r.Limit.Max)
	}
	switch {
	case r.Mode == rule.Shadow:
		v.outcome, v.calls = Shadow, calls
		return
	}
	v.outcome, v.calls = Acted, calls
	if !harmless(list) {
		m.whole.limit.add(m.clock.at, m.set.File.Limit.Within, m.set.File.Limit.Max)
		if v.caused != "" {
			m.whole.loop.add(m.clock.at, m.set.Loop.Within, m.set.Loop.Max)
		}
	}
	for i := range calls {
		calls[i].Caused = v.caused
		m.effects(&calls[i])
	}
	if h := r.Heal; h != nil && ks.heal == nil && v.rung == 0 {
		ks.heal = &healing{held: *hold(f, s, v.caused), until: m.clock.at + moment(h.Within)}
		ks.heal.at = m.clock.at
	}
}

// render makes calls of actions. A call waits for another one only if that is among them.
func render(r *rule.Rule, list rule.List, f *rule.Facts, event string, rung int) ([]rule.Call, error) {
	names := map[string]bool{}
	var calls []rule.Call
	for i := range list.Actions {
		c, err := r.Render(list.Name, &list.Actions[i], f)
		if err != nil {
			return nil, err
		}
		c.Event, c.ID = event, rule.CallID(r.Name, f.Key, event, rung, i+1)
		c.Group = rule.GroupID(r.Name, f.Key, event, rung)
		c.After = slices.DeleteFunc(slices.Clone(c.After), func(name string) bool { return !names[name] })
		if c.Set == "" { // which is done already
			names[c.Name] = true
		}
		calls = append(calls, c)
	}
	return calls, nil
}

// effects applies what an action changes in the machine: the value that it sets, and which unit it will have caused to say
// something.
func (m *Machine) effects(c *rule.Call) {
	w := &m.whole
	if c.Set != "" {
		if _, known := w.vars[c.Set]; known || len(w.vars) < maxVars {
			w.vars[c.Set] = c.Value
		}
		m.dirty.whole = true
	}
	if c.Unit == "" {
		return
	}
	for unit, old := range w.causes {
		if old.until < m.clock.at {
			delete(w.causes, unit)
		}
	}
	if _, known := w.causes[c.Unit]; known || len(w.causes) < maxCauses {
		w.causes[c.Unit] = cause{c.ID, m.clock.at + moment(c.Timeout+causing)}
	}
	m.dirty.whole = true
}

// causing is how long after an action whatever its unit says is taken to be caused by it.
const causing = time.Minute

// ActionField is the field of a line in which the job puts the ID of the action whose program wrote the line.
const ActionField = "_HOLDFAST_ACTION"

// cause returns the ID of the action of ours that caused what was seen, "" if none is known to have. It looks only at fields
// that nobody can forge.
func (m *Machine) cause(f *rule.Facts) string {
	if id := f.Fields[ActionField]; id != "" {
		return id
	}
	unit := f.Fields["_SYSTEMD_UNIT"]
	if unit == "" {
		unit = f.Labels["unit"]
	}
	if c, ok := m.whole.causes[unit]; ok && c.until >= m.clock.at {
		return c.call
	}
	return ""
}
