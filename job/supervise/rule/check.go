package rule

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"holdfast/job/supervise/match"
)

// Finding is something in a rule that is allowed, and is probably not what was meant.
type Finding struct {
	Rule  string
	Where string // FILE:LINE:COLUMN
	// About is never (it can't fire), trust (anybody may make it fire), flood (nothing holds it back), test (nothing shows that
	// it works), or slow; app adds unsafe (others can change what is done).
	About string
	Text  string
}

// Check returns what is allowed and probably not meant, in the order of the rules.
func (s *Set) Check() []Finding {
	c := &checker{set: s, sets: map[string]bool{}, same: map[string]string{}}
	for _, r := range s.Rules {
		for _, l := range r.Lists() {
			for i := range l.Actions {
				c.sets[l.Actions[i].Set] = true
			}
		}
	}
	for _, r := range s.Rules {
		c.r = r
		c.never()
		c.trust()
		c.rest()
	}
	return c.all
}

type checker struct {
	set  *Set
	sets map[string]bool   // the names that rules set
	same map[string]string // rules that act on each match, by what they are about
	r    *Rule             // the rule at hand
	all  []Finding
}

// find keeps a finding about what stands under a key of the rule, "" for all of it.
func (c *checker) find(key, about, format string, args ...any) {
	place, ok := c.r.places[key]
	if !ok {
		place = c.r.places[""]
	}
	c.all = append(c.all, Finding{c.r.Name, c.set.name + ":" + place, about, fmt.Sprintf(format, args...)})
}

var asksVar = regexp.MustCompile(`\bvars\.([A-Za-z0-9_]+)`)

// never finds what keeps a rule from ever firing.
func (c *checker) never() {
	r := c.r
	c.neverMatches("match", "match", r.re)
	c.neverHolds("where", "where", r.where, r.Where)
	if f := followOf(r); f != nil {
		c.neverMatches("when", "when", f.re)
		c.neverHolds("when", "when: where", f.where, f.Where)
	}
	if h := r.Heal; h != nil {
		c.neverMatches("heal", "heal.expect", h.re)
		c.neverHolds("heal", "heal.where", h.where, h.Where)
	}
	if st := r.State; st != nil {
		c.neverHolds("state", "state.on", st.on, st.On)
		c.neverHolds("state", "state.off", st.off, st.Off)
		if st.On == st.Off {
			c.find("state", "never", "state: on and off are the same, so that it is never off")
		}
	}
	if states := r.From.kind.States; r.When != nil && states != nil {
		for _, word := range r.When.State {
			if !slices.Contains(states, word) {
				c.find("when", "never", "%s is never %.60q; it is one of: %s", r.From.Kind, word, strings.Join(states, ", "))
			}
		}
	}
}

func (c *checker) neverMatches(key, what string, re *regexp.Regexp) {
	if why := impossible(re); why != "" {
		c.find(key, "never", "%s matches no line: %s", what, why)
	}
}

func (c *checker) neverHolds(key, what string, cond *Condition, text string) {
	for _, m := range asksVar.FindAllStringSubmatch(text, -1) {
		if !c.sets[m[1]] {
			c.find(key, "never", "%s asks for vars.%s, which no rule sets", text, m[1])
		}
	}
	if cond.never() {
		c.find(key, "never", "%s is false of whatever is seen", what)
	}
}

func followOf(r *Rule) *Follow {
	switch {
	case r.When == nil:
		return nil
	case r.When.Then != nil:
		return r.When.Then
	}
	return r.When.Without
}

// impossible says why an expression matches no line, or "".
func impossible(re *regexp.Regexp) string {
	if re == nil {
		return ""
	}
	tree, err := syntax.Parse(re.String(), syntax.Perl)
	if err != nil {
		return ""
	}
	return least(tree.Simplify()).never
}

// needs says what every match of a part of an expression has.
type needs struct {
	never string // why there is none
	some  bool   // at least one byte
	begin bool   // it stands at the beginning of the line
	end   bool
}

func least(re *syntax.Regexp) needs {
	switch re.Op {
	case syntax.OpNoMatch:
		return needs{never: "it has a class of no characters"}
	case syntax.OpLiteral:
		return needs{some: true}
	case syntax.OpCharClass:
		if len(re.Rune) == 0 {
			return needs{never: "it has a class of no characters"}
		}
		return needs{some: true}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return needs{some: true}
	case syntax.OpBeginText:
		return needs{begin: true}
	case syntax.OpEndText:
		return needs{end: true}
	case syntax.OpCapture, syntax.OpPlus:
		return least(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return least(re.Sub[0])
		}
	case syntax.OpConcat:
		return inOrder(re.Sub)
	case syntax.OpAlternate:
		return oneOf(re.Sub)
	}
	return needs{}
}

func inOrder(subs []*syntax.Regexp) (all needs) {
	for _, sub := range subs {
		n := least(sub)
		switch {
		case n.never != "":
			return n
		case all.end && n.some:
			return needs{never: "something follows its $"}
		case n.begin && all.some:
			return needs{never: "something comes before its ^"}
		}
		all = needs{some: all.some || n.some, begin: all.begin || n.begin && !all.some, end: all.end || n.end}
	}
	return all
}

func oneOf(subs []*syntax.Regexp) needs {
	all := needs{some: true, begin: true, end: true}
	possible := false
	var never needs
	for _, sub := range subs {
		n := least(sub)
		if n.never != "" {
			never = n
			continue
		}
		possible = true
		all = needs{some: all.some && n.some, begin: all.begin && n.begin, end: all.end && n.end}
	}
	if !possible {
		return never
	}
	return all
}

// trust finds actions that anybody who can write a line can cause, or aim at a unit.
func (c *checker) trust() {
	r := c.r
	if r.From.Looks() {
		return
	}
	captures := groups(r.re)
	known := r.From.trusted() || c.asksTrusted(r.Where)
	for _, l := range r.Lists() {
		key := l.Name
		if r.places[key] == "" { // a rung
			key = "heal"
		}
		for i := range l.Actions {
			unit := l.Actions[i].Unit
			if what := l.Actions[i].reaches(); unit == "" && what != "" && !known && r.From.kind.Trusted != nil {
				c.find(key, "trust", "%s: %s, and anybody may write the line that leads to it; name a unit under from, or ask for a "+
					"field that begins with _ in where", l.Name, what)
			}
			if unit == "" {
				continue
			}
			if name, ok := single(unit); ok && slices.Contains(captures, name) {
				c.find(key, "trust", "%s: which unit is decided by the text of a line, that is by whoever writes it; "+
					"use a trusted field, such as {{_SYSTEMD_UNIT}}, or an enum", l.Name)
			} else if !known {
				c.find(key, "trust", "%s does something to %s, and anybody may write the line that leads to it; "+
					"name a unit under from, or ask for a field that begins with _ in where", l.Name, unit)
			}
		}
	}
}

// reaches says what an action does other than to a unit, a person or a variable, "" if nothing.
func (a *Action) reaches() string {
	switch {
	case a.Run != nil:
		return a.Run[0] + " is run"
	case a.HTTP != nil:
		return "a request is made"
	case a.Holdfast != "":
		return "job " + a.Job + " is given an order"
	}
	return ""
}

// asksTrusted reports whether a condition asks for a field that can't be forged.
func (c *checker) asksTrusted(cond string) bool {
	if strings.Contains(cond, "fields._") || strings.Contains(cond, `fields["_`) {
		return true
	}
	for short, long := range c.r.From.kind.Names {
		if strings.HasPrefix(long, "_") && regexp.MustCompile(`\b`+regexp.QuoteMeta(short)+`\b`).MatchString(cond) {
			return true
		}
	}
	return false
}

// rest finds rules without a limit, a reason or tests, rules that are there twice, and slow patterns.
func (c *checker) rest() {
	r := c.r
	outside := slices.ContainsFunc(main(r), func(a Action) bool { return a.Set == "" })
	if r.Cooldown.For == 0 && r.Limit == nil && outside && r.State == nil && r.Mode == Live {
		c.find("do", "flood", "there is neither cooldown nor limit, so that a flood of lines is a flood of actions")
	}
	c.tests()
	if r.Why == "" {
		c.find("", "test", "there is no why: what it is for")
	}
	if r.re != nil && match.New([]*regexp.Regexp{r.re}).Plain() > 0 {
		c.find("match", "slow", "match has no text that must be there, so that it is tried on every line")
	}
	is := fmt.Sprint(r.From.ID, r.Match, "\x00", r.Where, "\x00", r.Key)
	if r.When != nil && r.When.Count == 1 {
		if first := c.same[is]; first != "" {
			c.find("", "test", "it is about the same as %s, and both act", first)
		} else {
			c.same[is] = r.Name
		}
	}
}

// tests finds tests that show nothing.
func (c *checker) tests() {
	r := c.r
	if len(r.Tests) == 0 {
		c.find("", "test", "there are no tests")
	}
	names := map[string]bool{}
	for i := range r.Tests {
		t := &r.Tests[i]
		name := t.Name
		if name == "" {
			name = itoa(i + 1)
		}
		if names[name] {
			c.find("tests", "test", "two tests are called %.60q", name)
		}
		names[name] = true
		lines, values := len(t.Lines) > 0, len(t.Values) > 0
		for _, s := range t.Steps {
			ofRule := s.Of == "" || s.Of == "from"
			lines, values = lines || ofRule && s.Line != "", values || ofRule && s.Value != ""
		}
		switch {
		case !t.expects:
			c.find("tests", "test", "test %s does not expect anything; write expect: {runs: 0} if nothing is to be done", name)
		case !lines && !values && len(t.Steps) == 0:
			c.find("tests", "test", "test %s sees nothing", name)
		case lines && r.From.Looks():
			c.find("tests", "test", "test %s has lines, and %s tells values", name, r.From.Kind)
		case values && !r.From.Looks():
			c.find("tests", "test", "test %s has values, and %s tells lines", name, r.From.Kind)
		}
	}
}

// main are the actions of a rule.
func main(r *Rule) Actions {
	if r.State != nil {
		return r.OnChange
	}
	return r.Do
}
