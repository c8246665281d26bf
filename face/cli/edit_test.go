package cli

import (
	"os"
	"path/filepath"
	"testing"
)

// TestEditor: $EDITOR may have arguments, and its failure is told.
func TestEditor(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a row.json")
	if err := os.WriteFile(file, []byte(`{"snr": -300}`), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("VISUAL", "")
	t.Setenv("EDITOR", "sed -i s/-300/-30/")
	if err := edit(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != `{"snr": -30}` {
		t.Errorf("got %s (%v)", b, err)
	}
	t.Setenv("EDITOR", "false")
	if edit(t.Context(), file) == nil {
		t.Error("an editor that fails was taken for one that did not")
	}
}
