// Package tests holds the tests of the whole product: the direction of its imports, and the built
// binary against real servers.
package tests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// arrows says, for each room of the house, which rooms it may import; a room means itself and all
// below it. The longest name that fits a package is its rule, and rooms always reach into
// themselves from above (a/b may import a/b/c). A package without a rule is in the wrong place.
var arrows = map[string][]string{
	"":            {"face"}, // main.go
	"face":        {"face", "app", "kernel/engine", "base"},
	"app":         {"job", "kernel", "connector", "base"},
	"app/desk":    {"app", "job", "kernel", "connector", "base"},
	"app/tour":    {"app", "connector", "base"},
	"app/datadir": {"base"},
	"job/*":       {"kernel", "connector.go", "base"},
	"job/stream":  {"job/collect", "job/stream", "kernel", "connector.go", "base"},
	"connector":   {"base"},
	"connector/*": {"connector.go", "connector/delivered", "connector/rowkey", "connector/columns",
		"connector/messages", "connector/shipment", "base"},
	"connector/sinktest":   {"connector.go", "base", "tests/testenv"}, // called by tests only, as is the next
	"connector/tabletest":  {"connector.go", "connector/sinktest", "base", "tests/testenv"},
	"kernel/engine":        {"kernel", "base"},
	"kernel/store":         {"base"},
	"kernel/spool":         {"kernel/store", "base"},
	"kernel/queue":         {"kernel/store", "base"},
	"kernel/balance":       {"kernel/store", "base"},
	"kernel/identity":      {"kernel/store", "base"},
	"kernel/checkpoint":    {"kernel/store", "base"},
	"kernel/gate":          {"kernel/store", "base"},
	"kernel/schedule":      {"kernel/store", "base"},
	"kernel/series":        {"kernel/store", "base"},
	"base/*":               {"base/fault"}, // how errors are told, in base too
	"base/rowfile":         {"base/fault", "base/rowtext"},
	"base/strictyaml":      {"base/fault", "base/secret"},
	"base/cdxj":            {"base/fault", "base/warc"},
	"base/logging":         {"base/disk", "base/fault", "base/secret", "base/visible"},
	"base/fault":           {},
	"tests/testenv":        {}, // so that every package's tests can use it
	"tests/testenv/frames": {"base/fits"},
	"tests":                {"face", "app", "job", "kernel", "connector", "base"},
	"bench":                {"face", "app", "job", "kernel", "connector", "base", "tests"},
}

// levels are the rooms from bottom to top. A test may look sideways, but not up.
var levels = [][]string{
	{"base", "tests/testenv"}, {"kernel", "connector"}, {"job"}, {"app"}, {"face"},
	{"", "tests", "bench"},
}

// noHome are names of packages that hold what has no subject.
var noHome = []string{"util", "utils", "common", "helpers", "misc", "types"}

// within reports whether a package is a room or below it. "connector.go" is the package of the
// contracts alone.
func within(pkg, room string) bool {
	if room == "connector.go" {
		return pkg == "connector"
	}
	return pkg == room || room != "" && strings.HasPrefix(pkg, room+"/")
}

// rule is the entry of arrows for a package, and the room that it stands for.
func rule(pkg string) (room string, allowed []string, ok bool) {
	for at := pkg; ; at = path.Dir(at) {
		if allowed, ok := arrows[at]; ok && (at != "" || pkg == "") {
			return at, allowed, true
		}
		if allowed, ok := arrows[path.Dir(at)+"/*"]; ok {
			return at, allowed, true
		}
		if !strings.Contains(at, "/") {
			return "", nil, false
		}
	}
}

func level(pkg string) int {
	return slices.IndexFunc(levels, func(rooms []string) bool {
		return slices.ContainsFunc(rooms, func(room string) bool { return within(pkg, room) })
	})
}

// fault says what is wrong with one package of ours importing another, or "".
func fault(from, to string, test bool) string {
	room, allowed, ok := rule(from)
	switch {
	case !ok:
		return "has no place in the house"
	case test && level(to) <= level(from):
		return ""
	case within(to, room) && room != "":
		return ""
	case slices.ContainsFunc(allowed, func(room string) bool { return within(to, room) }):
		return ""
	}
	return "may not import " + to
}

// source is what the tests below look at in one file.
type source struct {
	pkg     string // directory below the module's root
	file    string
	test    bool
	imports []string
	comment bool // it has the package comment
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != ".." && (strings.HasPrefix(d.Name(), ".") ||
			d.Name() == "testdata" || d.Name() == "node_modules"):
			return filepath.SkipDir
		case !strings.HasSuffix(name, ".go"):
			return nil
		}
		tree, err := parser.ParseFile(token.NewFileSet(), name, nil,
			parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		all = append(all, newSource(name, tree))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func newSource(name string, tree *ast.File) source {
	rel, _ := filepath.Rel("..", name)
	s := source{
		pkg:     strings.TrimPrefix(path.Dir(rel), "."),
		file:    rel,
		test:    strings.HasSuffix(name, "_test.go"),
		comment: tree.Doc != nil,
	}
	for _, i := range tree.Imports {
		to, _ := strconv.Unquote(i.Path.Value)
		s.imports = append(s.imports, to)
	}
	return s
}

func TestArrows(t *testing.T) {
	pebble := false
	for _, s := range sources(t) {
		if slices.Contains(noHome, path.Base(s.pkg)) {
			t.Errorf("%s: a package needs a subject, %q is none", s.file, path.Base(s.pkg))
		}
		for _, to := range s.imports {
			if strings.HasPrefix(to, "github.com/cockroachdb/pebble") {
				pebble = true
				if !within(s.pkg, "kernel/store") {
					t.Errorf("%s imports Pebble, which is kernel/store's alone", s.file)
				}
			}
			ours, ok := strings.CutPrefix(to, "holdfast/")
			if !ok {
				continue
			}
			if is := fault(s.pkg, ours, s.test); is != "" {
				t.Errorf("%s %s", s.file, is)
			}
		}
	}
	if !pebble {
		t.Error("nobody imports Pebble: the test looks in the wrong place")
	}
}

// Each package has one package comment, in the file that is named like it.
func TestArrowsPackageComments(t *testing.T) {
	comments := map[string][]string{}
	tested := map[string]bool{} // packages that are nothing but tests
	for _, s := range sources(t) {
		if _, seen := tested[s.pkg]; !seen {
			tested[s.pkg] = true
		}
		tested[s.pkg] = tested[s.pkg] && s.test
		if s.comment {
			comments[s.pkg] = append(comments[s.pkg], s.file)
		} else if comments[s.pkg] == nil {
			comments[s.pkg] = []string{}
		}
	}
	for pkg, files := range comments {
		if len(files) != 1 {
			t.Errorf("package %q: package comment in %v, want it in one file", pkg, files)
			continue
		}
		name := strings.TrimSuffix(filepath.Base(files[0]), ".go")
		if !tested[pkg] && name != path.Base(pkg) && name != "main" {
			t.Errorf("package %q: its comment is in %s, want %s.go", pkg, files[0], path.Base(pkg))
		}
	}
}

// The rules themselves: each of these would otherwise pass unseen.
func TestArrowsRules(t *testing.T) {
	for _, c := range []struct {
		from, to string
		test     bool
		good     bool
	}{
		{"", "face/cli", false, true},
		{"", "app", false, false},
		{"face/cli", "face/api", false, true},
		{"face/cli", "kernel/engine", false, true},
		{"face/cli", "kernel/store", false, false},
		{"face/cli", "job/collect", false, false},
		{"app", "job/collect", false, true},
		{"app", "connector/sqlite", false, true},
		{"app", "face/cli", false, false},
		{"app/desk", "app", false, true},
		{"app/desk", "job/collect", false, true},
		{"app/desk", "face/api", false, false},
		{"app/tour", "app", false, true},
		{"app/tour", "job/crawl", false, false},
		{"app/datadir", "app", false, false},
		{"job/collect", "connector", false, true},
		{"job/collect", "connector/sqlite", false, false},
		{"job/collect", "job/stream", false, false},
		{"job/collect", "job/collect/plan", false, true},
		{"job/collect", "kernel/spool", false, true},
		{"connector/sqlite", "connector", false, true},
		{"connector/sqlite", "connector/clickhouse", false, false},
		{"connector/sqlite", "kernel/store", false, false},
		{"connector/wsprnet/simulator", "connector/wsprnet", false, true},
		{"connector", "kernel/spool", false, false},
		{"kernel/spool", "kernel/store", false, true},
		{"kernel/spool", "kernel/queue", false, false},
		{"kernel/store", "kernel/spool", false, false},
		{"kernel/engine", "kernel/spool", false, true},
		{"kernel/engine", "connector", false, false},
		{"kernel/rumour", "base/record", false, false},
		{"base/record", "base/fault", false, true},
		{"base/record", "base/disk", false, false},
		{"base/fault", "base/record", false, false},
		{"tests/testenv", "base/record", false, false},
		{"shed", "base/record", false, false},
		{"kernel/spool", "kernel/queue", true, true},
		{"connector/sqlite", "tests/testenv", true, true},
		{"connector/sqlite", "tests/testenv", false, false},
		{"kernel/spool", "job/collect", true, false},
		{"base/record", "kernel/store", true, false},
	} {
		if is := fault(c.from, c.to, c.test); (is == "") != c.good {
			t.Errorf("%q imports %q (test: %v): %q, want it to be good: %v",
				c.from, c.to, c.test, is, c.good)
		}
	}
}
