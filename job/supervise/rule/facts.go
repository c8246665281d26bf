package rule

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"
)

// Facts are what is known of one line or value that was seen, for expressions and actions.
type Facts struct {
	Rule string `json:"rule,omitempty"`
	Key  string `json:"key,omitempty"`
	// Line is a line as it came; its bytes need not be UTF-8.
	Line     []byte            `json:"line,omitempty"`
	Cut      bool              `json:"cut,omitempty"`
	Fields   map[string]string `json:"fields,omitempty"`
	Captures map[string]string `json:"captures,omitempty"`
	// Value, Text and Labels are those of a sample; Value is nil for a line, and set for a word too.
	Value  *float64          `json:"value,omitempty"`
	Text   string            `json:"text,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	// State is on or off, for on_change.
	State string `json:"state,omitempty"`
	Count int    `json:"count,omitempty"`
	// With has the values of the rule's further sources, as far as they are known; Vars what rules have set.
	With map[string]float64 `json:"with,omitempty"`
	Vars map[string]string  `json:"vars,omitempty"`

	names  map[string]string // short names of fields
	groups *regexp.Regexp    // finds the Captures in Line when somebody asks for them; nil if there are none, or they are set
}

// Of says from which source the facts are, whose fields have short names, and which filter they passed. Its captures are looked
// for only when they are asked for, which for most lines they never are.
func (f *Facts) Of(s *Source, by Filter) {
	f.names = s.kind.Names
	if by.Pattern != nil && by.Pattern.NumSubexp() > 0 {
		f.groups = by.Pattern
	}
}

// Captured are the captures.
func (f *Facts) Captured() map[string]string {
	if f.groups != nil {
		f.Captures, f.groups = captures(f.groups, f.Line), nil
	}
	return f.Captures
}

// reserved are the names that expressions and actions have for what is always there.
var reserved = []string{"line", "cut", "fields", "value", "text", "labels", "vars", "state", "rule", "key", "count"}

// Lookup returns what a name stands for: a capture, a field or its short name, labels.NAME, vars.NAME, value, text, line,
// state, state.on, rule, key, count, or one of the values under with.
func (f *Facts) Lookup(name string) (string, bool) {
	switch name {
	case "line":
		return string(f.Line), f.Line != nil
	case "text":
		return f.Text, true
	case "rule":
		return f.Rule, true
	case "key":
		return f.Key, true
	case "count":
		return strconv.Itoa(f.Count), true
	case "state":
		return f.State, f.State != ""
	case "state.on":
		return strconv.FormatBool(f.State == stateOn), f.State != ""
	case "value":
		if f.Value == nil {
			return "", false
		}
		return number(*f.Value), true
	}
	if of, rest, ok := strings.Cut(name, "."); ok {
		var all map[string]string
		switch of {
		case "labels":
			all = f.Labels
		case "vars":
			all = f.Vars
		case "fields":
			all = f.Fields
		default:
			return f.other(name)
		}
		s, ok := all[rest]
		return s, ok
	}
	return f.other(name)
}

func (f *Facts) other(name string) (string, bool) {
	if s, ok := f.Captured()[name]; ok {
		return s, true
	}
	if v, ok := f.With[name]; ok {
		return number(v), true
	}
	if long, ok := f.names[name]; ok {
		name = long
	}
	if s, ok := f.Fields[name]; ok {
		return s, true
	}
	s, ok := f.Labels[name]
	return s, ok
}

// number writes a number as people do: 596000, and not 5.96e+05.
func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// The words for the states of on_change.
const (
	stateOn  = "on"
	stateOff = "off"
)

// env is what an expression knows. What is not known is nil, with which nothing can be computed, so that the expression as a
// whole says nothing.
func (f *Facts) env() map[string]any {
	env := map[string]any{"line": string(f.Line), "cut": f.Cut, "fields": f.Fields, "text": f.Text, "labels": f.Labels,
		"vars": f.Vars, "state": f.State, "rule": f.Rule, "key": f.Key, "count": f.Count, "value": nil}
	if f.Value != nil {
		env["value"] = *f.Value
	}
	for short, long := range f.names {
		if s, ok := f.Fields[long]; ok {
			env[short] = s
		} else {
			env[short] = f.Labels[long]
		}
	}
	for name, s := range f.Captured() {
		env[name] = s
	}
	for name, v := range f.With {
		env[name] = v
	}
	return env
}

// Condition is an expression that is true or false of Facts.
type Condition struct {
	text    string
	program *vm.Program
}

// compileCondition makes a condition; captures, short names and further values are what it may use beside what is always there.
func compileCondition(text string, captures []string, names map[string]string, with map[string]bool) (*Condition, error) {
	env := (&Facts{Captures: map[string]string{}, Fields: map[string]string{}, names: names}).env()
	env["value"], env["labels"], env["vars"] = 0.0, map[string]string{}, map[string]string{}
	for _, name := range captures {
		env[name] = ""
	}
	for name := range with {
		env[name] = 0.0
	}
	// A clock that expressions read would have a replay decide otherwise.
	program, err := expr.Compile(text, expr.Env(env), expr.AsBool(), expr.DisableBuiltin("now"))
	if err != nil {
		if e, ok := errors.AsType[*file.Error](err); ok {
			if strings.Contains(strings.TrimSpace(text), "\n") {
				return nil, fmt.Errorf("is no condition: %s, in its line %d at character %d", e.Message, e.Line, e.Column+1)
			}
			return nil, fmt.Errorf("is no condition: %s, at its character %d", e.Message, e.Column+1)
		}
		return nil, fmt.Errorf("is no condition: %w", err)
	}
	return &Condition{text, program}, nil
}

// never reports whether the condition is false of whatever is seen.
func (c *Condition) never() bool {
	if c == nil {
		return false
	}
	asks := ast.Find(c.program.Node(), func(n ast.Node) bool { _, is := n.(*ast.IdentifierNode); return is })
	is, err := c.Holds(&Facts{})
	return asks == nil && err == nil && !is
}

// Asks returns the names that the condition uses for fields of the source that are not in fields.
func (c *Condition) Asks(s *Source, fields map[string]string) (missing []string) {
	ask := func(name, field string) {
		if _, known := fields[field]; !known && !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
	}
	ast.Find(c.program.Node(), func(n ast.Node) bool {
		switch t := n.(type) {
		case *ast.IdentifierNode:
			if long, ok := s.kind.Names[t.Value]; ok {
				ask(t.Value, long)
			}
		case *ast.MemberNode:
			of, isName := t.Node.(*ast.IdentifierNode)
			if p, isText := t.Property.(*ast.StringNode); isName && isText && of.Value == "fields" {
				ask(p.Value, p.Value)
			}
		}
		return false
	})
	return missing
}

// String is the text of the condition.
func (c *Condition) String() string { return c.text }

// Holds reports whether the condition is true. An error says that this can't be told, because it asks for what is not known.
func (c *Condition) Holds(f *Facts) (bool, error) {
	out, err := expr.Run(c.program, f.env())
	if err != nil {
		if e, ok := errors.AsType[*file.Error](err); ok {
			return false, fmt.Errorf("%s: %s", c.text, e.Message)
		}
		return false, fmt.Errorf("%s: %w", c.text, err)
	}
	is, ok := out.(bool)
	if !ok {
		return false, fmt.Errorf("%s: is neither true nor false", c.text)
	}
	return is, nil
}

// KeyOf returns the key of what was seen: what the names stand for, with commas between. A comma within is written as %2C.
func (f *Facts) KeyOf(names []string) string {
	switch len(names) {
	case 0:
		return ""
	case 1:
		s, _ := f.Lookup(names[0])
		return shorten(escape(s, ','))
	}
	all := make([]string, len(names))
	for i, name := range names {
		s, _ := f.Lookup(name)
		all[i] = escape(s, ',')
	}
	return shorten(strings.Join(all, ","))
}

// LabelKey returns the key of a sample whose rule names none: all of its labels.
func (f *Facts) LabelKey() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(f.Labels)) {
		if name == "" {
			all = append(all, escape(f.Labels[name], ','))
			continue
		}
		all = append(all, escape(name, ',')+"="+escape(f.Labels[name], ','))
	}
	return shorten(strings.Join(all, ","))
}
