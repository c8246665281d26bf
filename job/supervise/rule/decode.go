package rule

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxFile is the most bytes that a rule file may have: a parser of YAML takes many times as much memory.
const maxFile = 4 << 20

// maxDepth is how deep a file may be nested: what walks over it calls itself.
const maxDepth = 64

// decoder turns YAML into Go values, keeps every mistake that it meets, and where each value was written.
type decoder struct {
	file     string
	env      func(string) (string, bool)
	kinds    Kinds
	mistakes Mistakes
	places   map[string]place
}

// custom is decoded by itself, not by its fields.
type custom interface {
	decode(d *decoder, n ast.Node, path string)
}

// parse reads a text as one YAML document, and returns nil and keeps a mistake if it is none.
func (d *decoder) parse(text []byte) ast.Node {
	if len(text) > maxFile {
		d.whole("it has %d bytes; a rule file has at most %d", len(text), maxFile)
		return nil
	}
	if depth(text) > maxDepth {
		d.whole("it is nested too deep; want at most %d levels", maxDepth)
		return nil
	}
	f, err := parser.ParseBytes(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), 0)
	if err != nil {
		m := Mistake{File: d.file, Text: "this is no YAML"}
		if e, ok := errors.AsType[yaml.Error](err); ok {
			m.Text += ": " + e.GetMessage()
			if t := e.GetToken(); t != nil {
				m.Line, m.Column = t.Position.Line, t.Position.Column
			}
		}
		d.mistakes = append(d.mistakes, m)
		return nil
	}
	var body ast.Node
	for _, doc := range f.Docs {
		switch {
		case doc.Body == nil || doc.Body.Type() == ast.CommentType:
		case body != nil:
			d.bad(doc.Body, "", "there is a second document; want one")
			return body
		default:
			body = doc.Body
		}
	}
	if body == nil {
		d.whole("it is empty; want rules")
	}
	return body
}

// depth is how deep a text may be nested, for a parser that calls itself at each level: brackets, and what begins further right.
func depth(text []byte) int {
	most, open := 0, 0
	for line := range bytes.Lines(text) {
		indent := len(line) - len(bytes.TrimLeft(line, " -?:\t"))
		most = max(most, indent/2)
		for _, c := range line {
			switch c {
			case '[', '{':
				open++
			case ']', '}':
				open = max(0, open-1)
			}
		}
		most = max(most, open)
	}
	return most
}

func (d *decoder) whole(format string, args ...any) {
	d.mistakes = append(d.mistakes, Mistake{File: d.file, Text: fmt.Sprintf(format, args...)})
}

// bad keeps a mistake at the place of a node.
func (d *decoder) bad(n ast.Node, path, format string, args ...any) {
	m := Mistake{File: d.file, Path: path, Text: fmt.Sprintf(format, args...)}
	if t := begin(n); t != nil {
		m.Line, m.Column = t.Position.Line, t.Position.Column
	}
	d.mistakes = append(d.mistakes, m)
}

// wrong keeps a mistake about what stands at a path, or about the nearest thing around it that is written.
func (d *decoder) wrong(path, format string, args ...any) {
	m := Mistake{File: d.file, Path: path, Text: fmt.Sprintf(format, args...)}
	p := d.placeOf(path)
	m.Line, m.Column = p.line, p.column
	d.mistakes = append(d.mistakes, m)
}

func (d *decoder) placeOf(path string) place {
	for path != "" {
		if p, ok := d.places[path]; ok {
			return p
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return place{}
}

// begin is the first token of a node: of keys and values that of the first key.
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

func empty(n ast.Node) bool { return n == nil || n.Type() == ast.NullType }

// plain refuses what makes another value of what is written: a small file with aliases may mean a huge one.
func (d *decoder) plain(n ast.Node, path string) bool {
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode:
		d.bad(n, path, "& and * are not understood here; write it out, or put it in quotes")
	case *ast.TagNode:
		d.bad(n, path, "tags (!) are not understood here; put it in quotes")
	default:
		return true
	}
	return false
}

// entry is one key of a mapping with its value.
type entry struct {
	key   string
	at    ast.Node
	value ast.Node
}

// entries are those of a mapping; ok is false, and a mistake kept, if n is none.
func (d *decoder) entries(n ast.Node, path string) (all []entry, ok bool) {
	var pairs []*ast.MappingValueNode
	switch t := n.(type) {
	case *ast.MappingNode:
		pairs = t.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{t}
	case nil, *ast.NullNode:
		return nil, true
	default:
		d.bad(n, path, "want keys and values, got %s", describe(n))
		return nil, false
	}
	seen := map[string]bool{}
	for _, p := range pairs {
		key, isWord := scalarText(p.Key)
		if !isWord {
			d.bad(p.Key, path, "want a word as the key")
			continue
		}
		if seen[key] {
			d.bad(p.Key, join(path, key), "the key is there twice")
			continue
		}
		seen[key] = true
		all = append(all, entry{key, p.Key, p.Value})
	}
	return all, true
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// describe says what a node is.
func describe(n ast.Node) string {
	switch t := n.(type) {
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

// decode puts n into v.
func (d *decoder) decode(n ast.Node, v reflect.Value, path string) {
	if empty(n) || !d.plain(n, path) {
		return
	}
	if t := begin(n); t != nil {
		d.places[path] = place{t.Position.Line, t.Position.Column}
	}
	if c, ok := v.Addr().Interface().(custom); ok {
		c.decode(d, n, path)
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

// known are the fields of a struct by the names that a file has for them.
func known(v reflect.Value) (fields map[string]reflect.Value, names []string) {
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

func (d *decoder) fields(n ast.Node, v reflect.Value, path string) {
	entries, ok := d.entries(n, path)
	if !ok {
		return
	}
	fields, names := known(v)
	for _, e := range entries {
		f, ok := fields[e.key]
		if !ok {
			d.bad(e.at, path, "unknown key %.60q; want one of: %s", e.key, strings.Join(names, ", "))
			continue
		}
		d.decode(e.value, f, join(path, e.key))
	}
}

// list reads a list; a single value stands for a list of one.
func (d *decoder) list(n ast.Node, v reflect.Value, path string) {
	items := []ast.Node{n}
	if seq, ok := n.(*ast.SequenceNode); ok {
		items = seq.Values
	}
	v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
	for i, item := range items {
		at := fmt.Sprintf("%s[%d]", path, i)
		if empty(item) {
			d.bad(item, at, "is empty")
			continue
		}
		d.decode(item, v.Index(i), at)
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

// scalarText is the text of a single word, number or string as it is written.
func scalarText(n ast.Node) (string, bool) {
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
