package rule

import (
	"net/netip"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"

	"holdfast/base/fault"
	"holdfast/base/strictyaml"
)

// Type is what a capture or a field must be to become an argument of a program.
type Type struct {
	// Type is word (letters, digits, and . _ : @ + -), int (digits), ip (an address), unit (of systemd), enum or path.
	Type string `yaml:"type"`
	// Max is the most bytes; without it 19 of an int, 64 of a word, 255 of a unit, 1024 of a path. A longer one is refused,
	// not cut.
	Max int `yaml:"max"`
	// Enum are the words that it may be.
	Enum []string `yaml:"enum"`
	// PathUnder is the directory that the path must be in. Links there are followed by who opens it.
	PathUnder string `yaml:"path_under"`
}

// decode reads {type: word, max: 32}, {enum: [a, b]}, {path_under: DIR}, or the type alone.
func (t *Type) decode(d *decoder, n ast.Node, path string) {
	if s, ok := strictyaml.Text(n); ok {
		t.Type = s
		return
	}
	type plain Type
	d.Decode(n, reflect.ValueOf((*plain)(t)).Elem(), path)
}

const (
	typeWord = "word"
	typeInt  = "int"
	typeIP   = "ip"
	typeUnit = "unit"
	typeEnum = "enum"
	typePath = "path"
)

var longest = map[string]int{typeWord: 64, typeInt: 19, typeIP: 64, typeUnit: 255, typeEnum: 255, typePath: 1024}

func (c *compiler) captureType(at string, t *Type) {
	switch {
	case t.Enum != nil && t.PathUnder != "":
		c.bad(at, "want one of enum and path_under")
	case t.Enum != nil && t.Type == "":
		t.Type = typeEnum
	case t.PathUnder != "" && t.Type == "":
		t.Type = typePath
	}
	if t.Type == typePath && (!path.IsAbs(t.PathUnder) || path.Clean(t.PathUnder) != t.PathUnder) {
		c.bad(at+".path_under", "want a directory by its absolute path, got %.60q", t.PathUnder)
	}
	if t.Type == typeEnum && len(t.Enum) == 0 {
		c.bad(at+".enum", "is empty, so that nothing would do")
	}
	for i, s := range t.Enum {
		if err := harmless(s); err != nil {
			c.bad(index(at+".enum", i), "%v", err)
		}
	}
	most, ok := longest[t.Type]
	switch {
	case !ok:
		c.bad(at, "want word, int, ip, unit, {enum: [...]} or {path_under: DIR}; got %.60q", t.Type)
	case t.Max == 0:
		t.Max = most
	case t.Max < 0 || t.Max > 4096:
		c.bad(at+".max", "want a number from 1 to 4096, got %d", t.Max)
	}
}

var (
	wordForm = regexp.MustCompile(`^[A-Za-z0-9_.:@+][A-Za-z0-9_.:@+-]*$`)
	intForm  = regexp.MustCompile(`^[0-9]+$`)
	unitForm = regexp.MustCompile(`^[A-Za-z0-9:_.@\\][A-Za-z0-9:_.@\\-]*\.` +
		`(service|socket|timer|mount|automount|target|path|scope|slice|swap|device)$`)
)

// Argument returns s as one argument of a program, or an error of kind Invalid that says why it can't be one. Whatever the type,
// what could be taken for an option, or for more than one line, is refused.
func (t *Type) Argument(s string) (string, error) {
	if err := harmless(s); err != nil {
		return "", err
	}
	if len(s) > t.Max {
		return "", fault.New(fault.Invalid, "has %d bytes; at most %d are taken", len(s), t.Max)
	}
	switch t.Type {
	case typeIP:
		ip, err := netip.ParseAddr(s)
		if err != nil || ip.Zone() != "" {
			return "", fault.New(fault.Invalid, "%.80q is no address", s)
		}
		return ip.String(), nil
	case typePath:
		if path.Clean(s) != s || !strings.HasPrefix(s, strings.TrimSuffix(t.PathUnder, "/")+"/") {
			return "", fault.New(fault.Invalid, "%.80q is no path in %s", s, t.PathUnder)
		}
		return s, nil
	}
	if !t.fits(s) {
		return "", fault.New(fault.Invalid, "%.80q is no %s", s, t.Type)
	}
	return s, nil
}

func (t *Type) fits(s string) bool {
	switch t.Type {
	case typeInt:
		return intForm.MatchString(s)
	case typeUnit:
		return unitForm.MatchString(s)
	case typeEnum:
		return slices.Contains(t.Enum, s)
	}
	return wordForm.MatchString(s)
}

// harmless refuses what no argument may be: empty, an option, no UTF-8, or with control characters.
func harmless(s string) error {
	switch {
	case s == "":
		return fault.New(fault.Invalid, "is empty")
	case s[0] == '-':
		return fault.New(fault.Invalid, "%.80q begins with -, and would be an option", s)
	case !utf8.ValidString(s):
		return fault.New(fault.Invalid, "%.80q is no UTF-8", s)
	case strings.IndexFunc(s, controls) >= 0:
		return fault.New(fault.Invalid, "%.80q has control characters", s)
	}
	return nil
}

// controls reports whether a character is invisible: control characters, ends of lines, and what turns the direction of text.
func controls(r rune) bool {
	return unicode.Is(unicode.C, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r)
}
