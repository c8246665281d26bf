package rule

import (
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"holdfast/base/strictyaml"
)

// Filter says which lines or values something is about: all if it says nothing.
type Filter struct {
	Pattern *regexp.Regexp // nil: every line
	Where   *Condition     // nil: all
}

// Filter is what the rule is about.
func (r *Rule) Filter() Filter { return Filter{r.re, r.where} }

// Filter is what has to follow, or must not.
func (f *Follow) Filter() Filter { return Filter{f.re, f.where} }

// Filter is what shows that the actions helped.
func (h *Heal) Filter() Filter { return Filter{h.re, h.where} }

// captures are the named groups of a pattern in a line that it matches.
func captures(re *regexp.Regexp, line []byte) map[string]string {
	at := re.FindSubmatchIndex(line)
	if at == nil {
		return nil
	}
	all := map[string]string{}
	for i, name := range re.SubexpNames() {
		if name != "" && at[2*i] >= 0 {
			all[name] = string(line[at[2*i]:at[2*i+1]])
		}
	}
	return all
}

// Of says which state a value is: on, off, or "" if it is neither; then the error, if there is one, says what is not known.
func (s *State) Of(f *Facts) (string, error) {
	on, err := s.on.Holds(f)
	if on && err == nil {
		return stateOn, nil
	}
	off, offErr := s.off.Holds(f)
	if off && offErr == nil {
		return stateOff, nil
	}
	if err == nil {
		err = offErr
	}
	return "", err
}

// decode reads {for: 30s, trailing: true}, or the time alone.
func (c *Cooldown) decode(d *decoder, n ast.Node, path string) {
	if _, ok := strictyaml.Text(n); ok {
		d.Decode(n, reflect.ValueOf(&c.For).Elem(), path)
		return
	}
	type plain Cooldown
	d.Decode(n, reflect.ValueOf((*plain)(c)).Elem(), path)
}

// namesOf are the names that the actions of a rule may use. Labels of values are not known before they are seen, so that of a
// rule about values any name may be one: nil.
func (r *Rule) namesOf() []string {
	if r.From.Looks() {
		return nil
	}
	all := append(groups(r.re), reserved...)
	if r.When != nil && r.When.Then != nil {
		all = append(all, groups(r.When.Then.re)...)
	}
	for short := range r.From.kind.Names {
		all = append(all, short)
	}
	for name := range r.vars {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// isField reports whether a name has the form of a field of the journal: _SYSTEMD_UNIT.
func isField(name string) bool { return name == strings.ToUpper(name) }
