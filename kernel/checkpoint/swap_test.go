package checkpoint

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"holdfast/kernel/store"
)

// The moments of a Replace on a real disk that a kill hits too rarely: each is made by hand, and
// Recover finds its way from it.
func TestRecoverFromEachMoment(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps int // how many are done before the crash
		want  Outcome
		value string
	}{
		{"staged", 0, Undone, "new"},
		{"intent written", 1, Undone, "new"},
		{"names exchanged", 2, Finished, "old"},
		{"finished but for the stage", 3, Finished, "old"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, path := twoStates(t)
			stage := filepath.Join(dir, stageName)
			o, err := restore(t.Context(), path, stage, Work{})
			if err != nil {
				t.Fatal(err)
			}
			var i intent
			for n := range c.steps {
				switch n {
				case 0:
					i, err = prepare(store.Disk, dir, o)
				case 1:
					err = i.exchange(store.Disk, dir)
				case 2:
					err = moveDir(store.Disk, filepath.Join(stage, dbName),
						filepath.Join(dir, i.Quarantine, dbName))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if got := valueIn(t, dir); got != c.value {
				t.Errorf("a store opened without Recover holds %q, want %q", got, c.value)
			}
			if out, err := Recover(dir, Work{}); err != nil || out != c.want {
				t.Errorf("got %q, %v, want %q", out, err, c.want)
			}
			if got := valueIn(t, dir); got != c.value {
				t.Errorf("after Recover it holds %q, want %q", got, c.value)
			}
			if c.want == Finished {
				if got := valueIn(t, filepath.Join(dir, i.Quarantine)); got != "new" {
					t.Errorf("what was put aside holds %q, want %q", got, "new")
				}
			}
			if out, err := Recover(dir, Work{}); err != nil || out != Nothing {
				t.Errorf("once more: got %q, %v", out, err)
			}
		})
	}
}

// twoStates is a store that holds "new", with a checkpoint of when it held "old".
func twoStates(t *testing.T) (dir, path string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "job")
	s := openQuiet(t, dir)
	set := func(v string) {
		err := s.Update(func(tx *store.Tx) error { tx.Set(store.Job.K(), []byte(v)); return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	set("old")
	c, err := Create(t.Context(), s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	set("new")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, c.Path
}

func openQuiet(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(dir, store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func valueIn(t *testing.T, dir string) (got string) {
	t.Helper()
	s := openQuiet(t, dir)
	err := s.View(t.Context(), func(r store.Reader) error {
		v, _, err := r.Get(store.Job.K())
		got = string(v)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return got
}

// Nothing that a store may ever write into is shared with the checkpoint; tables are.
func TestOnlyTablesAreLinked(t *testing.T) {
	dir, _ := twoStates(t)
	s := openQuiet(t, dir) // turns its log into a table
	c, err := Create(t.Context(), s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	if err := os.Mkdir(filepath.Join(tmp, dbName), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := place(t.Context(), c.Manifest, c.Path, tmp, store.Disk); err != nil {
		t.Fatal(err)
	}
	tables := 0
	for _, f := range c.Files {
		a, err := os.Stat(filepath.Join(c.Path, f.Path))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.Stat(filepath.Join(tmp, f.Path))
		if err != nil {
			t.Fatal(err)
		}
		if os.SameFile(a, b) != f.table() {
			t.Errorf("%s is shared: %v, want %v", f.Path, os.SameFile(a, b), f.table())
		}
		if f.table() {
			tables++
		}
	}
	if tables == 0 {
		t.Error("there is no table")
	}
}
