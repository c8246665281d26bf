package checkpoint_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"holdfast/kernel/checkpoint"
)

var update = flag.Bool("update", false, "write the export of the present format, if there is none")

// An export of each released format can be imported and restored for ever. It was made with late
// checksums, so all that a checkpoint can consist of is in it.
func TestGoldenExport(t *testing.T) {
	file := filepath.Join("testdata", "v1", "export.tar.zst")
	if _, err := os.Stat(file); os.IsNotExist(err) && *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, exported(t, true), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	dir := filepath.Join(t.TempDir(), "job")
	c, err := checkpoint.Import(t.Context(), in, dir, onDisk)
	if err != nil {
		t.Fatal(err)
	}
	if r := sound(t, c.Path); r.Unsealed != 0 {
		t.Errorf("%d tables without a checksum", r.Unsealed)
	}
	replace(t, dir, c.Name)
	_, s := filled(t, 10)
	defer shut(t, s)
	if got, want := readDir(t, dir), read(t, s); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
