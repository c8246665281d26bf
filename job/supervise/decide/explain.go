package decide

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"holdfast/connector"
	"holdfast/job/supervise/rule"
)

// Opinion is what one rule makes of a line, for people.
type Opinion struct {
	Rule    string
	Matched bool
	// Why says why the rule is not about the line; "" if it is.
	Why string
	// Decision is what would be decided now, if it is about the line.
	Decision *Decision
}

// Explain says what each rule would make of a line of a source now, in the order of the rules; source "" means any. A text of
// several lines is one line for sources that join lines; for others each of its lines comes by itself. Fields may have their
// short names. The machine stays as it is.
func (m *Machine) Explain(source string, e *connector.Event, now time.Time) ([]Opinion, error) {
	next, err := m.With(m.set)
	if err != nil {
		return nil, err
	}
	next.Tick(now) // what ran out until now is not of this line
	decided, told := map[string]*Decision{}, map[string][]connector.Event{}
	for _, s := range m.set.Sources {
		if source != "" && s.ID != source || s.Looks() {
			continue
		}
		told[s.ID] = asToldBy(s, e)
		for i := range told[s.ID] {
			out := next.Step(s.ID, &told[s.ID][i], now)
			for i := range out.Decisions {
				if d := &out.Decisions[i]; !d.Due {
					decided[d.Rule] = d
				}
			}
		}
	}
	var all []Opinion
	for _, rs := range m.order {
		r := rs.rule
		if r.From.Looks() || source != "" && r.From.ID != source {
			continue
		}
		o := Opinion{Rule: r.Name, Decision: decided[r.Name]}
		if o.Matched = o.Decision != nil; !o.Matched {
			o.Why = m.whyNone(rs, told[r.From.ID])
		}
		all = append(all, o)
	}
	return all, nil
}

// asToldBy returns the events as which a source would tell a text.
func asToldBy(s *rule.Source, e *connector.Event) (all []connector.Event) {
	fields := map[string]string{}
	for name, value := range e.Fields {
		fields[s.Field(name)] = value
	}
	text := bytes.TrimSuffix(e.Line, []byte("\n"))
	lines := [][]byte{text}
	if !s.Joins() {
		lines = bytes.Split(text, []byte("\n"))
	}
	for i, line := range lines {
		one := *e
		one.Line, one.Fields = line, fields
		if len(lines) > 1 {
			one.ID = fmt.Sprintf("%s, line %d", e.ID, i+1)
		}
		all = append(all, one)
	}
	return all
}

// whyNone says why a rule is about none of some lines: the reason for the line that comes nearest to it.
func (m *Machine) whyNone(rs *ruleState, all []connector.Event) (why string) {
	for i := range all {
		w := m.whyNot(rs, &all[i])
		if i == 0 || !strings.HasPrefix(w, noMatch) && strings.HasPrefix(why, noMatch) {
			why = w
		}
	}
	if len(all) > 1 && strings.HasPrefix(why, noMatch) {
		why += fmt.Sprintf("; %s has no join, so that each of the %d lines comes by itself", rs.rule.From.Title, len(all))
	}
	return why
}

const noMatch = "match does not: "

// whyNot says why a rule is not about a line.
func (m *Machine) whyNot(rs *ruleState, e *connector.Event) string {
	u := &use{rs: rs, role: roleMain, from: &rs.rule.From, filter: rs.rule.Filter()}
	if p := u.filter.Pattern; p != nil && !p.Match(e.Line) {
		return noMatch + p.String()
	}
	ok, err := holds(u, m.lineFacts(u, e))
	switch {
	case err != nil:
		return err.Error()
	case !ok:
		why := fmt.Sprintf("where is not so: %s", u.filter.Where)
		if missing := u.filter.Where.Asks(u.from, e.Fields); len(missing) > 0 {
			why += fmt.Sprintf("; nothing is known here of %s, which --field gives the line", strings.Join(missing, ", "))
		}
		return why
	}
	return "it is about lines of " + rs.rule.From.Title
}
