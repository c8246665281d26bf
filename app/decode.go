package app

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"holdfast/base/secret"
)

// decoder turns a YAML tree into Go values and keeps every mistake it meets, so that a person sees
// all of them at once.
type decoder struct {
	file     string
	env      func(string) (string, bool)
	mistakes Mistakes
	aliases  map[*ast.AliasNode]ast.Node // what each stands for
	hidden   map[ast.Node]bool           // literal secrets, which no copy of the text may hold
}

// custom is decoded by itself, not by its fields.
type custom interface {
	decode(d *decoder, n ast.Node, path string)
}

// byteOrderMark is what some editors begin a file with.
var byteOrderMark = []byte("\xef\xbb\xbf")

// parse reads the text as one YAML document; nil means that it is none or an empty one.
func (d *decoder) parse(text []byte) ast.Node {
	f, err := parser.ParseBytes(bytes.TrimPrefix(text, byteOrderMark), 0)
	if err != nil {
		m := Mistake{File: d.file, Text: "this is no YAML"} // err itself shows the text around it
		if e, ok := errors.AsType[yaml.Error](err); ok {
			m.Text = "this is no YAML: " + withoutQuotes(e.GetMessage())
			if t := e.GetToken(); t != nil {
				m.Line, m.Column = t.Position.Line, t.Position.Column
			}
		}
		d.mistakes = append(d.mistakes, m)
		return nil
	}
	var body ast.Node
	for _, doc := range f.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if body != nil {
			d.bad(doc.Body, "", "there is a second document; want one")
			break
		}
		body = doc.Body
	}
	if body == nil {
		d.mistakes = append(d.mistakes, Mistake{File: d.file, Line: 1, Column: 1, Text: "it is empty"})
		return nil
	}
	d.aliases, d.hidden = map[*ast.AliasNode]ast.Node{}, map[ast.Node]bool{}
	m := marks{d, map[string]*ast.AnchorNode{}, map[*ast.AnchorNode]bool{}}
	ast.Walk(m, body)
	for n := range m.unused {
		d.bad(n, "", "a word that begins with & is a name for what follows, and no * stands for it; "+
			"put the value in quotes")
	}
	return body
}

// punctuation is what the parser may quote of its own; what else it quotes is text of the file, which
// may be a secret.
var punctuation = regexp.MustCompile(`'[\]\[{},:]'`)

// withoutQuotes is what the parser says of the kind of mistake; the place says the rest.
func withoutQuotes(message string) string {
	own := punctuation.ReplaceAllString(message, "...")
	at := strings.IndexAny(own, "\"'`")
	if at < 0 {
		return message
	}
	switch kind := strings.TrimRight(message[:at], ": "); {
	case kind == "mapping key":
		return "the key is there twice"
	case strings.HasPrefix(message[at:], "'\t'"), strings.HasPrefix(message[at:], `'\t'`):
		return "there is a tab where a value or a key begins; use spaces"
	case kind == "" || kind == "found character":
		return "a character that has a meaning of its own; put the value in quotes"
	default:
		return kind + "; put the value in quotes"
	}
}

// marks refuses what would silently make another value, or none, of what is written. The word itself
// is not shown: it may be the beginning of a password.
type marks struct {
	d      *decoder
	named  map[string]*ast.AnchorNode // so far
	unused map[*ast.AnchorNode]bool
}

var knownTags = []string{"!!str", "!!int", "!!float", "!!bool", "!!null", "!!seq", "!!map"}

func (f marks) Visit(n ast.Node) ast.Visitor {
	switch n := n.(type) {
	case *ast.TagNode:
		if !slices.Contains(knownTags, n.Start.Value) {
			f.d.bad(n, "", "a word that begins with ! is a tag, which means nothing here; "+
				"put the value in quotes")
		}
	case *ast.AnchorNode:
		ast.Walk(f, n.Value) // first: a name stands for nothing within what it names
		f.named[n.Name.GetToken().Value], f.unused[n] = n, true
		return nil
	case *ast.AliasNode:
		a := f.named[n.Value.GetToken().Value]
		if a == nil {
			f.d.bad(n, "", "a word that begins with * stands for what & names, and nothing above is named "+
				"so; put the value in quotes")
			return f
		}
		f.d.aliases[n] = a.Value
		delete(f.unused, a)
	}
	return f
}

// bad keeps a mistake at the place of n.
func (d *decoder) bad(n ast.Node, path, format string, args ...any) {
	d.mistakes = append(d.mistakes, d.mistake(n, path, format, args...))
}

func (d *decoder) mistake(n ast.Node, path, format string, args ...any) Mistake {
	m := Mistake{File: d.file, Path: path, Text: fmt.Sprintf(format, args...)}
	if t := begin(n); t != nil {
		m.Line, m.Column = t.Position.Line, t.Position.Column
	}
	return m
}

// begin is the first token of a node: for keys and values, that of the first key.
func begin(n ast.Node) *token.Token {
	switch t := n.(type) {
	case nil:
		return nil
	case *ast.MappingNode:
		if len(t.Values) > 0 && !t.IsFlowStyle {
			return t.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return t.Key.GetToken()
	}
	return n.GetToken()
}

// resolve follows anchors, aliases and tags to the node that holds the value.
func (d *decoder) resolve(n ast.Node) ast.Node {
	for range 100 {
		switch t := n.(type) {
		case *ast.AnchorNode:
			n = t.Value
		case *ast.AliasNode:
			n = d.aliases[t]
		case *ast.TagNode:
			n = t.Value
		default:
			return n
		}
	}
	return nil
}

// entry is one key of a mapping with its value.
type entry struct {
	key   string
	at    ast.Node // of the key
	value ast.Node
}

// entries returns the entries of a mapping; ok is false, and a mistake kept, if n is none.
func (d *decoder) entries(n ast.Node, path string) (all []entry, ok bool) {
	var pairs []*ast.MappingValueNode
	switch t := d.resolve(n).(type) {
	case *ast.MappingNode:
		pairs = t.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{t}
	case nil, *ast.NullNode:
		return nil, true
	default:
		d.bad(n, path, "want keys and values, got %s", d.describe(n))
		return nil, false
	}
	seen := map[string]bool{}
	for _, p := range pairs {
		key := p.Key.GetToken().Value
		if p.Key.Type() == ast.MergeKeyType {
			d.bad(p.Key, path, "<< is not understood here; write the keys out")
			continue
		}
		if seen[key] {
			d.bad(p.Key, join(path, key), "the key is there twice")
			continue
		}
		seen[key] = true
		all = append(all, entry{key, p.Key, d.resolve(p.Value)})
	}
	return all, true
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// describe says what a node is, without showing a value that may be a secret.
func (d *decoder) describe(n ast.Node) string {
	switch t := d.resolve(n).(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys and values"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode, nil:
		return "nothing"
	default:
		return fmt.Sprintf("%q", t.GetToken().Value)
	}
}

func empty(n ast.Node) bool { return n == nil || n.Type() == ast.NullType }

// decode puts n into v.
func (d *decoder) decode(n ast.Node, v reflect.Value, path string) {
	if n = d.resolve(n); empty(n) {
		return
	}
	if c, ok := v.Addr().Interface().(custom); ok {
		c.decode(d, n, path)
		return
	}
	switch v.Interface().(type) {
	case secret.Text, time.Duration, Bytes:
		d.scalar(n, v, path)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.decode(n, v.Elem(), path)
	case reflect.Struct:
		d.fields(n, v, path)
	case reflect.Slice:
		d.list(n, v, path)
	case reflect.Map:
		d.dict(n, v, path)
	default:
		d.scalar(n, v, path)
	}
}

func (d *decoder) fields(n ast.Node, v reflect.Value, path string) {
	entries, ok := d.entries(n, path)
	if !ok {
		return
	}
	known := map[string]reflect.Value{}
	var names []string
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if name != "" && name != "-" {
			known[name], names = v.Field(i), append(names, name)
		}
	}
	for _, e := range entries {
		f, ok := known[e.key]
		if !ok {
			d.unknown(e.at, path, e.key, names)
			continue
		}
		d.decode(e.value, f, join(path, e.key))
	}
}

// unknown tells that a key means nothing here, and which do.
func (d *decoder) unknown(at ast.Node, path, key string, names []string) {
	names = slices.Sorted(slices.Values(names))
	d.bad(at, path, "unknown key %q; want one of: %s", key, strings.Join(names, ", "))
}

func (d *decoder) list(n ast.Node, v reflect.Value, path string) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.bad(n, path, "want a list, got %s", d.describe(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values)))
	for i, item := range seq.Values {
		d.decode(item, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
}

func (d *decoder) dict(n ast.Node, v reflect.Value, path string) {
	entries, ok := d.entries(n, path)
	if !ok {
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range entries {
		item := reflect.New(v.Type().Elem()).Elem()
		d.decode(e.value, item, join(path, e.key))
		v.SetMapIndex(reflect.ValueOf(e.key), item)
	}
}

// scalar puts one word or number into v.
func (d *decoder) scalar(n ast.Node, v reflect.Value, path string) {
	raw, ok := text(n)
	if !ok {
		d.bad(n, path, "want a single value, got %s", d.describe(n))
		return
	}
	s, ok := d.expand(n, raw, path)
	if !ok {
		return
	}
	// A value that came out of the environment is not repeated in a message: it may be a secret.
	fail := func(err error) {
		if s != raw {
			err = fmt.Errorf("%s, got what %s holds", strings.SplitN(err.Error(), ", got ", 2)[0], raw)
		}
		d.bad(n, path, "%v", err)
	}
	switch v.Interface().(type) {
	case secret.Text:
		if !strings.Contains(raw, "${") {
			d.hidden[n] = true
		}
		v.SetString(s)
		return
	case time.Duration:
		t, err := ParseDuration(s)
		if err != nil {
			fail(err)
		}
		v.SetInt(int64(t))
		return
	case Bytes:
		b, err := parseBytes(s)
		if err != nil {
			fail(err)
		}
		v.SetInt(int64(b))
		return
	}
	if err := setPlain(v, s); err != nil {
		fail(err)
	}
}

func setPlain(v reflect.Value, s string) error {
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return fmt.Errorf("want true or false, got %q", s)
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		i, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 10, 64)
		if err != nil {
			return fmt.Errorf("want a whole number, got %q", s)
		}
		v.SetInt(i)
	case reflect.Uint64, reflect.Uint32:
		u, err := strconv.ParseUint(strings.ReplaceAll(s, "_", ""), 10, 64)
		if err != nil || v.OverflowUint(u) {
			return fmt.Errorf("want a whole number from 0, got %q", s)
		}
		v.SetUint(u)
	case reflect.Float64:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(f) {
			return fmt.Errorf("want a number, got %q", s)
		}
		v.SetFloat(f)
	default:
		return fmt.Errorf("a %s can't be configured", v.Type())
	}
	return nil
}

// text returns the text of a scalar node as it is written.
func text(n ast.Node) (string, bool) {
	switch t := n.(type) {
	case *ast.LiteralNode:
		return strings.TrimSuffix(t.Value.Value, "\n"), true
	case *ast.StringNode:
		return t.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return t.GetToken().Value, true
	}
	return "", false
}

var variable = regexp.MustCompile(`\$\{([^}]*)\}`)

// expand puts the values of environment variables in the place of ${NAME}.
func (d *decoder) expand(n ast.Node, s, path string) (string, bool) {
	ok := true
	out := variable.ReplaceAllStringFunc(s, func(m string) string {
		name := m[2 : len(m)-1]
		v, set := d.env(name)
		if !set {
			d.bad(n, path, "the environment variable %s is not set", name)
			ok = false
		}
		return v
	})
	return out, ok
}
