package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/base/fault"
	"holdfast/job/crawl/outfile"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

// desk is a journal with a store, that crash, and what should be in it.
type desk struct {
	*testing.T
	dir, logs string
	st        *store.Store
	w         *Writer
	names     []string // of rotations, the first one first
	want      []string // lines that were committed
	n         int
}

func newDesk(t *testing.T) *desk {
	d := &desk{T: t, dir: filepath.Join(t.TempDir(), "store")}
	d.logs = filepath.Join(filepath.Dir(d.dir), "logs")
	d.open()
	t.Cleanup(func() { d.st.Close() })
	return d
}

func (d *desk) open() {
	d.Helper()
	var err error
	if d.st, err = store.Open(d.dir, storetest.Options(d, nil)); err != nil {
		d.Fatal(err)
	}
	if d.w, _, err = OpenWriter(d.st, outfile.OS, d.logs); err != nil {
		d.Fatal(err)
	}
}

// crash ends the process between two steps.
func (d *desk) crash() {
	d.Helper()
	if err := errors.Join(d.w.log.Close(), d.st.Close()); err != nil {
		d.Fatal(err)
	}
}

// group are some lines.
func (d *desk) group(rnd *rand.Rand) (all []Line) {
	for range rnd.IntN(5) {
		d.n++
		all = append(all, Line{Kind: Queued, URL: fmt.Sprintf("http://a.example/%d", d.n), Hops: "L", Via: "http://a.example/"})
	}
	return all
}

// commit commits a group, or fails to.
func (d *desk) commit(all []Line, fails bool) {
	d.Helper()
	broken := errors.New("broken")
	err := d.st.Update(func(tx *store.Tx) error {
		g := d.w.Begin()
		if err := errors.Join(g.Add(all...), g.Commit(tx)); err != nil {
			return err
		}
		if fails {
			return broken
		}
		return nil
	})
	if fails != errors.Is(err, broken) || !fails && err != nil {
		d.Fatal(err)
	}
	if !fails {
		for _, l := range all {
			d.want = append(d.want, strings.TrimSuffix(string(l.Append(nil)), "\n"))
		}
	}
}

// files are the pieces of the journal, the oldest first.
func (d *desk) files() (all []string) {
	for _, name := range d.names {
		all = append(all, filepath.Join(d.logs, Name+"."+name))
	}
	return append(all, filepath.Join(d.logs, Name))
}

// check compares the pieces with what was committed.
func (d *desk) check() {
	d.Helper()
	var got []string
	for _, path := range d.files() {
		b, err := os.ReadFile(path)
		if err != nil {
			d.Fatal(err)
		}
		if len(b) > 0 || path != filepath.Join(d.logs, Name) {
			gzipT(d, path)
		}
		all, bad, r := readAll(d, b)
		if len(bad) > 0 || r.Cut() != nil {
			d.Fatalf("%s: %v, %v", path, bad, r.Cut())
		}
		got = append(got, all...)
	}
	if !slices.Equal(got, d.want) {
		d.Fatalf("the journal has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(d.want, "\n"))
	}
}

// gzipT has another program check a file.
func gzipT(t testing.TB, path string) {
	t.Helper()
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd := exec.Command("gzip", "-t")
	cmd.Stdin = in
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gzip -t %s: %v: %s", path, err, out)
	}
}

// TestInStep: whenever the process ends, and whatever a crash leaves of what was not synced, a line is in the journal once
// if and only if it was committed, and every piece is whole gzip.
func TestInStep(t *testing.T) {
	for seed := range uint64(8) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		d := newDesk(t)
		path := filepath.Join(d.logs, Name)
		for range 40 {
			if err := d.w.Sync(); err != nil {
				t.Fatal(err)
			}
			synced := d.w.log.Size()
			rotates := rnd.IntN(5) == 0
			if rotates {
				name := fmt.Sprintf("cp%05d", len(d.names)+1)
				if err := d.w.Rotate(name); err != nil {
					t.Fatal(err)
				}
				synced = d.w.log.Size()
			}
			fails := rnd.IntN(8) == 0
			d.commit(d.group(rnd), fails)
			if rotates && !fails {
				d.names = append(d.names, fmt.Sprintf("cp%05d", len(d.names)+1))
			}
			crashes := fails || rnd.IntN(4) == 0
			if !crashes || !fails && rnd.IntN(2) == 0 {
				if err := d.w.Committed(); err != nil {
					t.Fatal(err)
				}
				if rotates {
					synced = 0
				}
				if rnd.IntN(3) == 0 {
					if err := d.w.Sync(); err != nil {
						t.Fatal(err)
					}
					if rnd.IntN(2) == 0 {
						synced = d.w.log.Size()
					}
				}
			}
			if !crashes {
				continue
			}
			d.crash()
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			switch rnd.IntN(3) {
			case 0: // what was written and not synced is gone, in part
				err = os.Truncate(path, synced+rnd.Int64N(info.Size()-synced+1))
			case 1: // or bytes of nobody are there
				var f *os.File
				if f, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0); err == nil {
					_, err = f.WriteString("bytes of nobody")
					err = errors.Join(err, f.Close())
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			d.open()
		}
		if err := d.w.Sync(); err != nil {
			t.Fatal(err)
		}
		d.check()
		if err := errors.Join(d.w.Close(), d.st.Close()); err != nil {
			t.Fatal(err)
		}
		d.open()
		d.check()
		if left, _ := filepath.Glob(filepath.Join(d.logs, Name+".before-*")); len(left) > 0 {
			t.Errorf("set aside: %v", left)
		}
		d.crash()
	}
}

// TestCommittedPrefixes: cut at any committed offset, the file is whole gzip, and has the lines up to there.
func TestCommittedPrefixes(t *testing.T) {
	d := newDesk(t)
	rnd := rand.New(rand.NewPCG(3, 3))
	path := filepath.Join(d.logs, Name)
	for range 12 {
		d.commit(append(d.group(rnd), Line{Kind: Taken, URL: "http://a.example/"}), false)
		if err := d.w.Sync(); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		prefix := filepath.Join(t.TempDir(), "prefix.gz")
		if err := os.WriteFile(prefix, b[:d.w.log.Size()], 0o644); err != nil {
			t.Fatal(err)
		}
		gzipT(t, prefix)
		if all, _, _ := readAll(t, b); !slices.Equal(all, d.want) {
			t.Fatalf("got %v, want %v", all, d.want)
		}
	}
}

// TestRotatedIsTakenAway: a person may take a file away that has ended, before anything else is committed.
func TestRotatedIsTakenAway(t *testing.T) {
	d := newDesk(t)
	d.commit([]Line{{Kind: Taken, URL: "http://a.example/"}}, false)
	if err := d.w.Rotate("cp00001"); err != nil {
		t.Fatal(err)
	}
	d.commit([]Line{{Kind: Taken, URL: "http://b.example/"}}, false)
	if err := d.w.Committed(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.w.Close(), d.st.Close(), os.Remove(filepath.Join(d.logs, Name+".cp00001"))); err != nil {
		t.Fatal(err)
	}
	d.open()
	d.want = d.want[1:]
	d.check()
	if moved, _ := filepath.Glob(filepath.Join(d.logs, "quarantine", "*")); len(moved) > 0 {
		t.Errorf("in quarantine: %v", moved)
	}
}

// TestLateName: lines behind a rotation never get into the file that ended, though nobody has given it its name yet.
func TestLateName(t *testing.T) {
	d := newDesk(t)
	d.commit([]Line{{Kind: Taken, URL: "http://a.example/"}}, false)
	if err := d.w.Rotate("cp00001"); err != nil {
		t.Fatal(err)
	}
	d.commit([]Line{{Kind: Taken, URL: "http://b.example/"}}, false)
	if err := d.w.Sync(); err != nil {
		t.Fatal(err)
	}
	d.names = []string{"cp00001"}
	d.check()
}

// TestNamesInUse: a rotation touches no file that has the name already; a journal that had nothing is whole gzip all the same.
func TestNamesInUse(t *testing.T) {
	d := newDesk(t)
	taken := filepath.Join(d.logs, Name+".mine")
	if err := os.WriteFile(taken, []byte("of another"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := d.w.Rotate("mine"); err != nil {
		t.Fatal(err)
	}
	d.commit(nil, false)
	if err := d.w.Committed(); err != nil {
		t.Fatal(err)
	}
	d.names = []string{"mine"}
	d.check()
	aside, _ := filepath.Glob(taken + ".aside-*")
	if len(aside) != 1 {
		t.Fatalf("set aside: %v", aside)
	}
	if b, _ := os.ReadFile(aside[0]); string(b) != "of another" {
		t.Errorf("it is %q", b)
	}
	for _, name := range []string{"", "../up", "a/b"} {
		if err := d.w.Rotate(name); !fault.Is(err, fault.Invalid) {
			t.Errorf("rotate to %q: %v", name, err)
		}
	}
}

// TestAnotherTimeLine: a store that was restored begins a journal of its own, and leaves the other one as it is.
func TestAnotherTimeLine(t *testing.T) {
	d := newDesk(t)
	d.commit([]Line{{Kind: Taken, URL: "http://a.example/"}}, false)
	if err := errors.Join(d.w.Close(), d.st.NewLineage(), d.st.Close()); err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(filepath.Join(d.logs, Name))
	if err != nil {
		t.Fatal(err)
	}
	d.open()
	d.want = nil
	d.commit([]Line{{Kind: Taken, URL: "http://b.example/"}}, false)
	if err := d.w.Sync(); err != nil {
		t.Fatal(err)
	}
	d.check()
	aside, _ := filepath.Glob(filepath.Join(d.logs, Name+".*"))
	if len(aside) != 1 {
		t.Fatalf("set aside: %v", aside)
	}
	if b, _ := os.ReadFile(aside[0]); string(b) != string(old) {
		t.Errorf("the other time line's journal changed: %q", b)
	}
}

// TestBetweenRotationAndSnapshot: what was committed behind the end of a journal and in front of the snapshot is in the
// journal of the store that was taken back to that, whenever a crash comes; what came behind the checkpoint is not kept.
func TestBetweenRotationAndSnapshot(t *testing.T) {
	taken := func(n int) []Line { return []Line{{Kind: Taken, URL: fmt.Sprintf("http://a.example/%d", n)}} }
	for _, late := range []bool{false, true} { // the snapshot was taken behind Checkpointed
		d := newDesk(t)
		write := func(n int) {
			t.Helper()
			d.commit(taken(n), false)
			if err := errors.Join(d.w.Committed(), d.w.Sync()); err != nil {
				t.Fatal(err)
			}
		}
		write(1)
		if err := d.w.Rotate("cp1"); err != nil {
			t.Fatal(err)
		}
		d.commit(nil, false)
		d.names = []string{"cp1"}
		write(2)
		d.commit(taken(3), false) // not in the file yet
		if late {
			if err := d.w.Sync(); err != nil {
				t.Fatal(err)
			}
			d.w.Checkpointed()
			write(4)
		}
		if err := errors.Join(d.w.log.Close(), d.st.NewLineage(), d.st.Close()); err != nil {
			t.Fatal(err)
		}
		for range 2 { // behind a crash too
			d.open()
			if late { // nobody has a snapshot of that moment: the lines are in the other file
				d.want = d.want[:1]
			}
			d.check()
			d.crash()
		}
		d.open()
		write(5)
		write(6)
		d.check()
		if err := errors.Join(d.w.log.Close(), d.st.Close()); err != nil {
			t.Fatal(err)
		}
		d.open()
		d.check()
		n := 0
		err := d.st.Latest(func(r store.Reader) error {
			entries, failed := r.Scan(tailsKey, tailsKey.End())
			for range entries {
				n++
			}
			return failed()
		})
		if n != 0 || err != nil {
			t.Errorf("%d members are kept (%v)", n, err)
		}
	}
}

// TestLost: what was committed and is gone is told, and nothing is made in its place.
func TestLost(t *testing.T) {
	d := newDesk(t)
	d.commit([]Line{{Kind: Taken, URL: "http://a.example/"}}, false)
	if err := d.w.Sync(); err != nil {
		t.Fatal(err)
	}
	d.commit([]Line{{Kind: Taken, URL: "http://b.example/"}}, false)
	if err := errors.Join(d.w.Close(), os.Truncate(filepath.Join(d.logs, Name), 5)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := OpenWriter(d.st, outfile.OS, d.logs); !fault.Is(err, fault.Corrupt) {
		t.Errorf("opened: %v", err)
	}
}

// TestOrder: lines that are committed before those in front of them are in the file are refused, not lost.
func TestOrder(t *testing.T) {
	d := newDesk(t)
	d.commit([]Line{{Kind: Taken, URL: "http://a.example/"}}, false)
	err := d.st.Update(func(tx *store.Tx) error { return d.w.Begin().Commit(tx) })
	if !fault.Is(err, fault.Conflict) {
		t.Errorf("committed: %v", err)
	}
}

// TestTimes: every ten thousand lines there is one with the time.
func TestTimes(t *testing.T) {
	d := newDesk(t)
	all := make([]Line, 25_000)
	for n := range all {
		all[n] = Line{Kind: Taken, URL: "http://a.example/"}
	}
	d.commit(all, false)
	if err := d.w.Sync(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(d.logs, Name))
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := readAll(t, b)
	if len(text) != 25_002 || text[10_000][:2] != "T " || text[20_001][:2] != "T " {
		t.Errorf("%d lines", len(text))
	}
}
