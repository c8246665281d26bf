package rule

import (
	"strings"
	"time"
)

// maxCount is the highest count of a When: for each key so many times are kept.
const maxCount = 10_000

// trigger checks when a rule fires.
func (c *compiler) trigger(at string, r *Rule) {
	looks := r.From.Looks()
	switch {
	case r.State != nil && r.When != nil:
		c.bad(at+".when", "means nothing beside state")
		c.state(at+".state", r)
	case r.State != nil && !looks && r.From.Kind != "":
		c.bad(at+".state", "%s tells lines; a state is of values", r.From.Kind)
	case r.State != nil:
		c.state(at+".state", r)
	case r.When == nil:
		r.When = &When{Count: 1}
		if looks && r.where == nil && r.Where == "" {
			c.bad(at+".when", "is missing: each look at a value would act")
		}
	default:
		c.when(at+".when", r)
	}
}

func (c *compiler) state(at string, r *Rule) {
	s := r.State
	if s.On == "" || s.Off == "" {
		c.bad(at, "want on and off: when the state is which")
	}
	s.on = c.condition(at+".on", s.On, nil, r)
	s.off = c.condition(at+".off", s.Off, nil, r)
}

// forms are the keys of a When of which one is set.
func (w *When) forms() (all []string) {
	for _, k := range []struct {
		name string
		set  bool
	}{{"count", w.Count != 0}, {"then", w.Then != nil}, {"without", w.Without != nil}, {"above", w.Above != nil},
		{"below", w.Below != nil}, {"change", w.Change}, {"state", w.State != nil}, {"no_data", w.NoData != 0}} {
		if k.set {
			all = append(all, k.name)
		}
	}
	return all
}

func (c *compiler) when(at string, r *Rule) {
	w := r.When
	forms := w.forms()
	if len(forms) > 1 {
		c.bad(at, "want one of %s: rules of their own can be for the others", strings.Join(forms, ", "))
		if w.Then != nil {
			c.follow(at+".then", r, w.Then)
		}
		if w.Without != nil {
			c.follow(at+".without", r, w.Without)
		}
		return
	}
	if len(forms) == 0 {
		if w.For == 0 {
			c.bad(at, "want one of count, then, without, above, below, change, state, no_data, and for beside where")
			return
		}
		forms = []string{"for"}
	}
	form := forms[0]
	of := map[string]bool{"count": false, "then": false, "without": false, "above": true, "below": true, "change": true,
		"state": true, "for": true}
	if values, ok := of[form]; r.From.Kind == "" { // that is a mistake of its own
	} else if ok && values && !r.From.Looks() {
		c.bad(at+"."+form, "is about values, and %s tells lines", r.From.Kind)
	} else if ok && !values && r.From.Looks() && form != "count" {
		c.bad(at+"."+form, "is about lines, and %s tells values", r.From.Kind)
	}
	c.form(at, r, form)
}

func (c *compiler) form(at string, r *Rule, form string) {
	w := r.When
	switch form {
	case "count":
		if w.Count < 1 || w.Count > maxCount {
			c.bad(at+".count", "want a number from 1 to %d, got %d", maxCount, w.Count)
		}
		if w.Count > 1 {
			c.needs(at, "within", w.Within)
		}
	case "then":
		c.needs(at, "within", w.Within)
		c.follow(at+".then", r, w.Then)
	case "without":
		c.needs(at, "within", w.Within)
		c.follow(at+".without", r, w.Without)
	case "above":
		if w.Until != nil && *w.Until > *w.Above {
			c.bad(at+".until", "want at most %v, or it would never be over", *w.Above)
		}
	case "below":
		if w.Until != nil && *w.Until < *w.Below {
			c.bad(at+".until", "want at least %v, or it would never be over", *w.Below)
		}
	case "for":
		if r.where == nil && r.Where == "" {
			c.bad(at+".for", "wants something that holds: where, above, below or state")
		}
	}
	c.strayWhen(at, w, form)
}

func (c *compiler) strayWhen(at string, w *When, form string) {
	holds := form == "above" || form == "below" || form == "state" || form == "for"
	if w.For != 0 && !holds {
		c.bad(at+".for", "means nothing for %s", form)
	}
	if w.Within != 0 && form != "count" && form != "then" && form != "without" {
		c.bad(at+".within", "means nothing for %s", form)
	}
	if w.Until != nil && form != "above" && form != "below" {
		c.bad(at+".until", "means nothing for %s", form)
	}
	if w.Initial && form != "change" {
		c.bad(at+".initial", "means nothing for %s", form)
	}
}

func (c *compiler) needs(at, key string, d time.Duration) {
	if d <= 0 {
		c.bad(at+"."+key, "is missing: within how long")
	}
}

// follow checks what else is seen.
func (c *compiler) follow(at string, r *Rule, f *Follow) {
	from := &r.From
	if f.From != nil {
		from = f.From
		if from.Kind == "" {
			c.bad(at+".from", "is empty")
		} else {
			c.source(from)
		}
	}
	if from.Looks() && f.Match != "" {
		c.bad(at+".match", "%s tells values, not lines; use where", from.Kind)
	}
	if f.Match == "" && f.Where == "" {
		c.bad(at, "want match or where: what follows")
	}
	f.re = c.pattern(at+".match", f.Match)
	f.where = c.conditionOf(at+".where", f.Where, groups(f.re), from)
	if f.Key == nil {
		f.Key = r.Key
	}
	if len(f.Key) != len(r.Key) {
		c.bad(at+".key", "want as many as the key of the rule has, %d", len(r.Key))
	}
}
