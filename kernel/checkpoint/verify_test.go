package checkpoint_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/base/fault"
	"holdfast/kernel/checkpoint"
	"holdfast/tests/testenv"
)

// twin copies a checkpoint, so that it can be damaged.
func twin(t testing.TB, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := os.CopyFS(to, os.DirFS(path)); err != nil {
		t.Fatal(err)
	}
	return to
}

// kinds sorts the files of a checkpoint by what they are.
func kinds(t testing.TB, path string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	err := filepath.WalkDir(path, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		kind := d.Name()
		switch {
		case strings.HasPrefix(kind, "marker."):
			kind = "marker"
		case strings.HasPrefix(kind, "MANIFEST-"):
			kind = "MANIFEST"
		case strings.HasPrefix(kind, "OPTIONS-"):
			kind = "OPTIONS"
		case filepath.Ext(kind) != "" && filepath.Ext(kind) != ".json":
			kind = filepath.Ext(kind)
		}
		all[kind] = append(all[kind], name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// found verifies a damaged checkpoint and wants the problem in the file.
func found(t testing.TB, path, file string, want checkpoint.Problem) {
	t.Helper()
	r, err := checkpoint.Verify(t.Context(), path, onDisk)
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	if !slices.ContainsFunc(r.Findings, func(f checkpoint.Finding) bool {
		return f.File == filepath.ToSlash(file) && f.Problem == want
	}) {
		t.Errorf("got %v, want %s %s", r.Findings, file, want)
	}
	err = r.Err()
	if !fault.Is(err, fault.Corrupt) || !strings.Contains(err.Error(), filepath.Base(file)) {
		t.Errorf("got error %v, want a corrupt fault that names %s", err, file)
	}
}

// Any bit of any file, turned, is found.
func TestVerifyFindsOneFlippedBit(t *testing.T) {
	_, s := filled(t, 3_000)
	c := create(t, s, checkpoint.Options{Config: "jobs: {}", Outside: outside("a.warc", 7)})
	// The live store goes on, so that it is not what keeps the checkpoint's tables.
	put(t, s, 0, 3_000, 2)
	late := sealedLater(t, s)
	seed := testenv.Seed(t)
	rng := rand.New(rand.NewPCG(seed, seed))
	bits := testenv.Count(t, 200)
	for _, path := range []string{twin(t, c.Path), twin(t, late)} {
		all := kinds(t, path)
		want := []string{"manifest.json", "FORMAT", "MANIFEST", "OPTIONS", ".log", ".sst"}
		for _, kind := range want {
			if len(all[kind]) == 0 {
				t.Fatalf("there is no %s in %v", kind, all)
			}
		}
		for kind, files := range all {
			if kind == "marker" { // no bytes
				continue
			}
			for range bits {
				file := files[rng.IntN(len(files))]
				flip(t, path, file, rng)
			}
		}
		sound(t, path)
	}
}

// flip turns a bit, has it found, and turns it back.
func flip(t *testing.T, path, file string, rng *rand.Rand) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		t.Fatalf("%s is empty: %v", file, err)
	}
	at, bit := rng.Int64N(info.Size()), byte(1)<<rng.IntN(8)
	b := make([]byte, 1)
	turn := func() {
		if _, err := f.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= bit
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	turn()
	name, _ := filepath.Rel(path, file)
	found(t, path, name, checkpoint.Damaged)
	turn()
}

func TestVerifyFindsMissingCutAndExtraFiles(t *testing.T) {
	_, s := filled(t, 3_000)
	c := create(t, s, checkpoint.Options{})
	late := sealedLater(t, s)
	for kind, files := range kinds(t, late) {
		if kind == "sums.json" {
			continue // without it the checkpoint is what it was before Seal
		}
		t.Run(kind, func(t *testing.T) {
			name, _ := filepath.Rel(late, files[0])
			path := twin(t, late)
			if err := os.Remove(filepath.Join(path, name)); err != nil {
				t.Fatal(err)
			}
			found(t, path, name, checkpoint.Missing)
			if kind == "marker" {
				return
			}
			path = twin(t, late)
			info, _ := os.Stat(filepath.Join(path, name))
			if err := os.Truncate(filepath.Join(path, name), info.Size()-1); err != nil {
				t.Fatal(err)
			}
			want := checkpoint.Cut
			if kind == "manifest.json" {
				want = checkpoint.Damaged
			}
			found(t, path, name, want)
		})
	}
	for _, name := range []string{"db/000999.sst", "db/x/y", "else", "db/LOCK"} {
		path := twin(t, c.Path)
		full := filepath.Join(path, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		found(t, path, name, checkpoint.Extra)
	}
	_, err := checkpoint.Verify(t.Context(), filepath.Join(t.TempDir(), "none"), onDisk)
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("verify nothing: got %v, want not found", err)
	}
}

// A damaged checkpoint is neither restored nor exported.
func TestDamagedIsRefused(t *testing.T) {
	_, s := filled(t, 3_000)
	c := create(t, s, checkpoint.Options{})
	shut(t, s)
	path := twin(t, c.Path)
	table := kinds(t, path)[".sst"][0]
	b, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 4
	if err := os.WriteFile(table, b, 0o644); err != nil {
		t.Fatal(err)
	}
	into := filepath.Join(t.TempDir(), "job")
	_, err = checkpoint.Restore(t.Context(), path, into, onDisk)
	if !fault.Is(err, fault.Corrupt) {
		t.Errorf("restore: got %v, want a corrupt fault", err)
	}
	file := filepath.Join(t.TempDir(), "out")
	_, err = checkpoint.ExportFile(t.Context(), path, file, onDisk)
	if !fault.Is(err, fault.Corrupt) {
		t.Errorf("export: got %v, want a corrupt fault", err)
	}
	empty(t, filepath.Dir(into))
	empty(t, filepath.Dir(file))
}

func empty(t testing.TB, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("%s holds %v (%v), want nothing", dir, left, err)
	}
}

func outside(name string, offset int64) func() ([]checkpoint.Outside, error) {
	return func() ([]checkpoint.Outside, error) {
		return []checkpoint.Outside{{Name: name, Offset: offset}}, nil
	}
}
