package rule

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/base/strictyaml"
)

// compiler checks what was read, fills in what follows from it, and keeps each mistake.
type compiler struct {
	d      *decoder
	set    *Set
	allow  []string
	names  []string // what the templates of the rule at hand may use; nil: anything
	loose  bool     // names in the rule at hand can't be checked, because its source or its pattern is wrong
	ofKeys Mistakes // in the names of With: those are never a consequence of what is wrong below them
}

// written reports whether something stands in the file itself, and not only what it belongs to.
func (c *compiler) written(path string) bool { return c.d.Written(path) }

// around returns the path of what the thing at path belongs to.
func around(path string) string { return path[:max(0, strings.LastIndexAny(path, ".["))] }

// notOf returns those of the mistakes found that are no consequence of the mistakes read: what could not be read seems to be
// missing.
func (c *compiler) notOf(read, found Mistakes) (all Mistakes) {
	for _, m := range found {
		follows := slices.ContainsFunc(read, func(r Mistake) bool {
			if r.Text == strictyaml.Twice { // the first one was read
				return false
			}
			rest, within := strings.CutPrefix(r.Path, m.Path)
			within = within && (rest == "" || rest[0] == '.' || rest[0] == '[')
			return within || r.Path == around(m.Path) && !c.written(m.Path)
		})
		if !follows {
			all = append(all, m)
		}
	}
	return all
}

func (c *compiler) bad(at, format string, args ...any) { c.d.Wrong(at, format, args...) }

func index(at string, i int) string { return at + "[" + itoa(i) + "]" }

func itoa(i int) string { return strconv.Itoa(i) }

func (c *compiler) file() {
	f := &c.set.File
	c.limit("limit", &f.Limit, 100)
	c.limit("loop", &f.Loop, 10)
	for i, p := range f.Allow {
		if !strings.HasPrefix(p, "/") {
			c.bad(index("allow", i), "want an absolute path, got %.60q", p)
		}
	}
	if len(f.Rules) == 0 {
		c.bad("rules", "there is no rule, so nothing would be watched")
	}
	if len(f.Rules) > maxRules {
		c.bad("rules", "there are %d rules; want at most %d", len(f.Rules), maxRules)
		return
	}
	for i, r := range f.Rules {
		if r == nil { // it is empty, which was told
			continue
		}
		at := index("rules", i)
		r.line, _ = c.d.PlaceOf(at)
		r.places = c.placesOf(at)
		c.rule(at, r)
		if first := c.set.byName[r.Name]; first != nil && r.Name != "" {
			c.bad(at+".name", "another rule has the name %.60q, in line %d", r.Name, first.line)
			continue
		}
		c.set.byName[r.Name] = r
	}
}

// limit checks a limit of the whole file, or fills in the default.
func (c *compiler) limit(at string, l **Limit, most int) {
	if *l == nil {
		*l = &Limit{Max: most, Within: 10 * time.Minute}
	}
	c.oneLimit(at, *l)
}

func (c *compiler) oneLimit(at string, l *Limit) {
	if l.Max < 1 || l.Max > maxLimit {
		c.bad(at+".max", "want a number from 1 to %d, got %d", maxLimit, l.Max)
	}
	if l.Within <= 0 {
		c.bad(at+".within", "is missing: how often within how long")
	}
	if l.Then != "" {
		c.name(at+".then", l.Then)
	}
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)

func isName(s string) bool { return nameForm.MatchString(s) }

func (c *compiler) name(at, s string) {
	if !isName(s) {
		c.bad(at, "want a name: letters, digits, and _ . - behind the first, at most 64; got %.60q", s)
	}
}

func (c *compiler) rule(at string, r *Rule) {
	c.name(at+".name", r.Name)
	r.Mode, r.Unknown = r.WithDefaults().Mode, r.WithDefaults().Unknown
	c.oneOf(at+".mode", string(r.Mode), []string{string(Live), string(Shadow), string(Off)})
	c.oneOf(at+".unknown", string(r.Unknown), []string{string(Ask), string(Repeat)})
	r.vars = map[string]bool{}
	c.loose = r.From.Kind == ""
	if c.loose {
		c.bad(at+".from", "is missing: what is watched")
	} else {
		c.source(&r.From)
	}
	for name, s := range r.With {
		r.vars[name] = true
		all := len(c.d.Mistakes)
		c.name(at+".with."+name, name)
		if slices.Contains(reserved, name) {
			c.bad(at+".with."+name, "the name %s has a meaning of its own", name)
		}
		c.ofKeys = append(c.ofKeys, c.d.Mistakes[all:]...)
		c.d.Mistakes = c.d.Mistakes[:all]
		if s == nil || s.Kind == "" {
			c.bad(at+".with."+name, "is empty")
			continue
		}
		if !s.Looks() {
			c.bad(at+".with."+name, "%s tells lines; want values", s.Kind)
		}
		c.source(s)
	}
	c.about(at, r)
	c.trigger(at, r)
	c.does(at, r)
	if len(r.Tests) > maxTests {
		c.bad(at+".tests", "want at most %d tests, got %d", maxTests, len(r.Tests))
	}
	for i := range r.Tests {
		path := index(at+".tests", i)
		r.Tests[i].expects = c.written(path + ".expect")
		if n := r.Tests[i].Repeat; n < 0 || n > maxRepeat || n == 0 && c.written(path+".repeat") {
			c.bad(path+".repeat", "want a number from 1 to %d, got %d", maxRepeat, n)
		}
	}
}

// placesOf is where the keys of a rule stand, for what is found in it later: LINE:COLUMN.
func (c *compiler) placesOf(at string) map[string]string {
	all := map[string]string{}
	for _, key := range []string{"", "why", "from", "match", "where", "key", "when", "state", "do", "on_change", "on_no_data",
		"heal", "tests"} {
		path := at
		if key != "" {
			path += "." + key
		}
		if key == "" || c.written(path) {
			line, column := c.d.PlaceOf(path)
			all[key] = fmt.Sprintf("%d:%d", line, column)
		}
	}
	return all
}

// source adds a source to those of the set, which has each once.
func (c *compiler) source(s *Source) {
	if !slices.ContainsFunc(c.set.Sources, func(o *Source) bool { return o.ID == s.ID }) {
		c.set.Sources = append(c.set.Sources, s)
	}
}

// about checks which lines or values a rule is about.
func (c *compiler) about(at string, r *Rule) {
	if r.Match != "" && r.From.Looks() {
		c.bad(at+".match", "%s tells values, not lines; use where", r.From.Kind)
	}
	r.re = c.pattern(at+".match", r.Match)
	c.loose = c.loose || r.re == nil && r.Match != ""
	captures := groups(r.re)
	for _, name := range captures {
		_, short := r.From.kind.Names[name]
		if short || strings.HasPrefix(name, "_") || slices.Contains(reserved, name) || r.vars[name] {
			c.bad(at+".match", "the group %s has the name of something else, so that a line could forge it", name)
		}
	}
	r.where = c.condition(at+".where", r.Where, captures, r)
	for name, t := range r.Captures {
		if t == nil {
			c.bad(at+".captures."+name, "is empty")
			continue
		}
		c.captureType(at+".captures."+name, t)
		if !c.canKnow(r, name, captures) {
			c.bad(at+".captures."+name, "is no group of match, and no field; match has: %s", orNone(captures))
		}
	}
	for i, name := range r.Key {
		if !r.From.Looks() && strings.HasPrefix(name, "labels.") {
			c.bad(index(at+".key", i), "%s tells lines, which have no labels", r.From.Kind)
		}
		c.name(index(at+".key", i), name)
		if !c.canKnow(r, name, captures) {
			c.bad(index(at+".key", i), "%s is no group of match, and no field; match has: %s", name, orNone(captures))
		}
	}
}

// canKnow reports whether a name may stand for something that a rule knows. With values it always may: their labels are not
// known before they are seen.
func (c *compiler) canKnow(r *Rule, name string, captures []string) bool {
	_, short := r.From.kind.Names[name]
	return c.loose || short || r.From.Looks() || slices.Contains(captures, name) || strings.Contains(name, ".") || isField(name) ||
		slices.Contains(reserved, name)
}

func orNone(all []string) string {
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

func (c *compiler) pattern(at, text string) *regexp.Regexp {
	if text == "" {
		return nil
	}
	if len(text) > maxPattern {
		c.bad(at, "has %d bytes; want at most %d", len(text), maxPattern)
		return nil
	}
	re, err := regexp.Compile(text)
	if err != nil {
		c.bad(at, "is no regular expression of RE2: %v", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		return nil
	}
	return re
}

// groups are the names of the groups of an expression.
func groups(re *regexp.Regexp) (all []string) {
	if re == nil {
		return nil
	}
	for _, name := range re.SubexpNames() {
		if name != "" {
			all = append(all, name)
		}
	}
	return all
}

func (c *compiler) condition(at, text string, captures []string, r *Rule) *Condition {
	if text == "" || c.loose {
		return nil
	}
	cond, err := compileCondition(text, captures, r.From.kind.Names, r.vars)
	if err != nil {
		c.bad(at, "%v", err)
		return nil
	}
	return cond
}

// does checks what a rule does.
func (c *compiler) does(at string, r *Rule) {
	if c.names = nil; !c.loose {
		c.names = r.namesOf()
	}
	c.actions(at+".do", r.Do, false)
	c.actions(at+".on_change", r.OnChange, true)
	c.actions(at+".on_no_data", r.OnNoData, false)
	if r.Limit != nil {
		c.oneLimit(at+".limit", r.Limit)
	}
	if r.Cooldown.Trailing && r.Cooldown.For == 0 {
		c.bad(at+".cooldown.trailing", "means nothing without a time")
	}
	switch {
	case r.State != nil && len(r.OnChange) == 0:
		c.bad(at+".on_change", "is missing: what is done when the state changes")
	case r.State == nil && len(r.OnChange)+len(r.OnNoData) > 0:
		c.bad(at+".state", "is missing: on_change and on_no_data are about a state")
	case r.State != nil && len(r.Do) > 0:
		c.bad(at+".do", "means nothing beside state; use on_change")
	case r.State == nil && len(r.Do) == 0:
		c.bad(at+".do", "is missing: what is done")
	}
	if r.Heal != nil {
		c.heal(at+".heal", r)
	}
}

func (c *compiler) heal(at string, r *Rule) {
	h := r.Heal
	from := &r.From
	if h.From != nil {
		if from = h.From; from.Kind == "" {
			c.bad(at+".from", "is empty")
		} else {
			c.source(from)
		}
	}
	if (h.Expect == "") == (h.Where == "") && (h.Expect == "" || from.Looks()) {
		c.bad(at, "want expect, a pattern of a line, or where, a condition")
	}
	if h.Expect != "" && from.Looks() {
		c.bad(at+".expect", "%s tells values, not lines; use where", from.Kind)
	}
	h.re = c.pattern(at+".expect", h.Expect)
	h.where = c.conditionOf(at+".where", h.Where, groups(h.re), from)
	if h.Within <= 0 {
		c.bad(at+".within", "is missing: by when it should be seen")
	}
	if len(h.Else) > 16 {
		c.bad(at+".else", "want at most 16 rungs, got %d", len(h.Else))
	}
	for i, rung := range h.Else {
		if len(rung) == 0 {
			c.bad(index(at+".else", i), "is empty: nothing would be done")
		}
		c.actions(index(at+".else", i), rung, false)
	}
	if h.Then != "" {
		c.name(at+".then", h.Then)
	}
}

// conditionOf compiles a condition over what another source tells, which knows nothing of the rule's With.
func (c *compiler) conditionOf(at, text string, captures []string, from *Source) *Condition {
	if text == "" || from.Kind == "" {
		return nil
	}
	cond, err := compileCondition(text, captures, from.kind.Names, nil)
	if err != nil {
		c.bad(at, "%v", err)
	}
	return cond
}

// word checks one word of an argv.
func (c *compiler) word(at, s string) {
	if name, ok := single(s); ok {
		c.known(at, name)
		return
	}
	switch {
	case strings.Contains(s, "{{"):
		c.bad(at, "want a word that is written out, or one {{NAME}} and nothing besides: a capture is an argument of its own")
	case strings.IndexFunc(s, controls) >= 0:
		c.bad(at, "has control characters")
	}
}

func (c *compiler) unit(at, s string) {
	if _, ok := single(s); !ok && !unitForm.MatchString(s) {
		c.bad(at, "want a unit of systemd, such as electrs.service, got %.60q", s)
		return
	}
	c.word(at, s)
}

// template checks a text with {{NAME}} in it.
func (c *compiler) template(at, s string) {
	if len(s) > maxText {
		c.bad(at, "has %d bytes; want at most %d", len(s), maxText)
	}
	for rest := s; ; {
		_, after, found := strings.Cut(rest, "{{")
		if !found {
			return
		}
		name, tail, closed := strings.Cut(after, "}}")
		if name = strings.TrimSpace(name); !closed || !isName(name) {
			c.bad(at, "{{ begins the name of a capture, and none follows")
			return
		}
		if name != "seen" {
			c.known(at, name)
		}
		rest = tail
	}
}

func (c *compiler) known(at, name string) {
	if c.names != nil && !slices.Contains(c.names, name) && !strings.Contains(name, ".") && !isField(name) {
		c.bad(at, "{{%s}} is nothing that this rule knows; it has: %s", name, strings.Join(c.names, ", "))
	}
}
