package rule

import (
	"cmp"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"holdfast/base/secret"
)

// Actions are done one after another, each when the one before it has succeeded; but see Action.After.
type Actions []Action

// Action is one thing that a rule wants done: exactly one of Systemctl, Run, HTTP, Notify, Signal, Set and Holdfast.
//
// Run, Unit and Env are words: each is written out, or is one {{NAME}} as a whole. Text, Body and the values of JSON and Set
// may have several, and text between.
type Action struct {
	// Name is what the key after of others calls it; default the number of its place, from 1.
	Name string `yaml:"name"`
	// Systemctl is what is done with the unit: start, stop, restart, try-restart, reload, reload-or-restart, reset-failed.
	Systemctl string `yaml:"systemctl"`
	// Signal is the signal that all processes of the unit get: HUP, TERM, USR1.
	Signal string `yaml:"signal"`
	// Unit is what systemctl or signal is about.
	Unit string `yaml:"unit"`
	// Run is a program by its absolute path, and its arguments. There is no shell.
	Run []string `yaml:"run"`
	// RunAs is the user that it runs as; default that of Holdfast.
	RunAs string `yaml:"run_as"`
	// Env is its environment, which is empty but for PATH otherwise.
	Env map[string]string `yaml:"env"`
	// HTTP is a request.
	HTTP *HTTP `yaml:"http"`
	// Notify is a target of notify in the configuration.
	Notify string `yaml:"notify"`
	// Text is what it is told; default the rule, its key and what was seen.
	Text string `yaml:"text"`
	// Set gives a value a name, vars.NAME, for the expressions of all rules. It is done with the decision itself.
	Set string `yaml:"set"`
	// Value is what the name is given.
	Value string `yaml:"value"`
	// Holdfast is an order to a job: pause, resume, checkpoint, backfill, replay.
	Holdfast string `yaml:"holdfast"`
	// Job is who gets the order.
	Job string `yaml:"job"`
	// With is what else the order takes.
	With map[string]string `yaml:"with"`

	// Timeout is how long it may take; default 30s.
	Timeout time.Duration `yaml:"timeout"`
	// Lock are the resources that nobody else may use meanwhile.
	Lock []string `yaml:"lock"`
	// After are the actions beside it that must have succeeded before; default the one before it; [] is none.
	After *[]string `yaml:"after"`
	// Retries is how often it is tried again if it fails; default 0.
	Retries int `yaml:"retries"`
	// RetryAfter is the time between two tries; default 10s.
	RetryAfter time.Duration `yaml:"retry_after"`
	// Initial: under on_change, the first value ever seen is a change too.
	Initial bool `yaml:"initial"`
}

// HTTP is a request. A status of 2xx is success.
type HTTP struct {
	// URL that is asked.
	URL secret.Text `yaml:"url"`
	// Method of the request; without it POST.
	Method string `yaml:"method"`
	// Headers of the request.
	Headers map[string]secret.Text `yaml:"headers"`
	// Body of the request.
	Body string `yaml:"body"`
	// JSON is a body of names and texts, in the place of another one.
	JSON map[string]string `yaml:"json"`
}

func (a *Actions) decode(d *decoder, n ast.Node, path string) {
	type plain Actions // without this method
	d.Decode(n, reflect.ValueOf((*plain)(a)).Elem(), path)
}

// kinds are the things that an action may be.
func (a *Action) kinds() (all []string) {
	for _, k := range []struct {
		name string
		set  bool
	}{{"systemctl", a.Systemctl != ""}, {"run", a.Run != nil}, {"http", a.HTTP != nil}, {"notify", a.Notify != ""},
		{"signal", a.Signal != ""}, {"set", a.Set != ""}, {"holdfast", a.Holdfast != ""}} {
		if k.set {
			all = append(all, k.name)
		}
	}
	return all
}

var (
	verbs   = []string{"start", "stop", "restart", "try-restart", "reload", "reload-or-restart", "reset-failed"}
	signals = []string{"HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM", "CONT", "STOP", "WINCH"}
	orders  = []string{"pause", "resume", "checkpoint", "backfill", "replay"}
)

const (
	defaultTimeout = 30 * time.Second
	defaultRetry   = 10 * time.Second
	// maxArguments and maxRetries keep one action small.
	maxArguments = 64
	maxRetries   = 100
)

// actions checks a list of them; names tells which names may be used, and of what type they are.
func (c *compiler) actions(at string, list Actions, change bool) {
	if len(list) > 32 {
		c.bad(at, "want at most 32 actions, got %d", len(list))
	}
	seen := map[string]bool{}
	for i := range list {
		a := &list[i]
		here := index(at, i)
		if a.Name == "" {
			a.Name = itoa(i + 1)
		}
		if a.After == nil {
			a.After = &[]string{}
			if i > 0 {
				*a.After = []string{list[i-1].Name}
			}
		}
		for _, name := range *a.After {
			if !seen[name] {
				c.bad(here+".after", "no action before it is called %.60q", name)
			}
		}
		if seen[a.Name] {
			c.bad(here+".name", "two actions are called %.60q", a.Name)
		}
		seen[a.Name] = true
		if a.Initial && !change {
			c.bad(here+".initial", "means something under on_change alone")
		}
		c.action(here, a)
	}
}

func (c *compiler) action(at string, a *Action) {
	kinds := a.kinds()
	if len(kinds) != 1 {
		c.bad(at, "want exactly one of systemctl, run, http, notify, signal, set and holdfast; got %d", len(kinds))
	}
	for _, kind := range kinds {
		c.ofKind(at, a, kind)
	}
	if len(kinds) == 1 {
		c.stray(at, a, kinds[0])
	}
	c.tries(at, a)
}

func (c *compiler) ofKind(at string, a *Action, kind string) {
	switch kind {
	case "systemctl":
		c.oneOf(at+".systemctl", a.Systemctl, verbs)
		c.unit(at+".unit", a.Unit)
	case "signal":
		a.Signal = strings.TrimPrefix(a.Signal, "SIG")
		c.oneOf(at+".signal", a.Signal, signals)
		c.unit(at+".unit", a.Unit)
	case "run":
		c.run(at, a)
	case "http":
		c.http(at+".http", a.HTTP)
	case "notify":
		c.name(at+".notify", a.Notify)
		c.template(at+".text", a.Text)
	case "set":
		c.name(at+".set", a.Set)
		c.template(at+".value", a.Value)
	case "holdfast":
		c.oneOf(at+".holdfast", a.Holdfast, orders)
		c.name(at+".job", a.Job)
	}
}

// stray refuses what means nothing for this kind of action.
func (c *compiler) stray(at string, a *Action, kind string) {
	for _, k := range []struct {
		key string
		set bool
		of  []string
	}{{"unit", a.Unit != "", []string{"systemctl", "signal"}}, {"run_as", a.RunAs != "", []string{"run"}},
		{"env", a.Env != nil, []string{"run"}}, {"text", a.Text != "", []string{"notify"}},
		{"value", a.Value != "", []string{"set"}}, {"job", a.Job != "", []string{"holdfast"}},
		{"with", a.With != nil, []string{"holdfast"}}} {
		if k.set && !slices.Contains(k.of, kind) {
			c.bad(at+"."+k.key, "means nothing for %s", kind)
		}
	}
}

// WithDefaults returns a with everything filled in that has a default.
func (a Action) WithDefaults() Action {
	a.Timeout, a.RetryAfter = cmp.Or(a.Timeout, defaultTimeout), cmp.Or(a.RetryAfter, defaultRetry)
	return a
}

func (c *compiler) tries(at string, a *Action) {
	*a = a.WithDefaults()
	if a.Retries < 0 || a.Retries > maxRetries {
		c.bad(at+".retries", "want a number from 0 to %d, got %d", maxRetries, a.Retries)
	}
	for i, lock := range a.Lock {
		c.name(index(at+".lock", i), lock)
	}
}

func (c *compiler) run(at string, a *Action) {
	if len(a.Run) == 0 || len(a.Run) > maxArguments {
		c.bad(at+".run", "want a program and at most %d arguments", maxArguments-1)
		return
	}
	program := a.Run[0]
	switch {
	case !path.IsAbs(program) || path.Clean(program) != program || strings.Contains(program, "{{"):
		c.bad(at+".run[0]", "want a program by its absolute path, written out, got %.60q", program)
	case len(c.allow) > 0 && !slices.Contains(c.allow, program):
		c.bad(at+".run[0]", "%s is not under allow", program)
	}
	for i, word := range a.Run {
		c.word(index(at+".run", i), word)
	}
	for name, word := range a.Env {
		if !isName(name) || strings.ContainsAny(name, "-.") {
			c.bad(at+".env."+name, "%.60q is no name of a variable", name)
		}
		c.word(at+".env."+name, word)
	}
	if a.RunAs != "" {
		c.name(at+".run_as", a.RunAs)
	}
}

func (c *compiler) http(at string, h *HTTP) {
	if u := h.URL.Reveal(); !strings.HasPrefix(u, "http://") && !strings.HasPrefix(u, "https://") {
		c.bad(at+".url", "want a URL that begins with http:// or https://")
	}
	if h.Method == "" {
		h.Method = "POST"
	}
	c.oneOf(at+".method", h.Method, []string{"GET", "POST", "PUT", "PATCH", "DELETE"})
	for name, value := range h.Headers {
		if !isName(name) || strings.ContainsAny(value.Reveal(), "\r\n\x00") {
			c.bad(at+".headers."+name, "%.60q is no header", name)
		}
	}
	if h.Body != "" && h.JSON != nil {
		c.bad(at+".json", "want one of body and json")
	}
	c.template(at+".body", h.Body)
	for name, value := range h.JSON {
		c.template(at+".json."+name, value)
	}
}

func (c *compiler) oneOf(at, s string, of []string) {
	if !slices.Contains(of, s) {
		c.bad(at, "want one of %s; got %.60q", strings.Join(of, ", "), s)
	}
}
