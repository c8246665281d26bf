package rule

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/base/visible"
)

// Call is an Action with what was seen put into it: what is to be done, word by word.
type Call struct {
	// ID is made of the rule, the key, the event, the rung and the place in the list: the same for the same action, whenever it
	// is decided.
	ID    string `json:"id"`
	Rule  string `json:"rule"`
	Key   string `json:"key,omitempty"`
	Event string `json:"event"`
	// Group is the same for all actions of one decision; Name is this one's among them, and After are those that must have
	// succeeded before.
	Group string   `json:"group"`
	Name  string   `json:"name"`
	After []string `json:"after,omitempty"`
	// List is where in the rule the action stands: do, on_change, on_no_data, else[0].
	List string `json:"list,omitempty"`
	// Caused is the ID of the action that caused what led to this one, if it was one.
	Caused string `json:"caused,omitempty"`

	Systemctl string            `json:"systemctl,omitempty"`
	Signal    string            `json:"signal,omitempty"`
	Unit      string            `json:"unit,omitempty"`
	Run       []string          `json:"run,omitempty"`
	RunAs     string            `json:"run_as,omitempty"`
	Env       map[string]string `json:"env,omitempty"`
	HTTP      *Request          `json:"http,omitempty"`
	Notify    string            `json:"notify,omitempty"`
	Text      string            `json:"text,omitempty"`
	Set       string            `json:"set,omitempty"`
	Value     string            `json:"value,omitempty"`
	Holdfast  string            `json:"holdfast,omitempty"`
	Job       string            `json:"job,omitempty"`
	With      map[string]string `json:"with,omitempty"`

	Timeout    time.Duration `json:"timeout"`
	Lock       []string      `json:"lock,omitempty"`
	Retries    int           `json:"retries,omitempty"`
	RetryAfter time.Duration `json:"retry_after,omitempty"`
	Unknown    Unknown       `json:"unknown"`
}

// Request is an HTTP request that is to be made. Its URL and headers, which may hold secrets, are in the rule alone: whoever
// makes it asks the Set for them (Secrets).
type Request struct {
	Method string `json:"method"`
	Body   string `json:"body,omitempty"`
	Type   string `json:"type"` // Content-Type, where the headers say none

	URL     secret.Text            `json:"-"`
	Headers map[string]secret.Text `json:"-"`
}

// Secrets returns the request of a call with its URL and headers, as the rule has them now. The error is NotFound if the rule
// has no such request any more.
func (s *Set) Secrets(c *Call) (*Request, error) {
	r := s.byName[c.Rule]
	if c.HTTP == nil || r == nil {
		return nil, fault.New(fault.NotFound, "there is no request of rule %s any more", c.Rule)
	}
	for _, l := range r.Lists() {
		for i := range l.Actions {
			if a := &l.Actions[i]; l.Name == c.List && a.Name == c.Name && a.HTTP != nil && a.HTTP.Method == c.HTTP.Method {
				req := *c.HTTP
				req.URL, req.Headers = a.HTTP.URL, a.HTTP.Headers
				return &req, nil
			}
		}
	}
	return nil, fault.New(fault.NotFound, "the request %s of rule %s is not there any more", c.Name, c.Rule)
}

// List are the actions that stand under one key of a rule.
type List struct {
	Name    string // do, on_change, on_no_data, else[0]
	Actions Actions
}

// Lists are all actions of a rule.
func (r *Rule) Lists() []List {
	all := []List{{"do", r.Do}, {"on_change", r.OnChange}, {"on_no_data", r.OnNoData}}
	if r.Heal != nil {
		for i, rung := range r.Heal.Else {
			all = append(all, List{index("else", i), rung})
		}
	}
	return all
}

// Has reports whether an action of this name stands in a list of the rule, and may be about the unit; "" is none.
func (r *Rule) Has(list, name, unit string) bool {
	return slices.ContainsFunc(r.Lists(), func(l List) bool {
		return l.Name == list && slices.ContainsFunc(l.Actions, func(a Action) bool {
			_, seen := single(a.Unit) // then it is known when it is seen
			return a.Name == name && (a.Unit == unit || seen && unit != "")
		})
	})
}

// Words is the call as one line, as tests and people have it.
func (c *Call) Words() string {
	switch {
	case c.Systemctl != "":
		return "systemctl " + c.Systemctl + " " + c.Unit
	case c.Signal != "":
		return "signal " + c.Signal + " " + c.Unit
	case c.Run != nil:
		return strings.Join(c.Run, " ")
	case c.HTTP != nil:
		return "http " + c.HTTP.Method + " " + c.HTTP.Body
	case c.Notify != "":
		return "notify " + c.Notify + " " + c.Text
	case c.Set != "":
		return "set " + c.Set + " " + c.Value
	}
	return "holdfast " + c.Holdfast + " " + c.Job
}

// The most bytes of texts; more are cut.
const (
	maxText  = 4096 // of a text for people
	maxValue = 1024 // of a value that is put into one
	maxSet   = 256  // of a value that is set, which is kept
)

// Render puts what was seen into an action, which stands in the list of that name of the rule. Where something can't become an
// argument the error, of kind Invalid, says why: then nothing of the action may be done.
func (r *Rule) Render(list string, a *Action, f *Facts) (Call, error) {
	x := renderer{r, f, nil}
	c := Call{List: list, Rule: r.Name, Key: f.Key, Name: a.Name, After: *a.After, Systemctl: a.Systemctl, Signal: a.Signal,
		RunAs: a.RunAs, Notify: a.Notify, Set: a.Set, Holdfast: a.Holdfast, Job: a.Job, With: a.With, Timeout: a.Timeout, Lock: a.Lock,
		Retries: a.Retries, RetryAfter: a.RetryAfter, Unknown: r.Unknown}
	if a.Unit != "" {
		c.Unit = x.word("unit", a.Unit)
	}
	for i, word := range a.Run {
		c.Run = append(c.Run, x.word(index("run", i), word))
	}
	for name, word := range a.Env {
		if c.Env == nil {
			c.Env = map[string]string{}
		}
		c.Env[name] = x.word("env."+name, word)
	}
	switch {
	case a.Notify != "":
		c.Text = x.text(a.notice(f))
	case a.Set != "":
		c.Value = cut(x.text(a.Value), maxSet)
	case a.HTTP != nil:
		c.HTTP = x.request(a.HTTP)
	}
	if x.err != nil {
		return Call{}, x.err
	}
	return c, nil
}

// notice returns the template of what people are told: that of the rule, or the default.
func (a *Action) notice(f *Facts) string {
	switch {
	case a.Text != "":
		return a.Text
	case f.Key == "":
		return "{{rule}}: {{seen}}"
	}
	return "{{rule}} {{key}}: {{seen}}"
}

// renderer makes words of templates, and keeps the first refusal.
type renderer struct {
	r   *Rule
	f   *Facts
	err error
}

// single returns the name in a word that is one {{NAME}}.
func single(word string) (name string, ok bool) {
	inner, ok := strings.CutPrefix(word, "{{")
	if !ok {
		return "", false
	}
	inner, ok = strings.CutSuffix(inner, "}}")
	name = strings.TrimSpace(inner)
	return name, ok && isName(name)
}

// word returns one word of an argv: the text of the rule, or one capture as a whole.
func (x *renderer) word(at, word string) string {
	name, ok := single(word)
	if !ok {
		return word
	}
	s, known := x.f.Lookup(name)
	if !known {
		x.refuse(at, name, fault.New(fault.Invalid, "is not known"))
		return ""
	}
	t := x.r.typeOf(name)
	if at == "unit" {
		t = &Type{Type: typeUnit, Max: longest[typeUnit]}
	}
	if isNumber := x.f.Value != nil && name == "value" || x.r.vars[name]; isNumber && x.r.Captures[name] == nil {
		s, err := figure(s)
		x.refuse(at, name, err)
		return s
	}
	arg, err := t.Argument(s)
	x.refuse(at, name, err)
	return arg
}

// figure returns a number as an argument. A negative one is refused: many programs would take it for an option.
func figure(s string) (string, error) {
	if strings.ContainsAny(s, "NI") {
		return "", fault.New(fault.Invalid, "%s is no number that a program could be told", s)
	}
	return s, harmless(s)
}

func (x *renderer) refuse(at, name string, err error) {
	if err != nil && x.err == nil {
		x.err = fault.New(fault.Invalid, "%s: {{%s}} %w", at, name, err)
	}
}

// typeOf is the type that a rule gives a name.
func (r *Rule) typeOf(name string) *Type {
	if t := r.Captures[name]; t != nil {
		return t
	}
	return &Type{Type: typeWord, Max: longest[typeWord]}
}

// text puts values into a text for people: without control characters, and cut where it is long.
func (x *renderer) text(template string) string {
	var b strings.Builder
	for template != "" && b.Len() < maxText {
		before, rest, found := strings.Cut(template, "{{")
		b.WriteString(before)
		if !found {
			break
		}
		name, after, _ := strings.Cut(rest, "}}")
		b.WriteString(x.shown(strings.TrimSpace(name)))
		template = after
	}
	return cut(b.String(), maxText)
}

func (x *renderer) shown(name string) string {
	s, ok := x.f.Lookup(name)
	if name == "seen" {
		s, ok = x.f.Seen(), true
	}
	if !ok {
		return "?"
	}
	return visible.Text(strings.ToValidUTF8(cut(s, maxValue), "\uFFFD"), "")
}

// Seen is what was seen in a few words: the line, or the value.
func (f *Facts) Seen() string {
	switch {
	case f.Line != nil:
		return string(f.Line)
	case f.Text != "":
		return f.Text
	case f.Value != nil:
		return number(*f.Value)
	}
	return "no data"
}

func (x *renderer) request(h *HTTP) *Request {
	req := &Request{Method: h.Method, Body: x.text(h.Body), Type: "text/plain; charset=utf-8", URL: h.URL, Headers: h.Headers}
	if h.JSON == nil {
		return req
	}
	body := map[string]string{}
	for name, value := range h.JSON {
		body[name] = x.text(value)
	}
	b, err := json.Marshal(body)
	x.refuse("http.json", "", err)
	req.Body, req.Type = string(b), "application/json"
	return req
}

// cut shortens a text, and marks that it did.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-3], "") + "..."
}
