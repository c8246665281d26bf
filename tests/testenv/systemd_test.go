package testenv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A systemd of its own runs units and keeps a journal, and the host's files are what they were.
func TestSystemd(t *testing.T) {
	sentinel := filepath.Join(os.TempDir(), "holdfast-sentinel")
	if err := os.WriteFile(sentinel, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("boot", func(t *testing.T) {
		s := Systemd(t, map[string]string{"hello.service": "[Service]\nExecStart=/bin/echo hello\n"})
		s.Run("systemctl", "start", "hello.service")
		Until(t, startWithin, "journal has the unit's line", func() bool {
			return strings.Contains(s.Run("journalctl", "-o", "cat", "-u", "hello.service"), "hello\n")
		})
		if out := s.Run("ps", "-A", "-o", "pid="); len(strings.Fields(out)) > 20 {
			t.Errorf("it sees processes of the host: %s", out)
		}
	})
	if err := os.Remove(sentinel); err != nil {
		t.Errorf("the host's temporary directory was touched: %v", err)
	}
}
