package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
	"holdfast/base/warc"
	"holdfast/job/crawl/outfile/outfiletest"
	"holdfast/kernel/store"
)

// rig is an archive beside a store.
type rig struct {
	*testing.T
	dir, warcs string
	opts       Options
	st         *store.Store
	a          *Archive
	got        Recovered
}

func newRig(t *testing.T) *rig {
	r := &rig{T: t, dir: t.TempDir(), warcs: filepath.Join(t.TempDir(), "warc")}
	r.opts = Options{Dir: r.warcs, Name: "site", Info: warc.Fields{{Name: "software", Value: "holdfast"}}}
	r.open()
	t.Cleanup(func() { r.a.Close(); r.st.Close() })
	return r
}

func (r *rig) open() {
	r.Helper()
	var err error
	if r.st, err = store.Open(r.dir, store.Options{}); err != nil {
		r.Fatal(err)
	}
	if r.a, r.got, err = Open(r.st, r.opts); err != nil {
		r.Fatal(err)
	}
}

// again is a start behind an end that was none.
func (r *rig) again() {
	r.Helper()
	r.a.Close()
	if err := r.st.Close(); err != nil {
		r.Fatal(err)
	}
	r.open()
}

func resource(text string) *warc.Record {
	return &warc.Record{Type: warc.Resource, ID: warc.NewID(), Date: time.Now(), TargetURI: "dns:" + strings.Fields(text)[0],
		ContentType: warc.DNS, Content: strings.NewReader(text), Length: int64(len(text))}
}

func (r *rig) add(texts ...string) {
	r.Helper()
	var all []*warc.Record
	for _, text := range texts {
		all = append(all, resource(text))
	}
	if _, err := r.a.Add(all...); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) commit() {
	r.Helper()
	if err := r.a.Sync(); err != nil {
		r.Fatal(err)
	}
	if err := r.st.Update(r.a.Commit); err != nil {
		r.Fatal(err)
	}
	if err := r.a.Committed(); err != nil {
		r.Fatal(err)
	}
}

// names are the files that are there.
func (r *rig) names() (names []string) {
	r.Helper()
	all, err := os.ReadDir(r.warcs)
	if err != nil {
		r.Fatal(err)
	}
	for _, e := range all {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// contents are the blocks of all records that files hold, in order, but for warcinfo; each file has to be whole.
func (r *rig) contents() (all []string) {
	r.Helper()
	for _, name := range r.names() {
		b, err := os.ReadFile(filepath.Join(r.warcs, name))
		if err != nil {
			r.Fatal(err)
		}
		in := warc.NewReader(bytes.NewReader(b), 0)
		for n := 0; ; n++ {
			e, err := in.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				r.Fatalf("%s: %v", name, err)
			}
			block, err := io.ReadAll(e)
			if err != nil {
				r.Fatalf("%s: %v", name, err)
			}
			if n == 0 {
				if !strings.Contains(string(block), "software: holdfast") {
					r.Errorf("%s begins with %q", name, block)
				}
				continue
			}
			all = append(all, string(block))
		}
	}
	return all
}

func (r *rig) want(texts ...string) {
	r.Helper()
	if got := r.contents(); !slices.Equal(got, texts) {
		r.Errorf("there is %q, want %q", got, texts)
	}
}

// TestCutBack: what was not committed does not count, and is kept aside; what was is there, whole, and more comes behind it.
func TestCutBack(t *testing.T) {
	r := newRig(t)
	r.add("a 1", "a 2")
	r.commit()
	r.add("lost 1", "lost 2")
	if err := r.a.Sync(); err != nil {
		t.Fatal(err)
	}
	r.again()
	r.want("a 1", "a 2")
	if len(r.got.Moved) != 1 {
		t.Errorf("%v were moved, want one", r.got.Moved)
	}
	moved, err := os.ReadFile(r.got.Moved[0])
	if e, e2 := warc.NewReader(bytes.NewReader(moved), 0).Next(); err != nil || e2 != nil || e == nil {
		t.Errorf("what was moved can't be read: %v %v", err, e2)
	}
	r.add("b")
	r.commit()
	r.again()
	r.want("a 1", "a 2", "b")
	if len(r.got.Moved) != 0 || len(r.names()) != 1 || !strings.HasSuffix(r.names()[0], ".open") {
		t.Errorf("%v were moved, there are %v", r.got.Moved, r.names())
	}
}

// TestNeverCommitted: a file that was begun and of which nothing was committed is kept aside, and its serial does not come
// again beside it.
func TestNeverCommitted(t *testing.T) {
	r := newRig(t)
	r.add("lost")
	r.again()
	if len(r.names()) != 0 || len(r.got.Moved) != 1 {
		t.Errorf("there are %v, moved %v", r.names(), r.got.Moved)
	}
	r.add("a")
	r.commit()
	r.want("a")
}

// TestRoll: a file that is full ends, and has its name only when a transaction has said so; a crash in between is made good.
func TestRoll(t *testing.T) {
	for _, crash := range []string{"", "before the transaction", "behind the transaction"} {
		r := newRig(t)
		r.a.o.MaxSize = 1
		r.opts.MaxSize = 1
		r.add("a")
		r.commit()
		r.add("b") // in a file of its own
		if err := r.a.Sync(); err != nil {
			t.Fatal(err)
		}
		for _, name := range r.names() {
			if !strings.HasSuffix(name, ".open") {
				t.Errorf("%s has its name too early", name)
			}
		}
		switch crash {
		case "before the transaction":
			r.again()
			r.want("a")
			r.add("b")
		case "behind the transaction":
			if err := r.st.Update(r.a.Commit); err != nil {
				t.Fatal(err)
			}
			r.again()
		}
		r.commit()
		r.want("a", "b")
		if err := r.a.Roll(); err != nil {
			t.Fatal(err)
		}
		r.commit()
		serials := map[string]bool{}
		for _, name := range r.names() {
			if strings.HasSuffix(name, ".open") {
				t.Errorf("%q: %s is open still", crash, name)
			}
			serials[strings.Split(name, "-")[2]] = true
		}
		if len(serials) != len(r.names()) || len(serials) != 2 {
			t.Errorf("%q: there are %v", crash, r.names())
		}
	}
}

// TestRestored: a store with another life touches no file of the former one, and begins its own with a higher serial.
func TestRestored(t *testing.T) {
	r := newRig(t)
	r.add("a")
	r.commit()
	r.add("uncommitted")
	if err := r.a.Sync(); err != nil {
		t.Fatal(err)
	}
	before := r.names()
	was, err := os.ReadFile(filepath.Join(r.warcs, before[0]))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.st.NewLineage(); err != nil {
		t.Fatal(err)
	}
	r.again()
	if len(r.got.Moved) > 0 {
		t.Errorf("%v were moved", r.got.Moved)
	}
	r.add("b")
	r.commit()
	if now, err := os.ReadFile(filepath.Join(r.warcs, before[0])); err != nil || !bytes.Equal(now, was) {
		t.Errorf("%s was changed (%v)", before[0], err)
	}
	names := r.names()
	if len(names) != 2 || strings.Split(names[0], "-")[2] == strings.Split(names[1], "-")[2] {
		t.Errorf("there are %v", names)
	}
}

// TestGone: a file that has less than was committed is told, with what to do, and nothing is written.
func TestGone(t *testing.T) {
	r := newRig(t)
	r.add("a")
	r.commit()
	name := filepath.Join(r.warcs, r.names()[0])
	if err := os.Truncate(name, 10); err != nil {
		t.Fatal(err)
	}
	r.a.Close()
	if _, _, err := Open(r.st, r.opts); !fault.Is(err, fault.Corrupt) || fault.HintOf(err) == "" {
		t.Errorf("got %v", err)
	}
}

// TestRefused: of a capture with a record that may not be written nothing is there, and the next one comes as if nothing
// had been.
func TestRefused(t *testing.T) {
	r := newRig(t)
	r.add("a")
	bad := resource("x")
	bad.TargetURI = ""
	if _, err := r.a.Add(resource("half"), bad); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
	r.add("b")
	r.commit()
	r.want("a", "b")
}

// TestPlaces: a record is found where it is said to be.
func TestPlaces(t *testing.T) {
	r := newRig(t)
	for i := range 20 {
		places, err := r.a.Add(resource(fmt.Sprintf("h%d text", i)))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(r.warcs, places[0].File+OpenSuffix))
		if err != nil {
			t.Fatal(err)
		}
		at := places[0].Offset
		e, err := warc.NewReader(bytes.NewReader(b[at:at+places[0].Length]), 0).Next()
		if err != nil {
			t.Fatal(err)
		}
		if block, err := io.ReadAll(e); string(block) != fmt.Sprintf("h%d text", i) || err != nil {
			t.Errorf("at %d there is %q (%v)", at, block, err)
		}
	}
}

// TestEndFails: a file whose end could not be synced is still the one that is open: what comes behind the error says
// nothing else.
func TestEndFails(t *testing.T) {
	disk := &outfiletest.Disk{}
	r := newRig(t)
	r.opts.Disk = disk
	r.again()
	r.add("a.example")
	disk.Before = func(c outfiletest.Change) error {
		if c.Kind == "sync" {
			return unix.EIO
		}
		return nil
	}
	if err := r.a.Roll(); !errors.Is(err, unix.EIO) {
		t.Errorf("got %v", err)
	}
	if err := r.a.Close(); err != nil {
		t.Errorf("then: %v", err)
	}
}
