package journald

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const numbering = "5ff6ccf8ddbc4939babd685fbd05eef5"

// put writes the beginning of a journal file whose entries are a microsecond apart.
func put(t *testing.T, path string, file byte, head, tail uint64) {
	b := make([]byte, 272)
	copy(b, "LPKSHHRH")
	b[24] = file
	id, err := hex.DecodeString(numbering)
	must(t, err)
	copy(b[72:], id)
	for at, v := range map[int]uint64{160: tail, 168: head, 184: head, 192: tail} {
		binary.LittleEndian.PutUint64(b[at:], v)
	}
	must(t, os.WriteFile(path, b, 0o600))
}

func placeAt(n int64) place {
	return place{Cursor: fmt.Sprintf("s=%s;i=%x;b=1;m=1;t=1;x=1", numbering, n), Micro: n}
}

func TestFilesGone(t *testing.T) {
	dir := t.TempDir()
	f := (Config{Directory: dir}).files()
	live, was := filepath.Join(dir, "system.journal"), filepath.Join(dir, "system@1.journal")
	put(t, live, 1, 1, 10)
	f.look()
	if f.newer(placeAt(10)) || !f.newer(placeAt(9)) || f.rotated(placeAt(1)) {
		t.Errorf("there: %+v", f.there)
	}
	// A name is not a file.
	must(t, os.Rename(live, was))
	put(t, live, 2, 11, 20)
	f.look()
	if _, is := f.passed(placeAt(1), placeAt(20)); is || !f.rotated(placeAt(10)) || f.rotated(placeAt(11)) {
		t.Errorf("there: %+v, gone: %+v", f.there, f.gone)
	}
	// The second goes, and a third that nobody saw.
	must(t, os.Remove(was))
	put(t, live, 4, 31, 40)
	f.look()
	for _, c := range []struct {
		at, next int64
		want     uint64 // the end of what may be missing
	}{{10, 11, 0}, {12, 25, 0}, {12, 31, 30}, {30, 31, 0}, {5, 31, 30}, {29, 30, 0}} {
		x := files{gone: append([]span(nil), f.gone...)}
		if s, is := x.passed(placeAt(c.at), placeAt(c.next)); is != (c.want > 0) || s.tail != c.want {
			t.Errorf("from %d to %d: got %v, %+v, want %d", c.at, c.next, is, s, c.want)
		}
	}
	// Of another numbering the time counts.
	p, next := placeAt(15), placeAt(35)
	p.Cursor, next.Cursor = strings.Replace(p.Cursor, "s=5", "s=6", 1), ""
	if _, is := f.passed(p, next); !is || len(f.gone) > 0 {
		t.Errorf("gone: %+v", f.gone)
	}
}

// What is no journal file, or half of one, is not there.
func TestNoFiles(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "a.journal"), []byte("LPKSHHRH"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "b.journal"), make([]byte, 1000), 0o600))
	put(t, filepath.Join(dir, "c.journal"), 1, 0, 0)
	must(t, os.Mkdir(filepath.Join(dir, "d.journal"), 0o700))
	for _, dir := range []string{dir, filepath.Join(dir, "none")} {
		f := (Config{Directory: dir}).files()
		if f.look(); len(f.there) > 0 || f.newer(place{}) || !f.rotated(placeAt(1)) {
			t.Errorf("there: %+v", f.there)
		}
	}
	for _, cursor := range []string{"", "s=;i=1", "s=a;i=", "s=a;i=x", "s=a;i=fffffffffffffffff", "i=1"} {
		if _, _, ok := numberOf(cursor); ok {
			t.Errorf("%q has a number", cursor)
		}
	}
}
