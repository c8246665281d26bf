package transfer

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/kernel/queue"
)

// day is the directory of files of today.
func day() string { return time.Now().UTC().Format("2006/01/02") }

// TestOnce: every file that one scan finds is at every destination, whole, at its place; and a second pass does nothing.
func TestOnce(t *testing.T) {
	r := newRig(t, 2)
	want := map[string][sha256.Size]byte{}
	for i := range 40 {
		name := fmt.Sprintf("night%d/f%02d.dat", i%3, i)
		content := []byte(strings.Repeat(fmt.Sprint(i), 1000*i))
		r.write(name, content)
		want[filepath.Join(day(), filepath.Base(name))] = sha256.Sum256(content)
	}
	for range 2 {
		r.run(nil)
		for _, dir := range r.to {
			if got := tree(t, dir); !maps.Equal(got, want) {
				t.Errorf("there are %v, want %v", got, want)
			}
		}
		for _, name := range []string{"prepare", "ship-a", "ship-b"} {
			if c := r.counts(name); c != (queue.Counts{Put: 40, Done: 40}) {
				t.Errorf("%s: %+v", name, c)
			}
		}
	}
	if c := r.counts("after"); c.Open()+c.Dead > 0 {
		t.Errorf("after: %+v", c)
	}
	for _, f := range r.files() {
		if f.State != Done || f.SHA256 == "" || len(f.To) != 2 || f.To[0].Verified == "" {
			t.Errorf("%+v", f)
		}
	}
}

// TestConflict: a file whose name is taken by other bytes is told, and nothing is overwritten; nothing beside it waits.
func TestConflict(t *testing.T) {
	r := newRig(t, 1)
	r.write("a.dat", []byte("ours"))
	r.write("b.dat", []byte("b"))
	there := filepath.Join(r.to[0], day(), "a.dat")
	if err := os.MkdirAll(filepath.Dir(there), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(there, []byte("theirs"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.run(nil)
	if text, err := os.ReadFile(there); string(text) != "theirs" {
		t.Errorf("it is %q now (%v)", text, err)
	}
	files := r.files()
	if f := files["a.dat"]; f.State != Dead || !strings.Contains(f.Why, "a.dat") {
		t.Errorf("%+v", f)
	}
	if f := files["b.dat"]; f.State != Done {
		t.Errorf("%+v", f)
	}
	if c := r.counts("ship-a"); c != (queue.Counts{Put: 2, Done: 1, Dead: 1}) {
		t.Errorf("%+v", c)
	}
}

// TestNames: a name that is no UTF-8 is the same one when it was written down.
func TestNames(t *testing.T) {
	for _, want := range []string{"", "plain", "ünïcode", "[brackets]", "invalid\xff", "\x00\xfe"} {
		b, err := json.Marshal(&file{Identity: Identity{Path: Name(want)}, Name: Name(want)})
		var got file
		if err := errors.Join(err, json.Unmarshal(b, &got)); err != nil || string(got.Path) != want || string(got.Name) != want {
			t.Errorf("%q became %q and %q (%v): %s", want, got.Path, got.Name, err, b)
		}
	}
}
