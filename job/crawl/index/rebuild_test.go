package index

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
	"holdfast/base/warc"
	"holdfast/job/crawl/outfile/outfiletest"
)

// TestFull has a disk be full at each step: the fault says so, and when there is room again all goes on.
func TestFull(t *testing.T) {
	steps := 0
	for full := 1; full == 1 || steps >= full-1; full++ {
		r := newRig(t, 8)
		steps = 0
		left := full
		r.disk.Before = func(c outfiletest.Change) error {
			if c.Kind == "remove" || c.Kind == "truncate" { // they need no room
				return nil
			}
			steps++
			if left--; left == 0 {
				return unix.ENOSPC
			}
			return nil
		}
		try := func(do func() error) {
			t.Helper()
			err := do()
			if err == nil {
				return
			}
			if !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
			if err := do(); err != nil {
				t.Fatalf("when there was room again: %v", err)
			}
		}
		for range fanout + 1 {
			r.add(2)
			if err := r.a.Sync(); err != nil {
				t.Fatal(err)
			}
			try(r.x.Sync)
			r.update()
			if err := r.a.Roll(); err != nil {
				t.Fatal(err)
			}
			r.x.Roll()
			try(r.x.Sync)
			r.update()
			try(func() error { return r.x.tidy(t.Context(), true) })
		}
		try(func() error { _, err := r.x.Write(t.Context()); return err })
		r.disk.Before = nil
		r.same()
		full += steps / 20 // about twenty of them
	}
}

// TestBusy: nobody else has the directory of a crawl that runs.
func TestBusy(t *testing.T) {
	r := newRig(t, 9)
	if _, err := Rebuild(t.Context(), r.dir, nil); !fault.Is(err, fault.Busy) || fault.HintOf(err) == "" {
		t.Errorf("Rebuild: got %v", err)
	}
	if _, err := Open(r.st, Options{Dir: r.dir}); !fault.Is(err, fault.Busy) {
		t.Errorf("Open: got %v", err)
	}
	r.add(1)
	r.commit()
	r.same()
}

// TestRebuildDamage: of a file that is damaged there is what stands before, and it is told where; the end of one that is written
// to is no damage.
func TestRebuildDamage(t *testing.T) {
	r := newRig(t, 10)
	r.files(2, 4)
	r.add(4)
	r.commit()
	warcs := r.glob("*.warc.gz*")
	if len(warcs) != 3 {
		t.Fatal(warcs)
	}
	want, _ := r.rebuilt("*")
	r.close()
	for i, path := range warcs[1:] {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, info.Size()-3+int64(i)); err != nil {
			t.Fatal(err)
		}
	}
	done, err := Rebuild(t.Context(), r.dir, nil)
	if err != nil || len(done.Damaged) != 1 || done.Damaged[0].File != warcs[1] || done.Files != 3 {
		t.Fatalf("got %+v and %v", done, err)
	}
	var damage *warc.Damage
	if !errors.As(done.Damaged[0].Err, &damage) || damage.Offset == 0 {
		t.Errorf("got %v", done.Damaged[0].Err)
	}
	got, err := os.ReadFile(filepath.Join(r.dir, File))
	if err != nil || int64(bytes.Count(got, []byte("\n"))) != done.Captures || len(got) == 0 || len(got) > len(want) {
		t.Errorf("got %d bytes, want fewer than %d: %v", len(got), len(want), err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Rebuild(ended, filepath.Dir(warcs[0]), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
