package rule

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"holdfast/base/secret"
	"holdfast/base/strictyaml"
)

// Kinds are the kinds of watchers by the names that rule files have for them.
type Kinds map[string]Kind

// Kind is what a rule file may say of one kind of watcher, and what is known of what it tells.
type Kind struct {
	// Config is a pointer to its configuration with nothing set: a struct whose fields have yaml tags. If it has a method
	// Validate() []error, that is called.
	Config any
	// Word is the key that a single word stands for: unit in {unit: bitcoind.service}.
	Word string
	// Looks: it tells values, and not lines.
	Looks bool
	// Polled: it looks now and then, so that Every means something.
	Polled bool
	// Past: it can begin in the past, so that Since means something.
	Past bool
	// Place names what is watched, whatever part of it and however it is read: sources with the same Place can use each other's
	// positions. nil: there are no positions.
	Place func(config any) string
	// Joins says whether a line of this configuration may be several that were joined. nil: never.
	Joins func(config any) bool
	// States are the words that its texts can be; nil if any.
	States []string
	// Names are short names of fields: unit is _SYSTEMD_UNIT. Expressions, keys and actions can use them.
	Names map[string]string
	// Trusted says whether what it tells with this configuration comes from one known writer: the journal of one unit, and not
	// a file that many append to. nil: never.
	Trusted func(config any) bool
}

// Source is what is watched: a kind of watcher, and its configuration.
type Source struct {
	Kind   string
	Config any // a pointer to the kind's configuration
	// Every is how often a polled one looks; default 10s.
	Every time.Duration
	// Since is where it begins when it has no position yet: now (default), boot, or a time.
	Since string

	// ID is the same for all who watch the same thing in the same way, and for as long as the configuration is the same.
	ID string
	// Title is the kind and the configuration for people, without secrets.
	Title string

	kind Kind
}

// defaultEvery is how often what is polled is looked at.
const defaultEvery = 10 * time.Second

func (s *Source) decode(d *decoder, n ast.Node, path string) {
	entries, ok := d.Entries(n, path)
	if !ok {
		return
	}
	before := len(d.Mistakes)
	for _, e := range entries {
		at := strictyaml.Join(path, e.Key)
		switch kind, known := d.kinds[e.Key]; {
		case e.Key == "every":
			d.Decode(e.Value, reflect.ValueOf(&s.Every).Elem(), at)
		case e.Key == "since":
			d.Decode(e.Value, reflect.ValueOf(&s.Since).Elem(), at)
		case !known:
			d.Bad(e.At, path, "unknown key %.60q; want one of: %s, and every and since", e.Key, d.kindNames())
		case s.Kind != "":
			d.Bad(e.At, path, "there is %s already; a source is one thing", s.Kind)
		default:
			s.Kind, s.kind = e.Key, kind
			s.config(d, e.Value, at)
		}
	}
	if s.Kind != "" || len(d.Mistakes) == before { // else a misspelt kind was told
		s.settle(d, path)
	}
}

func (d *decoder) kindNames() string { return strings.Join(slices.Sorted(maps.Keys(d.kinds)), ", ") }

func (s *Source) config(d *decoder, n ast.Node, path string) {
	before := len(d.Mistakes)
	v := reflect.New(reflect.TypeOf(s.kind.Config).Elem())
	s.Config = v.Interface()
	if _, isWord := strictyaml.Text(n); isWord && s.kind.Word != "" {
		fields, _ := strictyaml.Fields(v.Elem())
		d.Decode(n, fields[s.kind.Word], path)
	} else {
		d.Decode(n, v.Elem(), path)
	}
	if c, ok := s.Config.(interface{ Validate() []error }); ok && len(d.Mistakes) == before {
		for _, err := range c.Validate() {
			d.Wrong(path, "%v", err)
		}
	}
}

// settle checks Every and Since, and fills in what follows from the configuration: defaults, ID and Title.
func (s *Source) settle(d *decoder, path string) {
	if s.Kind == "" {
		d.Wrong(path, "want one of: %s", d.kindNames())
		return
	}
	switch {
	case !s.kind.Polled && s.Every != 0:
		d.Wrong(path+".every", "means nothing for %s, which tells by itself", s.Kind)
	case s.kind.Polled && s.Every == 0 && !d.Written(path+".every"):
		s.Every = defaultEvery
	case s.kind.Polled && s.Every < 100*time.Millisecond:
		d.Wrong(path+".every", "want at least 100ms")
	}
	s.since(d, path)
	sum := sha256.Sum256([]byte(s.Kind + canonical(reflect.ValueOf(s.Config).Elem(), true) + s.Every.String() + s.Since))
	s.ID, s.Title = s.Kind+"-"+hex.EncodeToString(sum[:6]), s.title()
}

// title is "unit bitcoind.service", and where more is said all of it: journal {priority: "err", unit: "a.service"}.
func (s *Source) title() string {
	fields, names := strictyaml.Fields(reflect.ValueOf(s.Config).Elem())
	said := slices.DeleteFunc(names, func(name string) bool { return fields[name].IsZero() })
	if len(said) == 1 && said[0] == s.kind.Word {
		return s.Kind + " " + secret.Mask(fields[said[0]].String())
	}
	return s.Kind + " " + secret.Mask(canonical(reflect.ValueOf(s.Config).Elem(), false))
}

func (s *Source) since(d *decoder, path string) {
	switch _, err := time.Parse(time.RFC3339, s.Since); {
	case s.Since == "":
		s.Since = "now"
	case !s.kind.Past:
		d.Wrong(path+".since", "means nothing for %s, which has no past", s.Kind)
	case s.Since != "now" && s.Since != "boot" && err != nil:
		d.Wrong(path+".since", "want now, boot, or a time such as 2026-01-31T12:00:00Z, got %.60q", s.Since)
	}
}

// Looks reports whether the source tells values, and not lines.
func (s *Source) Looks() bool { return s.kind.Looks }

// Place names what is watched, whatever part of it: sources with the same Place can use each other's positions. "" if there
// are none.
func (s *Source) Place() string {
	if s.kind.Place == nil {
		return ""
	}
	return s.Kind + " " + s.kind.Place(s.Config)
}

// Uses says for which rules each source is watched, by its ID: "NAME from", "NAME then", "NAME without", "NAME heal".
func (s *Set) Uses() map[string][]string {
	all := map[string][]string{}
	add := func(r *Rule, as string, from *Source) {
		if from != nil {
			all[from.ID] = append(all[from.ID], r.Name+" "+as)
		}
	}
	for _, r := range s.Rules {
		add(r, "from", &r.From)
		if r.When != nil && r.When.Then != nil {
			add(r, "then", r.When.Then.From)
		}
		if r.When != nil && r.When.Without != nil {
			add(r, "without", r.When.Without.From)
		}
		if r.Heal != nil {
			add(r, "heal", r.Heal.From)
		}
		for _, from := range r.With {
			add(r, "with", from)
		}
	}
	return all
}

// Joins reports whether a line of the source may be several that were joined.
func (s *Source) Joins() bool { return s.kind.Joins != nil && s.kind.Joins(s.Config) }

// Field is the field that has a name, which may be a short one.
func (s *Source) Field(name string) string {
	if long, ok := s.kind.Names[name]; ok {
		return long
	}
	return name
}

// trusted reports whether one known writer writes all of it.
func (s *Source) trusted() bool { return s.kind.Trusted != nil && s.kind.Trusted(s.Config) }

// canonical writes a configuration as a text that is the same for equal ones: what is not set is left out, maps are in order.
func canonical(v reflect.Value, secrets bool) string {
	if t, ok := v.Interface().(secret.Text); ok && !secrets {
		return t.String()
	}
	switch v.Kind() {
	case reflect.Pointer:
		return canonical(v.Elem(), secrets)
	case reflect.Struct:
		fields, names := strictyaml.Fields(v)
		return listed(names, func(name string) (reflect.Value, bool) { return fields[name], !fields[name].IsZero() }, secrets)
	case reflect.Map:
		var names []string
		for _, k := range v.MapKeys() {
			names = append(names, k.String())
		}
		slices.Sort(names)
		return listed(names, func(name string) (reflect.Value, bool) {
			return v.MapIndex(reflect.ValueOf(name).Convert(v.Type().Key())), true
		}, secrets)
	case reflect.Slice:
		all := make([]string, v.Len())
		for i := range all {
			all[i] = canonical(v.Index(i), secrets)
		}
		return "[" + strings.Join(all, ", ") + "]"
	case reflect.String:
		return fmt.Sprintf("%q", v.String())
	}
	return fmt.Sprint(v.Interface())
}

func listed(names []string, value func(string) (reflect.Value, bool), secrets bool) string {
	var all []string
	for _, name := range names {
		if v, set := value(name); set {
			all = append(all, name+": "+canonical(v, secrets))
		}
	}
	return "{" + strings.Join(all, ", ") + "}"
}
