package app

import (
	"os"
	"path/filepath"
	"testing"
)

// From one file system to another the copy is whole before the original goes.
func TestMoveAcrossFileSystems(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	for _, f := range []string{"x", "d/y", "d/e/z"} {
		path := filepath.Join(from, f)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(f), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := copyTree(from, to); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"x", "d/y", "d/e/z"} {
		if b, err := os.ReadFile(filepath.Join(to, f)); err != nil || string(b) != f {
			t.Errorf("%s: got %q, %v", f, b, err)
		}
	}
}
