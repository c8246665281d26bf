package robots

import (
	"go/ast"
	goparser "go/parser"
	"go/token"
	"maps"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/temoto/robotstxt"
)

// otherwise are the cases of temoto/robotstxt's tests that RFC 9309 answers in another way.
var otherwise = map[string]string{
	"TestRobotstxtOrg: /path/page1.html for Googlebot": "Google is another token than Googlebot (2.2.1), so the group of * counts",
	"TestParseErrors: errors":                          "what can be read of a file counts, whatever else stands in it (2.3.1.5)",
}

// TestSuite runs the cases of temoto/robotstxt's own tests, as they stand in its source. It is written in Go; so what
// its functions say is read: FromString gives the file, and expectAccess and the like, or a list, what is expected.
func TestSuite(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/temoto/robotstxt").Output()
	if err != nil {
		t.Fatal(err)
	}
	s := suite{t: t, seen: map[string]bool{}}
	for _, name := range []string{"robotstxt_test.go", "google_test.go"} {
		file, err := goparser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		global := map[string]any{}
		for _, d := range file.Decls {
			s.values = global
			if f, ok := d.(*ast.FuncDecl); !ok {
				ast.Inspect(d, s.value)
			} else if strings.HasPrefix(f.Name.Name, "Test") {
				s.test, s.file, s.values = f.Name.Name, nil, maps.Clone(global)
				ast.Inspect(f, s.value)
				ast.Inspect(f, s.call)
				s.lists()
			}
		}
	}
	if s.ran < 90 {
		t.Errorf("%d cases ran", s.ran)
	}
	for name := range otherwise {
		if !s.seen[name] {
			t.Errorf("%s is no case, or not answered in another way", name)
		}
	}
	t.Logf("%d cases", s.ran)
}

// suite is a run of somebody else's tests.
type suite struct {
	t      *testing.T
	test   string         // the function
	values map[string]any // by their names: string, []string, map[string][]string
	file   *string        // that is asked
	ran    int
	seen   map[string]bool // of otherwise
}

// value keeps what a name stands for.
func (s *suite) value(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.ValueSpec:
		for i, name := range n.Names {
			if i < len(n.Values) {
				s.values[name.Name] = s.eval(n.Values[i])
			}
		}
	case *ast.AssignStmt:
		if name, ok := n.Lhs[0].(*ast.Ident); ok && len(n.Lhs) == 1 {
			s.values[name.Name] = s.eval(n.Rhs[0])
		}
	}
	return true
}

// eval returns what an expression is, nil if it is none of what is looked for.
func (s *suite) eval(e ast.Expr) any {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil {
			return text
		}
		return e.Value
	case *ast.ParenExpr:
		return s.eval(e.X)
	case *ast.Ident:
		if e.Name == "true" || e.Name == "false" {
			return e.Name == "true"
		}
		return s.values[e.Name]
	case *ast.BinaryExpr:
		x, ok := s.eval(e.X).(string)
		y, also := s.eval(e.Y).(string)
		if ok && also {
			return x + y
		}
	case *ast.CompositeLit:
		list, dict := []any{}, map[string]any{}
		for _, x := range e.Elts {
			if pair, ok := x.(*ast.KeyValueExpr); ok {
				if key, ok := s.eval(pair.Key).(string); ok {
					dict[key] = s.eval(pair.Value)
				}
				continue
			}
			list = append(list, s.eval(x))
		}
		if len(dict) > 0 {
			return dict
		}
		return list
	}
	return nil
}

// call runs what a call says.
func (s *suite) call(n ast.Node) bool {
	c, ok := n.(*ast.CallExpr)
	if !ok {
		return true
	}
	name, ok := c.Fun.(*ast.Ident)
	if !ok {
		return true
	}
	args := make([]any, len(c.Args))
	for i, a := range c.Args {
		args[i] = s.eval(a)
	}
	var paths []any
	agents := []any{"Somebot", "SomeAgent/1.0 (x)", "", "a b c", "\x00"}
	switch name.Name {
	case "FromString":
		s.file = nil
		if text, ok := args[0].(string); ok {
			s.file = &text
		}
		return true
	case "expectAccess":
		paths, agents = args[3:4], args[4:]
	case "expectAllAgents":
		paths = args[3:4]
	case "expectAll":
		paths = []any{"/", "/admin/", "/search", "/.htaccess"}
	default:
		return true
	}
	for _, path := range paths {
		for _, agent := range agents {
			s.expect(args[2], path, agent)
		}
	}
	return true
}

// expect asks, if all is known that is to be asked.
func (s *suite) expect(allow, path, agent any) {
	want, ok := allow.(bool)
	p, also := path.(string)
	a, too := agent.(string)
	if !ok || !also || !too || s.file == nil {
		return
	}
	s.ran++
	got, line := Parse([]byte(*s.file), a).Allowed(p)
	name := s.test + ": " + p + " for " + a
	switch _, known := otherwise[name]; {
	case got == want:
	case known:
		s.seen[name] = true
	default:
		s.t.Errorf("%s: allowed %v by line %d, want %v", name, got, line, want)
	}
}

// lists runs the tests that are lists and a loop.
func (s *suite) lists() {
	cases := s.values["cases"]
	switch s.test {
	case "TestGroupOrder":
		agents, paths := s.values["agents"].([]any), s.values["paths"].([]any)
		for i := range agents {
			s.expect(false, paths[i], agents[i])
		}
	case "TestURLMatching", "TestURLPrecedence":
		for agent, paths := range cases.(map[string]any) {
			for _, path := range paths.([]any) {
				bare, marked := strings.CutPrefix(path.(string), "^")
				s.expect(marked == (s.test == "TestURLMatching"), bare, agent)
			}
		}
	case "TestAllowAll":
		for _, text := range cases.([]any) {
			file := text.(string)
			s.file = &file
			s.expect(true, "/", "Somebot")
		}
	case "TestStatus":
		for _, c := range cases.([]any) {
			pair := c.([]any)
			status, err := strconv.Atoi(pair[0].(string))
			if err != nil {
				s.t.Fatal(err)
			}
			s.ran++
			r, _ := Answer{Status: status, Header: http.Header{}}.Rules("Somebot", time.Now())
			if got, _ := r.Allowed("/"); got != pair[1].(bool) {
				s.t.Errorf("status %d: allowed %v", status, got)
			}
		}
	case "TestSitemaps":
		s.ran++
		if got := Parse([]byte(*s.file), "a").Sitemaps(); len(got) != 3 {
			s.t.Errorf("sitemaps %q", got)
		}
	case "TestCrawlDelays":
		for agent, want := range map[string]time.Duration{"b": 3500 * time.Millisecond, "f": 5 * time.Second} {
			s.ran++
			if got := Parse([]byte(*s.file), agent).Delay(); got != want {
				s.t.Errorf("delay of %s: %v", agent, got)
			}
		}
	case "TestParseErrors":
		for _, c := range cases.([]any) { // their names, the files, and words of the errors
			s.ran++
			file := c.([]any)[1].(string)
			r := Parse([]byte(file), "bot")
			if ok, _ := r.Allowed("/"); !ok || r.Delay() != 0 {
				s.t.Errorf("%q: what means nothing counts", file)
			}
			if _, err := robotstxt.FromString(file); err != nil {
				s.seen["TestParseErrors: errors"] = true
			}
		}
	}
}

// TestLibrary is why temoto/robotstxt is not what this package stands on: what RFC 9309 answers, and it does not.
func TestLibrary(t *testing.T) {
	for _, c := range []struct {
		why, file, agent, path string
		allow                  bool
	}{
		{"2.2.2: an allow that is as long counts", "user-agent: *\ndisallow: /folder\nallow: /folder\n", "x", "/folder/page", true},
		{"2.2.2: the longest match", "user-agent: *\nallow: /a.pa\ndisallow: /*.p\n", "x", "/a.page", true},
		{"2.2.2: matching starts with the first octet", "user-agent: *\ndisallow: /a*b\n", "x", "/x/a/b", true},
		{"2.2.2: octets are encoded before they are compared", "user-agent: *\ndisallow: /\u30c4\n", "x", "/%E3%83%84", false},
		{"2.2.2: octets are decoded before they are compared", "user-agent: *\ndisallow: /%62%61%7A\n", "x", "/baz", false},
		{"2.2.1: the token is matched whole", "user-agent: goo\ndisallow: /\n", "goobot", "/", true},
		{"2.2.3: $ is the end at the end", "user-agent: *\ndisallow: /a$b\n", "x", "/a$b", false},
		{"2.2.4: other records end no group", "user-agent: x\ncrawl-delay: 1\nuser-agent: y\ndisallow: /\n", "x", "/", false},
		{"2.3.1.5: what can be read counts", "user-agent: *\ndisallow: /a\ncrawl-delay: soon\n", "x", "/a", false},
		{"2.2.2: rules of no group are ignored", "disallow: /b\nuser-agent: *\ndisallow: /a\n", "x", "/a", false},
		{"2.2.2: /robots.txt is allowed", "user-agent: *\ndisallow: /\n", "x", "/robots.txt", true},
	} {
		if got, line := Parse([]byte(c.file), c.agent).Allowed(c.path); got != c.allow {
			t.Errorf("%s: %s: allowed %v by line %d", c.why, c.path, got, line)
		}
		theirs, err := robotstxt.FromString(c.file)
		if err == nil && theirs.TestAgent(c.path, c.agent) == c.allow {
			t.Errorf("%s: the library does it too, by now", c.why)
		}
	}
}

func BenchmarkLibrary(b *testing.B) {
	r, err := robotstxt.FromString(usual)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r.TestAgent("/some/path/page.html?id=12345", "x")
	}
}
