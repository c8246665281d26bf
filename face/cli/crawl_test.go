package cli

import (
	"bytes"
	"strings"
	"testing"

	"holdfast/app/desk"
)

// TestSameDir: a hint names the directory that the command was given, so that a shell takes it as it is.
func TestSameDir(t *testing.T) {
	for dir, want := range map[string]string{"": "", "/a/b-1": " --data-dir /a/b-1", "my dir's": ` --data-dir 'my dir'\''s'`} {
		if got := (&face{dataDir: dir}).sameDir(); got != want {
			t.Errorf("of %q: got %q, want %q", dir, got, want)
		}
	}
}

// TestWhyForbidden: of a URL that was not asked because of its address it is said so, and what lets it be asked.
func TestWhyForbidden(t *testing.T) {
	for status, want := range map[int]bool{-5000: true, -2: false, 200: false} {
		var out bytes.Buffer
		f := &face{terminal: terminal{out: &out, err: &out}}
		f.showWhy(desk.CrawlWhy{URL: "http://10.0.0.1/", State: "failed", Status: status})
		if got := strings.Contains(out.String(), "--allow-address"); got != want {
			t.Errorf("of status %d:\n%s", status, &out)
		}
	}
}
