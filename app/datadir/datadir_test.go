package datadir

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/base/fault"
)

func TestDefaultDir(t *testing.T) {
	for _, c := range []struct {
		uid  int
		env  map[string]string
		want string
	}{
		{0, map[string]string{"XDG_STATE_HOME": "/x", "HOME": "/root"}, "/var/lib/holdfast"},
		{1000, map[string]string{"XDG_STATE_HOME": "/x", "HOME": "/home/a"}, "/x/holdfast"},
		{1000, map[string]string{"XDG_STATE_HOME": "relative", "HOME": "/home/a"},
			"/home/a/.local/state/holdfast"},
		{1000, map[string]string{}, "/var/lib/holdfast"},
	} {
		if got := defaultDir(c.uid, func(k string) string { return c.env[k] }); got != c.want {
			t.Errorf("user %d with %v: got %s, want %s", c.uid, c.env, got, c.want)
		}
	}
}

// unwritable returns a path at which nothing can be made, not even by root.
func unwritable(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(file, "holdfast")
}

func TestExplicitDirectoryMustBeWritable(t *testing.T) {
	dir := unwritable(t)
	for name, explicit := range map[string]string{"flag": dir, "environment": ""} {
		t.Setenv(Variable, "")
		if explicit == "" {
			t.Setenv(Variable, dir)
		}
		_, err := Locate(explicit, "wsprnet")
		if _, usage := errors.AsType[*fault.Usage](err); !usage || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: got %v, want a usage error that names %s", name, err, dir)
		}
	}
}

func TestExplicitDirectoryIsTakenAsItIs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	p, err := Locate(dir, "wsprnet")
	if err != nil || p.Dir != dir || !p.Explicit || p.Temporary() {
		t.Errorf("got %+v, %v, want %s itself", p, err, dir)
	}
}

func TestFallback(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	dir := filepath.Join(unwritable(t), "wsprnet")
	p, err := At(dir, "wsprnet")
	if err != nil {
		t.Fatal(err)
	}
	if !p.Temporary() || p.Default != dir || p.Dir != filepath.Join(fallbackDir(), "wsprnet") ||
		p.Why == "" {
		t.Errorf("got %+v, want the fallback with its reason", p)
	}
	if info, err := os.Stat(fallbackDir()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got %v, %v, want a directory of mode 0700", info.Mode(), err)
	}
}

// A directory that somebody else could have laid out is not used.
func TestFallbackOfSomebodyElseIsRefused(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	if err := os.MkdirAll(fallbackDir(), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(fallbackDir(), 0o777); err != nil {
		t.Fatal(err)
	}
	if p, err := At(unwritable(t), ""); err == nil {
		t.Errorf("got %+v, want an error", p)
	}
	if err := os.RemoveAll(fallbackDir()); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), fallbackDir()); err != nil {
		t.Fatal(err)
	}
	if p, err := At(unwritable(t), ""); err == nil {
		t.Errorf("got %+v, want an error", p)
	}
}

func TestPlaces(t *testing.T) {
	t.Setenv(Variable, "")
	dir := t.TempDir()
	if _, err := Places(dir); err == nil {
		t.Error("an empty directory holds data")
	}
	if err := os.MkdirAll(filepath.Join(dir, "jobs", "spots"), 0o755); err != nil {
		t.Fatal(err)
	}
	if p, err := Places(dir); err != nil || len(p) != 1 || p[0].Dir != dir {
		t.Errorf("got %v, %v, want %s", p, err, dir)
	}
	if names, err := Jobs(dir); err != nil || len(names) != 1 || names[0] != "spots" {
		t.Errorf("got %v, %v, want spots", names, err)
	}
}

// Where nothing else is, the tour is meant.
func TestTourIsFound(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	if got := orTour(nil); got != nil {
		t.Errorf("without a tour: got %v", got)
	}
	if err := os.MkdirAll(filepath.Join(Tour(), "jobs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := orTour(nil); len(got) != 1 || got[0].Dir != Tour() {
		t.Errorf("got %v, want %s", got, Tour())
	}
	if got := orTour([]Place{{Dir: "/srv"}}); len(got) != 1 || got[0].Dir != "/srv" {
		t.Errorf("beside another one: got %v", got)
	}
	if err := os.Chmod(Tour(), 0o777); err != nil {
		t.Fatal(err)
	}
	if got := orTour(nil); got != nil {
		t.Errorf("one that others can write: got %v", got)
	}
}

// Who names no directory is shown all that there are: the default one, those of the commands below
// it, and what a fallback holds.
func TestAllPlacesAreFound(t *testing.T) {
	root, back := t.TempDir(), filepath.Join(t.TempDir(), "back")
	for _, dir := range []string{filepath.Join(root, "wsprnet"), back, filepath.Join(back,
		"wsprnet")} {
		if err := os.MkdirAll(filepath.Join(dir, "jobs"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	got := placesBelow(root, back)
	want := []Place{{Dir: back, Default: root}, {Dir: filepath.Join(root, "wsprnet")},
		{Dir: filepath.Join(back, "wsprnet"), Default: filepath.Join(root, "wsprnet")}}
	if len(got) != len(want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	for i := range want {
		if got[i].Dir != want[i].Dir || got[i].Default != want[i].Default {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
}
