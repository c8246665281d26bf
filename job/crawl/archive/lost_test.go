package archive

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/kernel/store"
)

// TestLost: a start finds which of the files that had ended are gone or of another size, also the one that ended last, and
// goes on. Has says the same of each.
func TestLost(t *testing.T) {
	r := newRig(t)
	for range 4 {
		r.add("a.example")
		if err := r.a.Roll(); err != nil {
			t.Fatal(err)
		}
		r.commit()
	}
	r.again()
	files, _ := filepath.Glob(filepath.Join(r.warcs, "*.warc.gz"))
	if r.got.Lost != (Lost{}) || len(files) != 4 {
		t.Fatalf("%+v %v", r.got.Lost, files)
	}
	var was []int64
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		was = append(was, info.Size())
	}
	for _, err := range []error{os.Truncate(files[1], was[1]-1), os.Truncate(files[2], was[2]+1), os.Remove(files[3])} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		r.again()
		first := filepath.Base(files[1])
		if l := r.got.Lost; l.Files != 3 || !strings.HasPrefix(l.First, first+" has ") {
			t.Errorf("%+v", l)
		}
		for i, want := range []bool{true, false, true, false} {
			if has, err := r.a.Has(filepath.Base(files[i]), was[i]); has != want || err != nil {
				t.Errorf("file %d: %v %v", i, has, err)
			}
		}
		r.add("b.example") // it goes on
		if has, err := r.a.Has(r.a.now.Name, r.a.file.Size()); !has || err != nil {
			t.Errorf("of the file that is open: %v %v", has, err)
		}
	}
}

// TestPutBackUnderItsFormerName: a file that was away when it was to get its name is put back under the one that it had
// while it was written to: it gets its name then, and is no surplus. One that lacks something stays as it is.
func TestPutBackUnderItsFormerName(t *testing.T) {
	for _, cut := range []bool{false, true} {
		r := newRig(t)
		r.add("a.example")
		if err := r.a.Roll(); err != nil {
			t.Fatal(err)
		}
		r.commit()
		r.again()
		files, _ := filepath.Glob(filepath.Join(r.warcs, "*.warc.gz"))
		away := filepath.Join(t.TempDir(), "away")
		if err := os.Rename(files[0], away); err != nil {
			t.Fatal(err)
		}
		r.again()
		r.add("b.example") // it goes on without it
		r.commit()
		if cut {
			if err := os.Truncate(away, 10); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Rename(away, files[0]+OpenSuffix); err != nil {
			t.Fatal(err)
		}
		r.again()
		_, err := os.Stat(files[0])
		switch {
		case !cut && (err != nil || r.got.Lost != (Lost{}) || len(r.got.Back) != 1 || len(r.got.Moved) > 0):
			t.Errorf("%v, %+v", err, r.got)
		case cut && (err == nil || r.got.Lost.Files != 1 || len(r.got.Left) != 1 || len(r.got.Moved) > 0):
			t.Errorf("it lacks something: %v, %+v", err, r.got)
		}
	}
}

// TestSizesNotKept: a store that has kept no sizes of files that ended speaks of no loss.
func TestSizesNotKept(t *testing.T) {
	r := newRig(t)
	r.add("a.example")
	if err := r.a.Roll(); err != nil {
		t.Fatal(err)
	}
	r.commit()
	r.add("b.example")
	r.commit()
	err := r.st.Update(func(tx *store.Tx) error { tx.DeleteRange(endedFrom, stateKey.End()); return nil })
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(r.warcs, "*.warc.gz"))
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	if r.again(); r.got.Lost != (Lost{}) {
		t.Errorf("%+v", r.got.Lost)
	}
}
