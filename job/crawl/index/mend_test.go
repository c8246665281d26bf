package index

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tree is what a directory holds, by name.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if e.Name() != "LOCK" {
			all[e.Name()] = string(b)
		}
	}
	return all
}

// TestRestored: a store that went back knows what counted then, wherever its lines went meanwhile, and touches no file of the
// time line that it left. It may go back again.
func TestRestored(t *testing.T) {
	r := newRig(t, 3)
	r.files(20, 2)
	r.add(3)
	r.commit()
	then, checkpoint := r.same(), r.crash.After(100)
	waits := r.crash
	r.add(2) // more of the file that was written to
	r.roll()
	r.files(fanout*fanout, 1) // all runs of then are gone
	r.add(1)
	r.commit()
	now := r.same()
	for range 2 {
		before := tree(t, filepath.Join(r.dir, below))
		r.restore(checkpoint)
		if got, stats := r.write(); got != then || stats.Missing != 0 {
			t.Fatalf("%d are missing; restored is\n%.3000s\nwant\n%.3000s", stats.Missing, got, then)
		}
		tidied(t, r.x)
		r.add(2)
		r.roll()
		r.tidy()
		r.again()
		after := tree(t, filepath.Join(r.dir, below))
		for name := range before {
			if before[name] != after[name] {
				t.Errorf("%s was changed", name)
			}
		}
		got, _ := r.write()
		ours, _ := r.rebuilt("*" + r.x.mark + "*")
		if got != text(slices.Collect(strings.Lines(then+ours))) {
			t.Errorf("behind it there is\n%.3000s", got)
		}
	}
	// The time line that was left is as it was.
	r.close()
	r.crash = waits
	r.open()
	if got, _ := r.write(); got != now {
		t.Error("the time line that was left lost something")
	}
	if all, done := r.rebuilt("*"); len(all) <= len(now) || len(done.Damaged) > 0 {
		t.Errorf("a rebuilt index has %d bytes and %v, one of a time line %d", len(all), done.Damaged, len(now))
	}
}

// TestRestoredAtOnce: that all parts of the time line that was left are there yet does not make them ours.
func TestRestoredAtOnce(t *testing.T) {
	r := newRig(t, 14)
	r.files(fanout-1, 1)
	want, before := r.same(), tree(t, filepath.Join(r.dir, below))
	r.restore(r.crash)
	r.files(fanout, 1)
	after := tree(t, filepath.Join(r.dir, below))
	for name := range before {
		if before[name] != after[name] {
			t.Errorf("%s was changed", name)
		}
	}
	if got := r.same(); len(got) <= len(want) {
		t.Errorf("got %d bytes", len(got))
	}
}

// TestElsewhere: a store that was restored beside other WARC files than its own says how many captures it can't tell of.
func TestElsewhere(t *testing.T) {
	r := newRig(t, 4)
	r.files(3, 2)
	want, _ := r.write()
	r.dir = filepath.Join(t.TempDir(), "other")
	r.restore(r.crash)
	if got, stats := r.write(); got != "" || stats.Missing != int64(strings.Count(want, "\n")) {
		t.Errorf("got %q and %+v", got, stats)
	}
	r.add(2)
	r.roll()
	got, _ := r.write()
	if want, _ := r.rebuilt("*"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestGone takes parts of the index away, or damages them: they are made again, of the WARC files.
func TestGone(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"removed":  os.Remove,
		"cut":      func(path string) error { return os.Truncate(path, 100) },
		"emptied":  func(path string) error { return os.Truncate(path, 0) },
		"a device": func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o755)) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, suffix := range []string{".run", ".lines"} {
				r := newRig(t, 5)
				r.files(10, 3)
				r.add(3)
				r.roll() // waits
				r.add(3)
				r.commit() // is written to
				want := r.same()
				r.close()
				if err := os.Remove(filepath.Join(r.dir, File)); err != nil {
					t.Fatal(err)
				}
				paths := r.glob(below + "/*" + suffix)
				if len(paths) == 0 {
					t.Fatal("there are none")
				}
				for _, path := range paths {
					if err := harm(path); err != nil {
						t.Fatal(err)
					}
				}
				r.open()
				if got, stats := r.write(); got != want || stats.Missing != 0 {
					t.Fatalf("%s: %d are missing; there is\n%.2000s\nwant\n%.2000s", suffix, stats.Missing, got, want)
				}
				tidied(t, r.x)
				r.add(3) // more of the file whose lines were lost
				r.commit()
				r.again()
				r.add(1)
				r.roll()
				r.same()
				r.again()
				r.same()
			}
		})
	}
}

// TestSpoiled: a run whose bytes were changed is found out when it is merged, and made again, also if that is while it runs.
func TestSpoiled(t *testing.T) {
	for _, late := range []bool{false, true} {
		r := newRig(t, 6)
		r.files(fanout-1, 3)
		runs := r.glob(below + "/*.run")
		if len(runs) != fanout-1 {
			t.Fatal(runs)
		}
		for _, path := range runs[:2] {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			copy(b[len(b)/2:], "\n!\n") // what is behind it is not in order
			b = bytes.Replace(b, []byte(`"url": "h`), []byte(`"url": "x`), 1)
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if late {
			r.files(2, 1)
		}
		r.same()
		if late {
			r.again()
			r.same()
		}
	}
}

// TestMovedAway: WARC files that were moved away stay in the index, as long as their lines are somewhere; then it says how many
// lack.
func TestMovedAway(t *testing.T) {
	r := newRig(t, 7)
	r.files(5, 2)
	want := r.same()
	lack := 0
	for _, path := range r.glob("*.warc.gz")[:2] {
		lack += strings.Count(want, filepath.Base(path))
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	r.again()
	if got, stats := r.write(); got != want || stats.Missing != 0 {
		t.Errorf("%d are missing", stats.Missing)
	}
	for _, gone := range []struct {
		pattern string
		missing int
	}{{below + "/*.run", 0}, {File, 0}, {"*/*.run", 0}, {"*.cdxj", 0}, {"*/*.run", lack}} {
		r.close()
		paths := r.glob(gone.pattern)
		if gone.missing > 0 {
			paths = append(paths, r.glob(File)...)
		}
		for _, path := range paths {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		r.open()
		got, stats := r.write()
		if gone.missing > 0 {
			want, _ = r.rebuilt("*")
		}
		if got != want || stats.Missing != int64(gone.missing) {
			t.Errorf("without %s: %d are missing, want %d", gone.pattern, stats.Missing, gone.missing)
		}
	}
}
