package decide

import (
	"regexp"

	"holdfast/job/supervise/match"
	"holdfast/job/supervise/rule"
)

// role is what a rule wants of a source.
type role uint8

// The roles, in the order in which they are served. What follows is looked at before what it could follow, so that a line that
// is both does not follow itself.
const (
	roleWith role = iota
	roleHeal
	roleFollow
	roleMain
	roles
)

// use is one rule's interest in a source.
type use struct {
	rs     *ruleState
	role   role
	from   *rule.Source
	filter rule.Filter
}

// subscription holds all uses of one source.
type subscription struct {
	id      string
	uses    []use
	matcher *match.Matcher
}

func (m *Machine) subscribe() {
	for want := range roles {
		for _, rs := range m.order {
			for _, u := range rs.uses() {
				if u.role == want {
					m.wants(u)
				}
			}
		}
	}
	for _, sub := range m.subs {
		patterns := make([]*regexp.Regexp, len(sub.uses))
		for i := range sub.uses {
			patterns[i] = sub.uses[i].filter.Pattern
		}
		sub.matcher = match.New(patterns).Matcher()
	}
}

func (m *Machine) wants(u use) {
	sub := m.subs[u.from.ID]
	if sub == nil {
		sub = &subscription{id: u.from.ID}
		m.subs[u.from.ID] = sub
	}
	sub.uses = append(sub.uses, u)
}

// uses returns the uses that a rule makes of its sources.
func (rs *ruleState) uses() (all []use) {
	r := rs.rule
	for _, s := range r.With {
		all = append(all, use{rs: rs, role: roleWith, from: s})
	}
	if h := r.Heal; h != nil {
		all = append(all, use{rs, roleHeal, other(h.From, &r.From), h.Filter()})
	}
	if f := follow(r); f != nil {
		all = append(all, use{rs, roleFollow, other(f.From, &r.From), f.Filter()})
	}
	return append(all, use{rs, roleMain, &r.From, r.Filter()})
}

func other(s, otherwise *rule.Source) *rule.Source {
	if s != nil {
		return s
	}
	return otherwise
}

// follow returns what a rule waits for, or what it wants to be without; nil for neither.
func follow(r *rule.Rule) *rule.Follow {
	switch {
	case r.When == nil:
		return nil
	case r.When.Then != nil:
		return r.When.Then
	}
	return r.When.Without
}
