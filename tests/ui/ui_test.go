// Package ui looks at the console in a real browser: the built binary with jobs of every kind, whose names and words from
// outside are hostile, Chromium, and a judge of accessibility. console.mjs has what the person before the browser does, browser.mjs how; here
// is the world that it does it to. Both speak by lines: the script says which step begins and what failed, and asks over
// HTTP for what only the outside can do, such as an outage.
package ui

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/base/visible"
	"holdfast/face/ui"
	"holdfast/tests/testenv"
)

const (
	// within bounds the whole visit.
	within = 4 * time.Minute
	// maxScript is how many bytes of JavaScript a browser may have to fetch, compressed.
	maxScript = 150_000
)

func TestConsole(t *testing.T) {
	w := newWorld(t)
	t.Run("the script is small", func(t *testing.T) { scriptIsSmall(t, w.url) })
	visit(t, w, "console.mjs")
}

// On a cold cache the overview is there within a second.
func TestTimedOverview(t *testing.T) {
	visit(t, newWorld(t), "paint.mjs")
}

// visit runs a script, and makes each of its steps a test.
func visit(t *testing.T, w *world, script string) {
	t.Helper()
	program, modules := testenv.Browser(t)
	if !ui.Built() {
		testenv.Missing(t, "the console", fmt.Errorf("it was not built (run make build, which needs npm)"))
	}
	cmd := exec.CommandContext(t.Context(), "node", script)
	cmd.Env = append(os.Environ(), "CHROMIUM="+program, "MODULES="+modules, "CONSOLE="+w.url, "WORLD="+w.control,
		"TOKEN="+token, "READ_TOKEN="+readToken, "HOSTILE="+visible.Text(hostile, ""), "DIR="+w.command.Dir)
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(within, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	steps := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		word, text, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "passed":
			steps++
			t.Run(text, func(*testing.T) {})
		case "failed":
			name, why, _ := strings.Cut(text, ": ")
			t.Run(name, func(t *testing.T) { t.Error(strings.ReplaceAll(why, "\\n", "\n")) })
		default:
			t.Log(lines.Text())
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the visit ended after %d good steps: %v\n%s", steps, err, tail(w.output()))
	}
}

// tail is the end of what a process said.
func tail(text string) string { return text[max(0, len(text)-2000):] }

// scriptIsSmall fetches all scripts that there are, as a browser does that sees every page.
func scriptIsSmall(t *testing.T, url string) {
	all, err := filepath.Glob("../../face/ui/page/built/assets/*.js")
	if err != nil || len(all) == 0 {
		t.Fatalf("there is no script: %v", err)
	}
	if page := string(fetch(t, url+"/", false)); !strings.Contains(page, filepath.Base(all[len(all)-1])) {
		t.Errorf("the page is not the one that was built:\n%s", page)
	}
	bytes := 0
	for _, name := range all {
		bytes += len(fetch(t, url+"/assets/"+filepath.Base(name), true))
	}
	t.Logf("%d bytes of JavaScript, by gzip", bytes)
	if bytes > maxScript {
		t.Errorf("%d bytes of JavaScript, want at most %d", bytes, maxScript)
	}
}

func fetch(t *testing.T, url string, packed bool) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept-Encoding", "gzip") // so that it is not unpacked for us
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body io.Reader = resp.Body
	if !packed {
		if body, err = gzip.NewReader(body); err != nil {
			t.Fatal(err)
		}
	}
	b, err := io.ReadAll(body)
	if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("%s: %d, %v, %v", url, resp.StatusCode, resp.Header, err)
	}
	return b
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
