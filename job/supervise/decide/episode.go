package decide

import (
	"fmt"
	"time"

	"holdfast/base/plural"
	"holdfast/job/supervise/rule"
)

// Episode is a time in which a limit held actions back. It begins when the limit is reached, and is over when nothing was held
// back for as long as the limit counts. People are told twice: when it begins, and, at its end, how much was held back.
type Episode struct {
	Rule, Key string // of what the limit was reached with
	What      string // the limit, in words
	Limit     rule.Limit
	Since     time.Time
	Over      bool
	Held      uint64 // how often something was counted and not acted upon, until Last
	Last      time.Time
}

// episode is one that goes on.
type episode struct {
	since, last      moment
	held             uint64
	rule, key, event string
	to               string // who is told, "" for nobody
}

// The limits, in words.
const (
	limitOfRule = "limit of the rule"
	limitOfAll  = "limit of all rules"
	limitOfLoop = "loop guard"
)

// holdBack counts what a limit holds back, and begins its episode if there is none.
func (m *Machine) holdBack(over **episode, l *rule.Limit, r *rule.Rule, key string, s seen, what string) {
	at := m.clock.at
	if *over == nil {
		*over = &episode{since: at, rule: r.Name, key: key, event: s.event}
		if r.Mode != rule.Shadow {
			(*over).to = l.Then
		}
		m.ending = append(m.ending, ending{over, l, what})
		m.out.Episodes = append(m.out.Episodes, m.told(*over, l, what))
		if to := (*over).to; to != "" {
			m.notify(to, fmt.Sprintf("%s %s: the %s was reached: %d within %v. What follows is counted, and not acted upon.", r.Name, key,
				what, l.Max, l.Within), r.Name, key, s.event, what)
		}
	}
	(*over).held++
	(*over).last = at
}

func (m *Machine) told(e *episode, l *rule.Limit, what string) Episode {
	return Episode{Rule: e.rule, Key: e.key, What: what, Limit: *l, Since: m.clock.time(e.since), Held: e.held,
		Last: m.clock.time(e.last)}
}

// Reached returns the episodes that go on.
func (m *Machine) Reached() (all []Episode) {
	for _, e := range m.ending {
		if *e.over != nil {
			all = append(all, m.told(*e.over, e.limit, e.what))
		}
	}
	return all
}

// ending is an episode whose end is waited for.
type ending struct {
	over  **episode
	limit *rule.Limit
	what  string
}

func (x ending) at() moment { return (*x.over).last + moment(x.limit.Within) }

// endEpisode ends the episode with this number among those whose end is waited for.
func (m *Machine) endEpisode(i int) {
	x := m.ending[i]
	e := *x.over
	*x.over = nil
	m.ending = append(m.ending[:i], m.ending[i+1:]...)
	if rs := m.rules[e.rule]; rs != nil && x.over == &rs.over {
		m.dirty.rule(rs)
	} else {
		m.dirty.whole = true
	}
	out := m.told(e, x.limit, x.what)
	out.Over = true
	m.out.Episodes = append(m.out.Episodes, out)
	if e.to != "" {
		text := fmt.Sprintf("%s %s: the %s is no longer reached: %s something was counted and not acted upon since %s, the last at %s.",
			e.rule, e.key, x.what, plural.Of(e.held, "time"), out.Since.UTC().Format(time.RFC3339),
			out.Last.UTC().Format(time.RFC3339))
		m.notify(e.to, text, e.rule, e.key, e.event, x.what+" over")
	}
}

// goOn takes over the episodes of the life before, so that they end too. One whose limit is gone is over with it.
func (m *Machine) goOn() {
	m.ending = nil
	add := func(over **episode, l *rule.Limit, what string) {
		switch {
		case *over != nil && l != nil:
			m.ending = append(m.ending, ending{over, l, what})
		case *over != nil:
			*over = nil
		}
	}
	add(&m.whole.limitOver, m.set.File.Limit, limitOfAll)
	add(&m.whole.loopOver, m.set.Loop, limitOfLoop)
	for _, rs := range m.order {
		add(&rs.over, rs.rule.Limit, limitOfRule)
	}
}

func (e *encoder) episode(x *episode) {
	e.bool(x != nil)
	if x == nil {
		return
	}
	e.int(int64(x.since))
	e.int(int64(x.last))
	e.uint(x.held)
	for _, s := range []string{x.rule, x.key, x.event, x.to} {
		e.text(s)
	}
}

func (d *decoder) episode() *episode {
	if !d.bool() {
		return nil
	}
	return &episode{since: d.moment(), last: d.moment(), held: d.uint(), rule: d.text(), key: d.text(), event: d.text(),
		to: d.text()}
}
