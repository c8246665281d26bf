package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"holdfast/app"
)

// reference is docs/configuration.md as the code makes it.
//
//go:generate env HOLDFAST_UPDATE=1 go test -run TestReference .
func reference(t *testing.T) []byte {
	t.Helper()
	m, err := theManual(new(face).root())
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Markdown()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The committed reference is what the code makes; HOLDFAST_UPDATE=1 (go generate) writes it.
func TestReferenceIsOfThisCode(t *testing.T) {
	file, want := filepath.Join("..", "..", "docs", "configuration.md"), reference(t)
	if os.Getenv("HOLDFAST_UPDATE") != "" {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if b, err := os.ReadFile(file); err != nil || !bytes.Equal(b, want) {
		t.Errorf("docs/configuration.md is not that of this code (%v); run go generate ./app ./face/cli", err)
	}
	for _, link := range regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(string(want), -1) {
		if _, err := os.Stat(filepath.Join("..", "..", "docs", link[1])); err != nil {
			t.Errorf("a link leads nowhere: %v", err)
		}
	}
	for _, link := range regexp.MustCompile(`\]\(#([^)]+)\)`).FindAllStringSubmatch(string(want), -1) {
		if !hasHeading(string(want), link[1]) {
			t.Errorf("there is no heading #%s", link[1])
		}
	}
}

// hasHeading reports whether a page has a heading that browsers find by an anchor.
func hasHeading(page, anchor string) bool {
	for line := range strings.Lines(page) {
		title := strings.TrimSpace(strings.TrimLeft(line, "#"))
		title = strings.ReplaceAll(strings.ReplaceAll(strings.ToLower(title), ".", ""), " ", "-")
		if strings.HasPrefix(line, "#") && title == anchor {
			return true
		}
	}
	return false
}

// Every kind has an example, which holdfast check has nothing to say against, and which stands in the reference and in the
// manual page.
func TestReferenceHasAnExampleOfEachKind(t *testing.T) {
	page := string(reference(t))
	dir := t.TempDir()
	called(t, "manual", dir)
	roff, err := os.ReadFile(filepath.Join(dir, "man5", "holdfast.yaml.5"))
	if err != nil {
		t.Fatal(err)
	}
	variable := regexp.MustCompile(`\$\{(\w+)\}`)
	examples := app.Examples()
	for name, text := range examples {
		for _, v := range variable.FindAllStringSubmatch(text, -1) {
			t.Setenv(v[1], "x"+v[1])
		}
		t.Setenv("SLACK_URL", "logger://")
		file := filepath.Join(dir, name+".yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(name, "rules") {
			if out := called(t, "supervise", "check", "--rules", file); strings.Count(out, "\n") > 1 {
				t.Errorf("%s: what is hardly meant: %s", name, out)
			}
			called(t, "supervise", "test", "--rules", file)
		} else {
			called(t, "check", "-c", file)
		}
		if !strings.Contains(page, text) {
			t.Errorf("the example %s is not in the reference", name)
		}
	}
	for _, heading := range regexp.MustCompile(`(?m)^##+ (.*)$`).FindAllStringSubmatch(page, -1) {
		switch heading[1] {
		case "The top of the file":
			heading[1] = "holdfast"
		case "Rule files":
			heading[1] = "rules"
		}
		if examples[heading[1]] == "" {
			t.Errorf("%s has no example", heading[1])
		}
	}
	keys := regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(page, -1)
	if len(keys) < 450 {
		t.Errorf("the reference has only %d keys", len(keys))
	}
	for _, k := range keys {
		if !bytes.Contains(roff, []byte(`\fB`+k[1])) {
			t.Errorf("%s is not in the manual page", k[1])
		}
	}
}
