package strictyaml

import (
	"bytes"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Limits of a file: the parser takes many times as much memory as the text has bytes, it calls itself at each level, and a
// few lines of names and aliases can stand for more than fits any memory.
const (
	MaxBytes  = 4 << 20
	MaxDepth  = 64
	MaxValues = 1_000_000 // with each alias counted as what it stands for
)

// ByteOrderMark is what some editors begin a file with.
var ByteOrderMark = []byte("\xef\xbb\xbf")

// Parse reads a text as one YAML document, and returns nil and keeps a mistake if it is none, or an empty one.
func (d *Decoder) Parse(text []byte) ast.Node {
	switch {
	case len(text) > MaxBytes:
		d.whole("it has %d bytes; want at most %d", len(text), MaxBytes)
		return nil
	case depth(text) > MaxDepth:
		d.whole("it is nested too deep; want at most %d levels", MaxDepth)
		return nil
	}
	// Entries tells of keys that are there twice, and of what else is wrong besides.
	f, err := parser.ParseBytes(bytes.TrimPrefix(text, ByteOrderMark), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		m := Mistake{File: d.File, Text: "this is no YAML"} // err itself shows the text around it
		if e, ok := errors.AsType[yaml.Error](err); ok {
			m.Text = "this is no YAML: " + withoutQuotes(e.GetMessage())
			if t := e.GetToken(); t != nil {
				m.Line, m.Column = t.Position.Line, t.Position.Column
			}
		}
		d.Mistakes = append(d.Mistakes, m)
		return nil
	}
	var body ast.Node
	for _, doc := range f.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if body != nil {
			d.Bad(doc.Body, "", "there is a second document; want one")
			break
		}
		body = doc.Body
	}
	if body == nil {
		d.Mistakes = append(d.Mistakes, Mistake{File: d.File, Line: 1, Column: 1, Text: "it is empty"})
		return nil
	}
	d.aliases = map[*ast.AliasNode]ast.Node{}
	m := marks{d, map[string]*ast.AnchorNode{}, map[*ast.AnchorNode]bool{}}
	ast.Walk(m, body)
	for n := range m.unused {
		d.Bad(n, "", "a word that begins with & is a name for what follows, and no * stands for it; "+
			"put the value in quotes")
	}
	if d.values(body, map[ast.Node]int{}) > MaxValues {
		d.whole("with what * stands for it has more than %d values", MaxValues)
		return nil
	}
	return body
}

// depth is how deep a text may be nested: brackets, and what begins further right.
func depth(text []byte) int {
	most, open := 0, 0
	for line := range bytes.Lines(text) {
		indent := len(line) - len(bytes.TrimLeft(line, " -?:\t"))
		most = max(most, indent/2)
		for _, c := range line {
			switch c {
			case '[', '{':
				open++
				most = max(most, open)
			case ']', '}':
				open = max(0, open-1)
			}
		}
	}
	return most
}

// punctuation is what the parser may quote of its own; what else it quotes is text of the file, which
// may be a secret.
var punctuation = regexp.MustCompile(`'[\]\[{},:]'`)

// withoutQuotes returns a message of the parser without what it quotes of the file; its place says the rest.
func withoutQuotes(message string) string {
	own := punctuation.ReplaceAllString(message, "...")
	at := strings.IndexAny(own, "\"'`")
	if at < 0 {
		return message
	}
	switch kind := strings.TrimRight(message[:at], ": "); {
	case strings.HasPrefix(message[at:], "'\t'"), strings.HasPrefix(message[at:], `'\t'`):
		return "there is a tab where a value or a key begins; use spaces"
	case kind == "" || kind == "found character":
		return "a character that has a meaning of its own; put the value in quotes"
	default:
		return kind + "; put the value in quotes"
	}
}

// marks refuses tags, and names (&, *) that lead nowhere: unquoted values that begin so would silently become other values,
// or none. The word itself is not shown: it may be the beginning of a password.
type marks struct {
	d      *Decoder
	named  map[string]*ast.AnchorNode // so far
	unused map[*ast.AnchorNode]bool
}

var knownTags = []string{"!!str", "!!int", "!!float", "!!bool", "!!null", "!!seq", "!!map"}

func (f marks) Visit(n ast.Node) ast.Visitor {
	switch n := n.(type) {
	case *ast.TagNode:
		if !slices.Contains(knownTags, n.Start.Value) {
			f.d.Bad(n, "", "a word that begins with ! is a tag, which means nothing here; "+
				"put the value in quotes")
		}
	case *ast.AnchorNode:
		ast.Walk(f, n.Value) // first: a name stands for nothing within what it names
		f.named[n.Name.GetToken().Value], f.unused[n] = n, true
		return nil
	case *ast.AliasNode:
		a := f.named[n.Value.GetToken().Value]
		if a == nil {
			f.d.Bad(n, "", "a word that begins with * stands for what & names, and nothing above is named "+
				"so; put the value in quotes")
			return f
		}
		f.d.aliases[n] = a.Value
		delete(f.unused, a)
	}
	return f
}

// values counts the values that n stands for, up to one more than MaxValues. known has the counts of nodes that were met.
func (d *Decoder) values(n ast.Node, known map[ast.Node]int) (total int) {
	n = d.Resolve(n)
	if total, ok := known[n]; ok {
		return total
	}
	var below []ast.Node
	switch t := n.(type) {
	case *ast.MappingNode:
		for _, v := range t.Values {
			below = append(below, v.Value)
		}
	case *ast.MappingValueNode:
		below = append(below, t.Value)
	case *ast.SequenceNode:
		below = t.Values
	}
	total = 1
	for _, b := range below {
		total = min(total+d.values(b, known), MaxValues+1)
	}
	if n != nil {
		known[n] = total
	}
	return total
}
