package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// everyCommand calls f with each command that people are shown, and the page that it stands in.
func everyCommand(t *testing.T, dir string, f func(t *testing.T, c *cobra.Command, page string)) {
	t.Helper()
	root := new(face).root()
	root.InitDefaultCompletionCmd("help") // as for a command line with arguments
	var walk func(c *cobra.Command, page string)
	walk = func(c *cobra.Command, page string) {
		t.Run(c.CommandPath(), func(t *testing.T) { f(t, c, page) })
		for _, sub := range c.Commands() {
			at := page
			if !c.HasParent() {
				at = filepath.Join(dir, "man1", "holdfast-"+sub.Name()+".1")
			}
			if !sub.Hidden {
				walk(sub, at)
			}
		}
	}
	walk(root, filepath.Join(dir, "man1", "holdfast.1"))
}

// called runs a command line and returns what it prints.
func called(t *testing.T, args ...string) string {
	t.Helper()
	var out, complaint bytes.Buffer
	if code := run(t.Context(), args, terminal{out: &out, err: &complaint}); code != Done {
		t.Fatalf("%v: exit code %d: %s", args, code, &complaint)
	}
	return out.String()
}

// Each command and each flag stands in a manual page and is offered by the completions, with what --help says
// of it; and help fits a terminal.
func TestManualAndCompletionsHaveEveryCommandAndFlag(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1796046000")
	dir := t.TempDir()
	called(t, "manual", dir)
	seen := 0
	everyCommand(t, dir, func(t *testing.T, c *cobra.Command, page string) {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer(`\-`, "-", `\fB`, "", `\fR`, "", `\fI`, "").Replace(string(b))
		if !strings.Contains(text, c.CommandPath()) {
			t.Errorf("%s: the command is not in it", page)
		}
		help := called(t, append(strings.Fields(c.CommandPath())[1:], "--help")...)
		for line := range strings.Lines(help) {
			if n := len([]rune(strings.TrimRight(line, "\n"))); n > 80 && !strings.Contains(page, "completion") { // those words are cobra's
				t.Errorf("help has %d columns: %s", n, line)
			}
		}
		offered := called(t, append(append([]string{"__complete"}, strings.Fields(c.CommandPath())[1:]...), "--")...)
		c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden {
				return
			}
			seen++
			flag := "--" + f.Name
			if !strings.Contains(text, flag) || !strings.Contains(help, flag) {
				t.Errorf("%s, or help: %s is not in it", page, flag)
			}
			if !strings.Contains("\n"+offered, "\n"+flag) {
				t.Errorf("completions do not offer %s, but %s", flag, offered)
			}
		})
		for _, sub := range c.Commands() {
			path := strings.Fields(sub.CommandPath())[1:]
			offered := called(t, append([]string{"__complete"}, path...)...)
			if !sub.Hidden && !strings.Contains("\n"+offered, "\n"+sub.Name()) {
				t.Errorf("completions do not offer %s, but %s", sub.CommandPath(), offered)
			}
		}
	})
	if seen < 200 {
		t.Errorf("only %d flags were looked at", seen)
	}
	testPagesAreRead(t, dir)
}

// testPagesAreRead: groff has nothing to say against a page, and shells can read the completions.
func testPagesAreRead(t *testing.T, dir string) {
	t.Helper()
	pages, _ := filepath.Glob(filepath.Join(dir, "man*", "*"))
	if groff, err := exec.LookPath("groff"); err == nil {
		for _, page := range pages {
			out, err := exec.Command(groff, "-man", "-Tutf8", "-ww", "-z", page).CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Errorf("%s: %v %s", page, err, out)
			}
		}
	}
	if len(pages) < 20 {
		t.Errorf("only %d pages", len(pages))
	}
	for shell, file := range map[string]string{"bash": "bash/holdfast", "zsh": "zsh/_holdfast", "fish": "fish/holdfast.fish"} {
		file = filepath.Join(dir, "completions", file)
		b, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(b, []byte("__complete")) {
			t.Errorf("%s: %v: does not ask holdfast", file, err)
		}
		if path, err := exec.LookPath(shell); err == nil {
			if out, err := exec.Command(path, "-n", file).CombinedOutput(); err != nil {
				t.Errorf("%s: %v %s", file, err, out)
			}
		}
	}
}
