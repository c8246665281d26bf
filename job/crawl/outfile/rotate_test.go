package outfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"holdfast/base/fault"
)

// place makes a directory with a log in it.
func place(t *testing.T, files map[string]string) (path, quarantine string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "log"), filepath.Join(dir, "quarantine")
}

// TestOpenLog: wherever a crash came, a start finds what the store speaks of under the name it should have.
func TestOpenLog(t *testing.T) {
	ended := &Rotated{As: "log.cp1", Size: 3}
	for name, c := range map[string]struct {
		has   map[string]string
		state State
		tail  string
		want  map[string]string
		moved bool
	}{
		"new":                         {want: map[string]string{"log": ""}},
		"new, made before":            {has: map[string]string{"log": ""}, want: map[string]string{"log": ""}},
		"surplus":                     {has: map[string]string{"log": "abcde"}, state: State{Size: 3}, want: map[string]string{"log": "abc"}, moved: true},
		"tail lacks":                  {has: map[string]string{"log": "abc"}, state: State{Size: 3}, tail: "def", want: map[string]string{"log": "abcdef"}},
		"tail in part":                {has: map[string]string{"log": "abcd"}, state: State{Size: 3}, tail: "def", want: map[string]string{"log": "abcdef"}},
		"tail is there":               {has: map[string]string{"log": "abcdef"}, state: State{Size: 3}, tail: "def", want: map[string]string{"log": "abcdef"}},
		"tail and more":               {has: map[string]string{"log": "abcdefg"}, state: State{Size: 3}, tail: "def", want: map[string]string{"log": "abcdef"}, moved: true},
		"another tail":                {has: map[string]string{"log": "abcdxf"}, state: State{Size: 3}, tail: "def", want: map[string]string{"log": "abcdef"}, moved: true},
		"rotation, nothing done":      {has: map[string]string{"log": "abc"}, state: State{Rotated: ended}, want: map[string]string{"log.cp1": "abc", "log": ""}},
		"rotation, surplus":           {has: map[string]string{"log": "abcd"}, state: State{Rotated: ended}, want: map[string]string{"log.cp1": "abc", "log": ""}, moved: true},
		"rotation, renamed":           {has: map[string]string{"log.cp1": "abc"}, state: State{Rotated: ended}, want: map[string]string{"log.cp1": "abc", "log": ""}},
		"rotation, made":              {has: map[string]string{"log.cp1": "abc", "log": ""}, state: State{Rotated: ended}, want: map[string]string{"log.cp1": "abc", "log": ""}},
		"rotation, written behind":    {has: map[string]string{"log.cp1": "abc", "log": "xyz"}, state: State{Rotated: ended}, want: map[string]string{"log.cp1": "abc", "log": ""}, moved: true},
		"rotation, tail":              {has: map[string]string{"log": "abc"}, state: State{Rotated: ended}, tail: "de", want: map[string]string{"log.cp1": "abc", "log": "de"}},
		"rotation, tail behind":       {has: map[string]string{"log.cp1": "abc", "log": "d"}, state: State{Rotated: ended}, tail: "de", want: map[string]string{"log.cp1": "abc", "log": "de"}},
		"rotation, taken away":        {has: map[string]string{"log": ""}, state: State{Rotated: ended}, want: map[string]string{"log": ""}},
		"rotation, taken away, tail":  {has: map[string]string{"log": "de"}, state: State{Rotated: ended}, tail: "de", want: map[string]string{"log": "de"}},
		"rotation, all is taken away": {state: State{Rotated: ended}, want: map[string]string{"log": ""}},
	} {
		path, quarantine := place(t, c.has)
		for range 2 { // a start that crashed is done again
			l, moved, err := OpenLog(OS, path, c.state, []byte(c.tail), quarantine)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if (moved != "") != c.moved {
				t.Errorf("%s: moved %q", name, moved)
			}
			c.moved = false
			for file, want := range c.want {
				if got, err := os.ReadFile(filepath.Join(filepath.Dir(path), file)); string(got) != want || err != nil {
					t.Errorf("%s: %s is %q (%v), want %q", name, file, got, err, want)
				}
			}
			if want := int64(len(c.want["log"])); l.Size() != want {
				t.Errorf("%s: it goes on at %d, want %d", name, l.Size(), want)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestOpenLogLost: what is gone is told, and nothing made in its place.
func TestOpenLogLost(t *testing.T) {
	for _, has := range []map[string]string{nil, {"log": "ab"}} {
		path, quarantine := place(t, has)
		if _, _, err := OpenLog(OS, path, State{Size: 3}, []byte("d"), quarantine); !fault.Is(err, fault.Corrupt) {
			t.Errorf("%v: %v", has, err)
		}
		if b, _ := os.ReadFile(path); string(b) != has["log"] {
			t.Errorf("%v: it is %q", has, b)
		}
	}
}

// TestRotate: what is written behind a rotation is in another file.
func TestRotate(t *testing.T) {
	path, quarantine := place(t, nil)
	l, _, err := OpenLog(OS, path, State{}, nil, quarantine)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if _, err := l.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	if got := l.State(); got != (State{Size: 3}) {
		t.Errorf("%+v", got)
	}
	if err := l.Rotate("log.cp1"); err != nil {
		t.Fatal(err)
	}
	if got := l.State(); got.Size != 0 || *got.Rotated != (Rotated{"log.cp1", 3}) {
		t.Errorf("%+v", got)
	}
	if err := errors.Join(l.Committed(), l.Committed()); err != nil {
		t.Fatal(err)
	}
	write("two")
	if got := l.State(); got != (State{Size: 3}) {
		t.Errorf("%+v", got)
	}
	for name, want := range map[string]string{"log": "two", "log.cp1": "one"} {
		if b, _ := os.ReadFile(filepath.Join(filepath.Dir(path), name)); string(b) != want {
			t.Errorf("%s is %q, want %q", name, b, want)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
