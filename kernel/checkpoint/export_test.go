package checkpoint_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"holdfast/base/fault"
	"holdfast/kernel/checkpoint"
	"holdfast/tests/testenv"
)

// Export, wipe, import, go on.
func TestExportWipeImportGoOn(t *testing.T) {
	dir, s := filled(t, 3_000)
	want := read(t, s)
	c, err := checkpoint.Create(t.Context(), s, checkpoint.Options{Name: "moving"})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "moving.tar.zst")
	if _, err := checkpoint.ExportFile(t.Context(), c.Path, file, onDisk); err != nil {
		t.Fatal(err)
	}
	_, err = checkpoint.ExportFile(t.Context(), c.Path, file, onDisk)
	if !fault.Is(err, fault.Conflict) {
		t.Errorf("a second export to one file: got %v, want a conflict", err)
	}
	shut(t, s)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	got, err := checkpoint.Import(t.Context(), in, dir, onDisk)
	if err != nil {
		t.Fatal(err)
	}
	if r := sound(t, got.Path); r.Unsealed != 0 || got.Commit != c.Commit || got.Name != "moving" {
		t.Errorf("imported %+v with %d unsealed tables, want commit %d", got, r.Unsealed, c.Commit)
	}
	if _, _, err := checkpoint.Replace(t.Context(), dir, "moving", onDisk); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if got := read(t, s); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	put(t, s, 0, 1000, 2)
	next := create(t, s, checkpoint.Options{})
	if next.Parent != "moving" || next.Serial <= c.Serial {
		t.Errorf("the next checkpoint has parent %q and serial %d", next.Parent, next.Serial)
	}
	shut(t, s)
	// Once more, onto what is there: refused, and nothing changes.
	again, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	_, err = checkpoint.Import(t.Context(), again, dir, onDisk)
	if !fault.Is(err, fault.Conflict) {
		t.Errorf("import of a name that is there: got %v, want a conflict", err)
	}
	sound(t, got.Path)
}

// exported is a small export in memory.
func exported(t testing.TB, late bool) []byte {
	t.Helper()
	_, s := filled(t, 10)
	defer shut(t, s)
	c, err := checkpoint.Create(t.Context(), s, checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !late {
		if err := checkpoint.Seal(t.Context(), s, c.Name, onDisk); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if _, err := checkpoint.Export(t.Context(), c.Path, &out, onDisk); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A bit turned anywhere, a cut anywhere and anything behind the end: refused, and nothing is left.
func TestDamagedExportIsRefused(t *testing.T) {
	data := exported(t, true)
	seed := testenv.Seed(t)
	rng := rand.New(rand.NewPCG(seed, seed))
	refused := func(what string, bad []byte) {
		t.Helper()
		dir := t.TempDir()
		_, err := checkpoint.Import(t.Context(), bytes.NewReader(bad), dir, onDisk)
		if !fault.Is(err, fault.Corrupt) {
			t.Errorf("%s: got %v, want a corrupt fault", what, err)
		}
		all, err := os.ReadDir(filepath.Join(dir, "checkpoints"))
		if err != nil || len(all) != 1 || all[0].Name() != "LOCK" {
			t.Errorf("%s: it left %v (%v)", what, all, err)
		}
	}
	unread := func(what string, bad []byte) { // like refused, and much quicker
		t.Helper()
		_, err := checkpoint.VerifyExport(t.Context(), bytes.NewReader(bad), onDisk)
		if !fault.Is(err, fault.Corrupt) {
			t.Errorf("%s: got %v, want a corrupt fault", what, err)
		}
	}
	for i := range testenv.Count(t, 2000) {
		bad, cut := bytes.Clone(data), data[:rng.IntN(len(data))]
		bad[rng.IntN(len(bad))] ^= 1 << rng.IntN(8)
		unread("flipped bit", bad)
		unread("cut", cut)
		if i%20 == 0 {
			refused("flipped bit", bad)
			refused("cut", cut)
		}
	}
	for i := range 32 * 8 { // the trailer, bit by bit
		bad := bytes.Clone(data)
		bad[len(bad)-1-i/8] ^= 1 << (i % 8)
		unread("flipped bit of the trailer", bad)
	}
	refused("nothing", nil)
	refused("cut trailer", data[:len(data)-1])
	refused("more behind it", append(bytes.Clone(data), 0))
	refused("twice", append(bytes.Clone(data), data...))
	if _, err := checkpoint.VerifyExport(t.Context(), bytes.NewReader(data), onDisk); err != nil {
		t.Errorf("the sound one is refused too: %v", err)
	}
}

// Other people's tools read an export.
func TestTarReadsAnExport(t *testing.T) {
	zstd, err := exec.LookPath("zstd")
	if err != nil {
		testenv.Missing(t, "zstd", err)
	}
	file := filepath.Join(t.TempDir(), "x.tar.zst")
	if err := os.WriteFile(file, exported(t, false), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("tar", "-I", zstd, "-tf", file).CombinedOutput()
	if err != nil || !bytes.HasPrefix(out, []byte("manifest.json\n")) {
		t.Errorf("tar: %v: %s", err, out)
	}
}

func FuzzImport(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("HOLDEXP1"))
	f.Add(exported(f, true))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := checkpoint.VerifyExport(t.Context(), bytes.NewReader(data), onDisk)
		if err != nil && !fault.Is(err, fault.Corrupt) && !fault.Is(err, fault.Permanent) {
			t.Errorf("bytes from outside gave %v, want a corrupt fault (%+v)", err, m)
		}
	})
}
