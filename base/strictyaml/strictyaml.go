// Package strictyaml decodes YAML that a person wrote into Go values, and keeps every mistake that it meets with its
// place, so that all of them are seen at once. Unknown and doubled keys, tags, merge keys and values of another kind are
// mistakes. A message shows no text of the file that may be a secret but the one word that is wrong.
package strictyaml

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"holdfast/base/secret"
)

// Decoder decodes one file. What is in the fields below Mistakes has to be there before Decode.
type Decoder struct {
	File     string // its name in mistakes
	Mistakes Mistakes

	// Custom decodes n into what v, a pointer, points to, if that decodes itself; nil for none that does.
	Custom func(v any, n ast.Node, path string) bool
	// Scalar puts the text of n into v; by default as SetPlain does. It keeps what is wrong by Bad.
	Scalar func(n ast.Node, text string, v reflect.Value, path string)
	// Single has a single value stand for a list of one.
	Single bool

	aliases map[*ast.AliasNode]ast.Node // what each stands for
	places  map[string]place            // of what was decoded, by path
}

// place is where something stands, from 1.
type place struct{ line, column int }

func (d *Decoder) whole(format string, args ...any) {
	d.Mistakes = append(d.Mistakes, Mistake{File: d.File, Text: secret.Mask(fmt.Sprintf(format, args...))})
}

// Bad keeps a mistake at the place of n.
func (d *Decoder) Bad(n ast.Node, path, format string, args ...any) {
	d.Mistakes = append(d.Mistakes, d.MistakeAt(n, path, format, args...))
}

// MistakeAt is a mistake at the place of n, which is not kept.
func (d *Decoder) MistakeAt(n ast.Node, path, format string, args ...any) Mistake {
	m := Mistake{File: d.File, Path: path, Text: secret.Mask(fmt.Sprintf(format, args...))}
	if t := begin(n); t != nil {
		m.Line, m.Column = t.Position.Line, t.Position.Column
	}
	return m
}

// Wrong keeps a mistake about what was decoded at a path, or about the nearest thing around it that is written.
func (d *Decoder) Wrong(path, format string, args ...any) {
	m := Mistake{File: d.File, Path: path, Text: secret.Mask(fmt.Sprintf(format, args...))}
	m.Line, m.Column = d.PlaceOf(path)
	d.Mistakes = append(d.Mistakes, m)
}

// PlaceOf is where what was decoded at a path begins, or the nearest thing around it that is written; 0 for the file.
func (d *Decoder) PlaceOf(path string) (line, column int) {
	for path != "" {
		if p, ok := d.places[path]; ok {
			return p.line, p.column
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return 0, 0
}

// Written reports whether anything was decoded at a path: by it a 0 that was written is told from nothing.
func (d *Decoder) Written(path string) bool {
	_, ok := d.places[path]
	return ok
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

// Resolve follows anchors, aliases and tags to the node that holds the value.
func (d *Decoder) Resolve(n ast.Node) ast.Node {
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

// Twice is the text of the mistake of a key that is there twice; the first one is decoded.
const Twice = "the key is there twice"

// Entry is one key of a mapping with its value.
type Entry struct {
	Key   string
	At    ast.Node // of the key
	Value ast.Node // resolved
}

// Entries returns the entries of a mapping; ok is false, and a mistake kept, if n is none.
func (d *Decoder) Entries(n ast.Node, path string) (all []Entry, ok bool) {
	var pairs []*ast.MappingValueNode
	switch t := d.Resolve(n).(type) {
	case *ast.MappingNode:
		pairs = t.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{t}
	case nil, *ast.NullNode:
		return nil, true
	default:
		d.Bad(n, path, "want keys and values, got %s", d.describe(n))
		return nil, false
	}
	seen := map[string]bool{}
	for _, p := range pairs {
		if p.Key.Type() == ast.MergeKeyType {
			d.Bad(p.Key, path, "<< is not understood here; write the keys out")
			continue
		}
		key, isWord := Text(p.Key)
		if !isWord {
			d.Bad(p.Key, path, "want a word as the key")
			continue
		}
		if seen[key] {
			d.Bad(p.Key, Join(path, key), Twice)
			continue
		}
		seen[key] = true
		all = append(all, Entry{key, p.Key, d.Resolve(p.Value)})
	}
	return all, true
}

// Join is the path of a key below a path.
func Join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// describe says what a node is.
func (d *Decoder) describe(n ast.Node) string {
	switch t := d.Resolve(n).(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys and values"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode, nil:
		return "nothing"
	default:
		return fmt.Sprintf("%.60q", t.GetToken().Value)
	}
}

// Empty reports whether nothing is written there.
func Empty(n ast.Node) bool { return n == nil || n.Type() == ast.NullType }

// Decode puts n into v, by the names in the `yaml` tags of its fields. What is wrong is kept; what is right beside it is
// decoded.
func (d *Decoder) Decode(n ast.Node, v reflect.Value, path string) {
	if n = d.Resolve(n); Empty(n) {
		return
	}
	if t := begin(n); t != nil {
		if d.places == nil {
			d.places = map[string]place{}
		}
		d.places[path] = place{t.Position.Line, t.Position.Column}
	}
	if d.Custom != nil && d.Custom(v.Addr().Interface(), n, path) {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.Decode(n, v.Elem(), path)
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

// Fields are the fields of a struct by their `yaml` tags, and these names in order.
func Fields(v reflect.Value) (fields map[string]reflect.Value, names []string) {
	fields = map[string]reflect.Value{}
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if name != "" && name != "-" {
			fields[name], names = v.Field(i), append(names, name)
		}
	}
	slices.Sort(names)
	return fields, names
}

func (d *Decoder) fields(n ast.Node, v reflect.Value, path string) {
	entries, ok := d.Entries(n, path)
	if !ok {
		return
	}
	fields, names := Fields(v)
	for _, e := range entries {
		f, ok := fields[e.Key]
		if !ok {
			d.Unknown(e.At, path, e.Key, names)
			continue
		}
		d.Decode(e.Value, f, Join(path, e.Key))
	}
}

// Unknown tells that a key means nothing here, and which do.
func (d *Decoder) Unknown(at ast.Node, path, key string, names []string) {
	names = slices.Sorted(slices.Values(names))
	d.Bad(at, path, "unknown key %.60q; want one of: %s", key, strings.Join(names, ", "))
}

func (d *Decoder) list(n ast.Node, v reflect.Value, path string) {
	var items []ast.Node
	if seq, ok := n.(*ast.SequenceNode); ok {
		items = seq.Values
	} else if d.Single {
		items = []ast.Node{n}
	} else {
		d.Bad(n, path, "want a list, got %s", d.describe(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
	for i, item := range items {
		at := fmt.Sprintf("%s[%d]", path, i)
		if Empty(d.Resolve(item)) {
			d.Bad(item, at, "is empty")
			continue
		}
		d.Decode(item, v.Index(i), at)
	}
}

func (d *Decoder) dict(n ast.Node, v reflect.Value, path string) {
	entries, ok := d.Entries(n, path)
	if !ok {
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range entries {
		item := reflect.New(v.Type().Elem()).Elem()
		d.Decode(e.Value, item, Join(path, e.Key))
		v.SetMapIndex(reflect.ValueOf(e.Key), item)
	}
}

// scalar puts one word or number into v.
func (d *Decoder) scalar(n ast.Node, v reflect.Value, path string) {
	text, ok := Text(n)
	switch {
	case !ok:
		d.Bad(n, path, "want a single value, got %s", d.describe(n))
	case d.Scalar != nil:
		d.Scalar(n, text, v, path)
	default:
		if err := SetPlain(v, text); err != nil {
			d.Bad(n, path, "%v", err)
		}
	}
}

// SetPlain puts a word or number into a string, a bool or a number; _ may stand between digits.
func SetPlain(v reflect.Value, s string) error {
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return fmt.Errorf("want true or false, got %.60q", s)
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		i, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 10, 64)
		if err != nil {
			return fmt.Errorf("want a whole number, got %.60q", s)
		}
		v.SetInt(i)
	case reflect.Uint, reflect.Uint32, reflect.Uint64:
		u, err := strconv.ParseUint(strings.ReplaceAll(s, "_", ""), 10, 64)
		if err != nil || v.OverflowUint(u) {
			return fmt.Errorf("want a whole number from 0, got %.60q", s)
		}
		v.SetUint(u)
	case reflect.Float64:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("want a number, got %.60q", s)
		}
		v.SetFloat(f)
	default:
		return fmt.Errorf("a %s can't be written in a file", v.Type())
	}
	return nil
}

// Text returns the text of a single word, number or string as it is written; ok is false for anything else.
func Text(n ast.Node) (text string, ok bool) {
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
