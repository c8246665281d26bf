package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"holdfast/base/strictyaml"
)

// comments are the texts of the types and fields of a package, by TYPE and TYPE.FIELD.
func comments(t *testing.T, pkg string) map[string]string {
	t.Helper()
	dir := filepath.Join("..", strings.TrimPrefix(pkg, "holdfast/"))
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files: %v", dir, len(files), err)
	}
	texts, others := map[string]string{}, map[string]string{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			decl, ok := n.(*ast.GenDecl)
			if !ok {
				return true
			}
			for _, spec := range decl.Specs {
				typ, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				name := typ.Name.Name
				doc := typ.Doc
				if doc == nil {
					doc = decl.Doc
				}
				texts[name] = plain(doc.Text(), name, nil)
				switch s := typ.Type.(type) {
				case *ast.StructType:
					fieldTexts(texts, name, s)
				case *ast.Ident: // another type under its own name
					others[name] = s.Name
				}
			}
			return true
		})
	}
	for name, other := range others {
		for key, text := range maps.Clone(texts) {
			if field, ok := strings.CutPrefix(key, other+"."); ok {
				texts[name+"."+field] = text
			}
		}
	}
	return texts
}

func fieldTexts(texts map[string]string, typ string, s *ast.StructType) {
	keys := map[string]string{}
	for _, f := range s.Fields.List {
		if f.Tag != nil && len(f.Names) == 1 {
			tag := reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("yaml")
			keys[f.Names[0].Name], _, _ = strings.Cut(tag, ",")
		}
	}
	for _, f := range s.Fields.List {
		doc := f.Doc
		if doc == nil {
			doc = f.Comment
		}
		if len(f.Names) == 1 {
			name := f.Names[0].Name
			texts[typ+"."+name] = plain(doc.Text(), name, keys)
		}
	}
}

// plain is a comment as people read it who know the keys and not the fields.
func plain(comment, name string, keys map[string]string) string {
	text := strings.Join(strings.Fields(comment), " ")
	text = regexp.MustCompile(`^`+name+`( is| are|:) `).ReplaceAllString(text, "")
	text = regexp.MustCompile(`\b[A-Z]+[a-z]+[A-Z]\w*\b`).ReplaceAllStringFunc(text, func(word string) string {
		if key := keys[word]; key != "" && key != "-" {
			return "`" + key + "`"
		}
		return word
	})
	if text == "" {
		return ""
	}
	return strings.TrimSuffix(strings.ToUpper(text[:1])+text[1:], ".") + "."
}

// What the schema says of a key is what stands beside the field. HOLDFAST_UPDATE=1 (go generate) takes it over.
func TestKeyTexts(t *testing.T) {
	packages, want := map[string]map[string]string{}, map[string]string{}
	stored := keyText
	defer func() { keyText = stored }()
	keyText = func(typ reflect.Type, field string) string {
		if !strings.HasPrefix(typ.PkgPath(), "holdfast/") || typ.Name() == "" {
			return ""
		}
		if packages[typ.PkgPath()] == nil {
			packages[typ.PkgPath()] = comments(t, typ.PkgPath())
		}
		name, _, _ := strings.Cut(typ.Name(), "[")
		if field != "" {
			name += "." + field
		}
		text := packages[typ.PkgPath()][name]
		if text != "" {
			want[keyTextName(typ, field)] = text
		}
		return text
	}
	Schema()
	if _, err := RulesSchema(); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("HOLDFAST_UPDATE") != "" {
		b, err := json.MarshalIndent(want, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("keytext.json", append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !maps.Equal(want, keyTexts()) {
		t.Error("keytext.json is not what the comments say; run go generate ./app ./face/cli")
	}
}

// eachKey calls f with every key of a schema, by its path.
func eachKey(s *jsonschema.Schema, path string, f func(path string, s *jsonschema.Schema)) {
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		at := strings.TrimPrefix(path+"."+p.Key, ".")
		f(at, p.Value)
		eachKey(p.Value, at, f)
	}
	if s.Items != nil {
		eachKey(s.Items, path+"[]", f)
	}
	if s.AdditionalProperties != nil {
		eachKey(s.AdditionalProperties, path+".NAME", f)
	}
	for _, one := range append(slices.Clone(s.OneOf), s.AnyOf...) {
		eachKey(one, path, f)
	}
}

func parsedSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	return parsedAs(t, Schema())
}

func parsedAs(t *testing.T, b []byte) *jsonschema.Schema {
	t.Helper()
	s := new(jsonschema.Schema)
	if err := json.Unmarshal(b, s); err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	saysDefault = regexp.MustCompile(`[Dd]efault (".*?"|\S+)`)
	otherwise   = regexp.MustCompile(`(?i)by default|\(the default|\(default|defaults to|default is|default:`)
)

// Every key has a text; and a default that it tells of is the one that the code has, and the other way round.
func TestEveryKeyIsExplained(t *testing.T) {
	paths := map[string]bool{}
	check := func(path string, s *jsonschema.Schema) {
		paths[path] = true
		text := strings.TrimSuffix(s.Description, ".")
		if text == "" {
			t.Errorf("%s: has no text", path)
			return
		}
		if otherwise.MatchString(text) {
			t.Errorf("%s: want a default written as `default VALUE`: %s", path, text)
		}
		told := saysDefault.FindStringSubmatch(text)
		if told != nil {
			told[1] = strings.Trim(strings.TrimRight(told[1], ".,;:"), `"`)
		}
		switch {
		case s.Default == nil && told != nil && isValue(s, told[1]):
			t.Errorf("%s: the code has no default: %s", path, text)
		case s.Default != nil && (told == nil || !sameValue(told[1], s.Default)):
			t.Errorf("%s: the default is %v: %s", path, s.Default, text)
		}
	}
	eachKey(parsedSchema(t), "", check)
	rules, err := RulesSchema()
	if err != nil {
		t.Fatal(err)
	}
	eachKey(parsedAs(t, rules), "", check)
	for _, key := range []string{"rules[].from.journal.unit", "rules[].from.journal.join.quiet", "jobs.NAME.collect.source.http.url"} {
		if !paths[key] {
			t.Errorf("%s: is not in the schema", key)
		}
	}
	if len(paths) < 700 {
		t.Errorf("only %d keys were seen", len(paths))
	}
}

// isValue reports whether a word after default is a value other than nothing.
func isValue(s *jsonschema.Schema, word string) bool {
	if slices.Contains(s.Enum, any(word)) {
		return true
	}
	if s.Type == "boolean" {
		return word == "true"
	}
	n, err := parseBytes(word)
	if err != nil {
		d, err := strictyaml.Duration(word)
		return err == nil && d != 0
	}
	return n != 0
}

// sameValue reports whether a word says what a default is.
func sameValue(word string, v any) bool {
	if word == fmt.Sprint(v) {
		return true
	}
	said, err1 := parseBytes(word)
	is, err2 := parseBytes(fmt.Sprint(v))
	if f, ok := v.(float64); ok { // of JSON
		is, err2 = Bytes(f), nil
	}
	return err1 == nil && err2 == nil && said == is
}

// mistakesOf are what is wrong with a configuration that has a value at a path and nothing else, by the path of each.
func mistakesOf(t *testing.T, value string, paths ...string) Mistakes {
	t.Helper()
	root := map[string]any{}
	for i, path := range paths {
		var v any = value
		if at, given, ok := strings.Cut(path, "="); ok {
			path, v = at, given
		} else if i > 0 || value == "" {
			v = map[string]any{}
		}
		nest(root, strings.Split(path, "."), v)
	}
	b, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Parse("test.yaml", b, func(string) (string, bool) { return "", false })
	found, _ := errors.AsType[Mistakes](err)
	return found
}

// nest puts a value into mappings and lists of one, below keys.
func nest(in map[string]any, keys []string, v any) {
	key, list := strings.CutSuffix(keys[0], "[]")
	if len(keys) == 1 {
		in[key] = v
		return
	}
	next, _ := in[key].(map[string]any)
	if l, ok := in[key].([]any); ok {
		next = l[0].(map[string]any)
	}
	if next == nil {
		next = map[string]any{}
	}
	nest(next, keys[1:], v)
	in[key] = next
	if list {
		in[key] = []any{next}
	}
}

var place = regexp.MustCompile(`\[\d+\]`)

// complains reports whether one of the mistakes is about a key.
func complains(all Mistakes, path, of string) bool {
	return slices.ContainsFunc(all, func(m Mistake) bool {
		at := place.ReplaceAllString(m.Path, "[]")
		inner := strings.HasPrefix(path, at+".") && strings.HasPrefix(m.Text, strings.TrimPrefix(path, at+"."))
		return (at == path || inner) && strings.Contains(m.Text, of)
	})
}

// A key with words to choose from takes each of them, and none besides.
func TestWordsToChooseFromAreThose(t *testing.T) {
	beside := map[string]string{
		"jobs.NAME.collect.source.file.format":           "jobs.NAME.collect.source.file.mode=once",
		"jobs.NAME.collect.sinks.NAME.files.compression": "jobs.NAME.collect.sinks.NAME.files.format=parquet",
		"jobs.NAME.collect.sinks.NAME.policy":            "jobs.NAME.collect.sinks.NAME.sqlite.path=x",
		"jobs.NAME.stream.rows.columns[].type":           "jobs.NAME.stream.rows.time=x",
		"jobs.NAME.stream.streamer.format":               "jobs.NAME.stream.streamer.input=x",
	}
	seen := 0
	eachKey(parsedSchema(t), "", func(path string, s *jsonschema.Schema) {
		again := strings.HasPrefix(path, "jobs.NAME.stream.ingester.sinks.") || strings.HasPrefix(path, "jobs.NAME.crawl.sheets")
		if len(s.Enum) == 0 || again { // which are those of a collect job, and of settings
			return
		}
		seen++
		more := []string{path}
		if b := beside[path]; b != "" {
			more = append(more, b)
		}
		if all := mistakesOf(t, "nonsense", more...); !complains(all, path, "") {
			t.Errorf("%s: takes nonsense: %v", path, all)
		}
		for _, word := range s.Enum {
			if all := mistakesOf(t, fmt.Sprint(word), more...); complains(all, path, "got") || complains(all, path, " is ") {
				t.Errorf("%s: does not take %v: %v", path, word, all)
			}
		}
	})
	if seen < 30 {
		t.Errorf("only %d keys with words were seen", seen)
	}
}

// What has to be given is missed where it is not.
func TestWhatIsRequiredIsMissed(t *testing.T) {
	seen := 0
	eachKey(parsedSchema(t), "", func(path string, s *jsonschema.Schema) {
		all := mistakesOf(t, "", path)
		for _, key := range s.Required {
			seen++
			if at := path + "." + key; !complains(all, at, "") {
				t.Errorf("%s: is not missed: %v", at, all)
			}
		}
	})
	if seen < 25 {
		t.Errorf("only %d keys were seen", seen)
	}
}
